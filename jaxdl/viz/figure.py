"""Matplotlib figures rendered to arrays with the Agg canvas, without pyplot's global state."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def render(figure: "Figure") -> np.ndarray:
    """Returns the figure's pixels, uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(np.asarray(canvas.buffer_rgba())[..., :3])


def plain(axes: "Axes") -> None:
    """Hides the top and right spines and draws a light horizontal grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BDC1C6")
    axes.tick_params(colors=FAINT, labelsize=9, length=3)
    axes.grid(axis="y", color="#E8EAED", linewidth=0.8)
    axes.set_axisbelow(True)


def message(text: str, width: int = 480, height: int = 120) -> np.ndarray:
    """Returns a picture of `text`, uint8 [height, width, 3], as a placeholder for a plot."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=11, color=FAINT, parse_math=False)
    return render(figure)


def pixel_axes(figure: "Figure") -> "Axes":
    """Returns invisible axes over the figure, in pixels from the upper left corner."""
    width, height = (figure.get_size_inches() * figure.dpi).round()
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.axis("off")
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return axes


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
