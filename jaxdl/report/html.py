"""Pages of HTML that stand alone: no network, no library, light or dark as the reader's machine is, for screens of any
width. They read without their script, which only adds values under the pointer.

What goes into a page is text, and is escaped, unless it is `Markup`.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from jaxdl.report.style import SCRIPT, STYLE


class Markup(str):
    """Text that is HTML already."""


def markup(value: object) -> Markup:
    """`value` as HTML: escaped, unless it is `Markup`."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(parts: Iterable[object], between: str = "") -> Markup:
    return Markup(between.join(map(markup, parts)))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """An element; `class_` and the like lose their last `_`, and an attribute that is None or "" is left out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value not in (None, "")
    )
    return Markup(f"<{name}{told}>{join(content)}</{name}>")


def link(content: object, target: str) -> Markup:
    """A link to a path from the page, or to a place "#name" in it."""
    return tag("a", content, href=target if target.startswith("#") else quote(target))


def document(title: str, *content: object) -> str:
    """The whole page."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    )
    body = f"<main>{join(content)}</main><script>{SCRIPT}</script>"
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>{body}</body>\n</html>\n'


def section(title: object, *content: object, anchor: str = "", note: object = "") -> Markup:
    """A part with a heading of its own, and below that a note in small letters."""
    notes = tag("p", note, class_="note") if note else ""
    return tag("section", tag("h3", title), notes, *content, id=anchor)


def folded(title: object, *content: object) -> Markup:
    """What is seen when the reader opens it."""
    return tag("details", tag("summary", title), *content)


def table(names: Sequence[object], rows: Iterable[Sequence[object]], numbers: Iterable[int] = ()) -> Markup:
    """A table in a box of its own that scrolls sideways; `numbers` are the columns that are set to the right."""
    right = set(numbers)
    head = join(tag("th", name, scope="col", class_="n" if index in right else "") for index, name in enumerate(names))
    lines = [
        tag("tr", *(tag("td", cell, class_="n" if index in right else "") for index, cell in enumerate(row)))
        for row in rows
    ]
    whole = tag("table", tag("thead", tag("tr", head)), tag("tbody", *lines))
    return tag("div", whole, class_="scroll", tabindex="0")


def figures(parts: Iterable[tuple[object, object]], kind: str = "") -> Markup:
    """(caption, picture) side by side, as many in a row as there is room for."""
    each = [tag("figure", tag("figcaption", caption), content) for caption, content in parts]
    return tag("div", *each, class_=f"grid {kind}".strip())


def tiles(parts: Iterable[tuple[object, object]]) -> Markup:
    """(number, what it counts) in large letters."""
    return tag("dl", *(tag("div", tag("dd", value), tag("dt", name)) for value, name in parts), class_="tiles")


def picture(path: Path, alt: str, width: int = 380, height: int = 640, crop: bool = False) -> Markup:
    """A picture inside the page, made smaller where it is larger than `width` x `height` pixels.

    Args:
      path: the file.
      alt: what it shows.
      width, height: the most that it may have.
      crop: cut off what is below `height`, instead of making the picture smaller still.

    Raises:
      OSError: the file is no picture.
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
    told = f'loading="lazy" decoding="async" alt="{html.escape(alt)}"'
    return Markup(f'<img src="data:image/webp;base64,{data}" {size} {told}>')
