"""Directive `flow`: a diagram of boxes in rows, with arrows between rows, as inline SVG in the colors of the page.

A line of its content is a row of boxes separated by "|". A line "-> TEXT" between two rows labels the arrow. The text
after "--" in a box is its second line.
"""

import html
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

WIDTH, BOX, ROW, GAP = 720, 54, 92, 18


class Flow(SphinxDirective):
    """Rows of boxes from top to bottom."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        rows: list[list[str]] = []
        labels: dict[int, str] = {}
        for line in filter(None, (line.strip() for line in self.content)):
            if line.startswith("->"):
                labels[len(rows)] = line[2:].strip()
            else:
                rows.append([box.strip() for box in line.split("|")])
        parts = [_row(number, row) for number, row in enumerate(rows)]
        parts += [_arrow(number, labels.get(number, "")) for number in range(1, len(rows))]
        height = ROW * len(rows) - (ROW - BOX) + 4
        svg = (
            f'<svg class="flow" role="img" viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg">'
            f"<title>{html.escape(self.arguments[0])}</title>"
            '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
            '<path d="M0,0 L8,4 L0,8 z" fill="currentColor"/></marker></defs>' + "".join(parts) + "</svg>"
        )
        return [nodes.raw("", svg, format="html")]


def _row(number: int, boxes: list[str]) -> str:
    width = (WIDTH - 4 - GAP * (len(boxes) - 1)) / len(boxes)
    top = number * ROW + 2
    parts = []
    for place, box in enumerate(boxes):
        left = 2 + place * (width + GAP)
        head, _, rest = (text.strip() for text in box.partition("--"))
        middle = top + (22 if rest else 32)
        parts.append(f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BOX}" rx="8"/>')
        parts.append(f'<text x="{left + width / 2:.1f}" y="{middle}" class="head">{html.escape(head)}</text>')
        if rest:
            parts.append(f'<text x="{left + width / 2:.1f}" y="{top + 42}">{html.escape(rest)}</text>')
    return "".join(parts)


def _arrow(number: int, label: str) -> str:
    bottom, top = (number - 1) * ROW + 2 + BOX, number * ROW + 2
    line = f'<line x1="{WIDTH / 2}" y1="{bottom + 2}" x2="{WIDTH / 2}" y2="{top - 2}" marker-end="url(#tip)"/>'
    text = f'<text x="{WIDTH / 2 + 14}" y="{(bottom + top) / 2 + 4}" class="label">{html.escape(label)}</text>'
    return line + (text if label else "")


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("flow", Flow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
