"""Matplotlib figures rendered to arrays with the Agg canvas, without pyplot's global state."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = np.ndarray  # uint8 [height, width, 3]

DOTS_PER_INCH = 100
# Colorblind-safe palette (Okabe & Ito 2008): blue, vermilion, green, purple, orange, sky, yellow.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
INK, FAINT, FRAME, WRONG = "#202124", "#5F6368", "#DADCE0", "#D55E00"


def new_figure(width: int, height: int) -> "Figure":
    """Returns an empty white figure of `width` x `height` pixels with constrained layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (width / DOTS_PER_INCH, height / DOTS_PER_INCH)
    figure = Figure(size, dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def render(drawing: "Figure | Axes") -> Picture:
    """Returns the pixels of a figure, or of the figure of axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure: Any = drawing.figure
    _draw_names_literally(figure)
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(np.asarray(canvas.buffer_rgba())[..., :3])


def _draw_names_literally(figure: Any) -> None:
    """Ends the parsing of "$" as TeX, which fails for some names, except in the labels of ticks."""
    from matplotlib.text import Text

    sides = [side for axes in figure.axes for side in (axes.xaxis, axes.yaxis)]
    ticks = {text for side in sides for text in side.findobj(Text)} - {side.label for side in sides}
    for text in figure.findobj(Text):
        if text not in ticks:
            text.set_parse_math(False)


def plain(axes: "Axes") -> None:
    """Hides the top and right spines and draws a light horizontal grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BDC1C6")
    axes.tick_params(colors=FAINT, labelsize=9, length=3)
    axes.grid(axis="y", color="#E8EAED", linewidth=0.8)
    axes.set_axisbelow(True)


def message(text: str, width: int = 480, height: int = 120) -> Picture:
    """Returns a picture of `text` as a placeholder for a plot."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=11, color=FAINT, parse_math=False)
    return render(figure)


def pixel_axes(width: int, height: int) -> "Axes":
    """Returns invisible axes over a new figure, in pixels from the upper left corner."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.axis("off")
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return axes


def image_grid(
    count: int,
    columns: int,
    width: float,
    height: float,
    gap: int,
    *,
    caption: int = 0,
    side: int = 0,
    head: int = 0,
    foot: int = 0,
) -> tuple["Axes", list[tuple[float, float]]]:
    """Returns `pixel_axes` with space for a grid of images, and the upper left corner of each, row by row.

    Args:
      count: Number of images.
      columns: Largest number of images in a row.
      width, height: Size of an image, pixels.
      gap: Space around images, pixels.
      caption: Space below each image, pixels.
      side, head, foot: Space left of, above and below the grid, pixels.

    Raises:
      ValueError: `count` is 0.
    """
    if count == 0:
        raise ValueError("no images to draw")
    columns = min(count, columns)
    across, down = round(width) + gap, round(height) + caption + gap
    axes = pixel_axes(side + columns * across + gap, head + math.ceil(count / columns) * down + gap + foot)
    places = (divmod(index, columns) for index in range(count))
    return axes, [(side + gap + column * across, head + gap + row * down) for row, column in places]


def write(
    axes: "Axes",
    text: str,
    x: float,
    y: float,
    size: float = 9.0,
    color: str = INK,
    align: str = "left",
    vertical: str = "center",
    **style: Any,
) -> None:
    """Writes a text at a position, without math markup."""
    axes.text(x, y, text, fontsize=size, color=color, ha=align, va=vertical, parse_math=False, **style)


def draw_frame(
    axes: "Axes",
    left: float,
    top: float,
    width: float,
    height: float,
    color: str = FRAME,
    linewidth: float = 0.8,
    **style: Any,
) -> None:
    """Draws the outline of a box."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=color, linewidth=linewidth, **style))


def show_image(axes: "Axes", image: np.ndarray, left: float, top: float, width: float, height: float) -> None:
    """Draws an image centered in a box of `pixel_axes`, with its aspect ratio.

    Upscales by nearest neighbor; downscales with a Hanning filter.

    Args:
      axes: Axes of `pixel_axes`.
      image: [height, width, 1 or 3], uint8, or float in [0, 1].
      left: Left end of the box, pixels.
      top: Top end of the box, pixels.
      width: Width of the box, pixels.
      height: Height of the box, pixels.
    """
    rows, columns, channels = image.shape
    scale = min(width / columns, height / rows)
    left, top = left + (width - scale * columns) / 2, top + (height - scale * rows) / 2
    axes.imshow(
        image[..., 0] if channels == 1 else image,
        cmap="gray",
        vmin=0,
        vmax=255 if image.dtype == np.uint8 else 1.0,
        interpolation="nearest" if scale >= 1 else "hanning",
        extent=(left, left + scale * columns, top + scale * rows, top),
        aspect="auto",
    )


def shorten(text: str, length: int) -> str:
    """Truncates `text` to `length` characters, including an ellipsis."""
    return text if len(text) <= length else text[: max(1, length - 1)].rstrip(" _-,") + "…"


def class_names(names: Sequence[str], classes: int) -> list[str]:
    """Returns `classes` names; classes without a name have their number."""
    given = [str(name) for name in names][:classes]
    return given + [str(index) for index in range(len(given), classes)]
