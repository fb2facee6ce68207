"""Pictures of restored images: clean, as given, and restored; missing pixels in a colour."""

import math
from typing import TYPE_CHECKING

import numpy as np

from jaxdl.viz.figure import FAINT, FRAME, INK, new_figure, pixel_axes, render, show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sizes in pixels: of an image's longer side in a grid, of one that stands alone, of the gap between images, of a line
# of text, of the headings beside the rows.
_TILE, _ALONE, _GAP, _LINE, _SIDE = 116, 640, 8, 20, 76
_SHOWN = 8
_MISSING = (86, 180, 233)  # sky blue, which few photographs have in sharp rectangles
_PEAK = 255.0


def restoration_grid(
    clean: np.ndarray, given: np.ndarray, restored: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    """An example a column: clean, given, restored; below the last two their PSNR to the clean one, in dB.

    Args:
      clean, given, restored: uint8 [n, height, width, 1 or 3]; the first 8 are drawn.
      known: [n, height, width, 1], 0 where a pixel of `given` is missing; None: none is.

    Returns:
      uint8 [height, width, 3].

    Raises:
      ValueError: no images.
    """
    count = min(len(clean), _SHOWN)
    if count == 0:
        raise ValueError("restoration_grid: there are no images to draw")
    rows, columns = clean.shape[1:3]
    scale = _TILE / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    down = height + _LINE + _GAP
    axes = pixel_axes(new_figure(_SIDE + count * (width + _GAP) + _GAP, _GAP + 3 * down))
    for row, (name, images) in enumerate([("clean", clean), ("given", given), ("restored", restored)]):
        top = _GAP + row * down
        _write(axes, name, _SIDE - _GAP, top + height / 2, INK, "right")
        for column in range(count):
            left = _SIDE + column * (width + _GAP)
            marked = images[column] if known is None or name != "given" else _marked(images[column], known[column])
            show_image(axes, marked, left, top, width, height)
            if row:
                ratio = _decibels(clean[column], images[column])
                _write(axes, ratio, left + width / 2, top + height + _LINE / 2, FAINT, "center")
    return render(axes.figure)  # type: ignore


def restoration_pair(given: np.ndarray, restored: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """One image as it was given, large, beside what was made of it.

    Args:
      given: uint8 [height, width, 1 or 3].
      restored: uint8, of the same size or larger.
      known: [height, width, 1], 0 where a pixel of `given` is missing; None: none is.

    Returns:
      uint8 [height, width, 3].
    """
    from matplotlib.patches import Rectangle

    rows, columns = restored.shape[:2]
    scale = _ALONE / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    axes = pixel_axes(new_figure(2 * width + 3 * _GAP, height + _LINE + 2 * _GAP))
    pictures = [("given", given if known is None else _marked(given, known)), ("restored", restored)]
    for number, (name, picture) in enumerate(pictures):
        left = _GAP + number * (width + _GAP)
        show_image(axes, picture, left, _LINE + _GAP, width, height)
        axes.add_patch(Rectangle((left, _LINE + _GAP), width, height, fill=False, edgecolor=FRAME, linewidth=0.8))
        _write(axes, name, left + width / 2, (_LINE + _GAP) / 2, INK, "center")
    return render(axes.figure)  # type: ignore


def _marked(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The image in RGB, missing pixels in one colour, uint8 [height, width, 3]."""
    colors = image.repeat(3, axis=-1) if image.shape[-1] == 1 else image[..., :3]
    return np.where(known > 0, colors, np.array(_MISSING, np.uint8)).astype(np.uint8)


def _decibels(clean: np.ndarray, other: np.ndarray) -> str:
    error = np.mean((clean.astype(np.float64) - other) ** 2)
    return f"{10 * math.log10(_PEAK**2 / error):.1f} dB" if error else "equal"


def _write(axes: "Axes", text: str, x: float, y: float, color: str, align: str) -> None:
    axes.text(x, y, text, ha=align, va="center_baseline", fontsize=10, color=color, parse_math=False)
