"""Self-contained HTML pages: no network, no library, light and dark mode, responsive layout.

The script is optional; it adds tooltips, highlighting and sortable tables. Content is escaped unless it is `Markup`.
"""

import base64
import html
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from jaxdl.report.style import SCRIPT, STYLE

MARK = '<meta name="generator" content="jaxdl">'  # of every page


class Markup(str):
    """Text that is HTML already; it is not escaped."""


def markup(value: object) -> Markup:
    """Returns `value` as HTML, escaped unless it is `Markup`."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(parts: Iterable[object], separator: str = "") -> Markup:
    return Markup(separator.join(map(markup, parts)))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """Returns an element.

    Attribute names lose a trailing `_` (`class_`); attributes that are None or "" are omitted.
    """
    attribute_text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value not in (None, "")
    )
    return Markup(f"<{name}{attribute_text}>{join(content)}</{name}>")


def link(content: object, target: str) -> Markup:
    """Returns a link to a path relative to the page, or to an anchor "#name" in it."""
    return tag("a", content, href=target if target.startswith("#") else quote(os.fsencode(target)))


def document(title: str, *content: object) -> str:
    """Returns the page."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'{MARK}<meta name="color-scheme" content="light dark"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style>"
    )
    body = f"<main>{join(content)}</main><script>{SCRIPT}</script>"
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>{body}</body>\n</html>\n'


def section(title: object, *content: object, anchor: str = "", note: object = "") -> Markup:
    """Returns a section with a heading and an optional note below it."""
    notes = tag("p", note, class_="note") if note else ""
    return tag("section", tag("h3", title), notes, *content, id=anchor)


def folded(title: object, *content: object) -> Markup:
    """Returns a collapsed section."""
    return tag("details", tag("summary", title), *content)


def table(names: Sequence[object], rows: Iterable[Sequence[object]], numbers: Iterable[int] = ()) -> Markup:
    """Returns a horizontally scrollable table; the columns `numbers` are right-aligned."""
    right = set(numbers)
    head = join(tag("th", name, scope="col", class_="n" if index in right else "") for index, name in enumerate(names))
    body = [
        tag("tr", *(tag("td", cell, class_="n" if index in right else "") for index, cell in enumerate(row)))
        for row in rows
    ]
    content = tag("table", tag("thead", tag("tr", head)), tag("tbody", *body))
    return tag("div", content, class_="scroll", tabindex="0")


def figures(parts: Iterable[tuple[object, object]], kind: str = "") -> Markup:
    """Returns a responsive grid of (caption, picture)."""
    cells = [tag("figure", tag("figcaption", caption), content) for caption, content in parts]
    return tag("div", *cells, class_=f"grid {kind}".strip())


def tiles(parts: Iterable[tuple[object, object]]) -> Markup:
    """Returns a row of (number, label) in large type."""
    return tag("dl", *(tag("div", tag("dd", value), tag("dt", name)) for value, name in parts), class_="tiles")


def picture(path: Path, alt: str, width: int = 380, height: int = 640, crop: bool = False) -> Markup:
    """Returns an embedded picture, downscaled to at most `width` x `height` pixels.

    Args:
      path: Image file.
      alt: Alternative text.
      width: Maximum width, pixels.
      height: Maximum height, pixels.
      crop: Whether to crop at `height` instead of downscaling to it.

    Raises:
      OSError: The file is not an image.
    """
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((width, small.height if crop else height), Image.Resampling.LANCZOS)
        small = small.crop((0, 0, small.width, min(height, small.height)))
        small.save(buffer, "webp", quality=70, method=2)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{small.width}" height="{small.height}"'
    attributes = f'loading="lazy" decoding="async" alt="{html.escape(alt)}"'
    return Markup(f'<img src="data:image/webp;base64,{data}" {size} {attributes}>')
