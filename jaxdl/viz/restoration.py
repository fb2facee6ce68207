"""Pictures of image restoration: clean, corrupted and restored images."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.viz.figure import FAINT, FRAME, INK, new_figure, pixel_axes, render, show_image
from jaxdl.viz.presentation import Presentation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sizes in pixels: the longer side of an image in a grid and of a single image, the gap between images, a line of text,
# the row headings.
_TILE, _ALONE, _GAP, _LINE, _SIDE = 116, 640, 8, 20, 76
SHOWN = 8  # examples in a grid
_MISSING = (86, 180, 233)  # sky blue: rare in photographs as sharp rectangles
_PEAK = 255.0


def restoration_grid(
    clean: np.ndarray, corrupted: np.ndarray, restored: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    """Draws clean, corrupted and restored images, one example per column, with their PSNR in dB.

    Args:
      clean, corrupted, restored: uint8 [n, height, width, 1 or 3]; the first 8 are drawn.
      known: Validity mask [n, height, width, 1], 0 at missing pixels of `corrupted`. None without missing pixels.

    Returns:
      uint8 [height, width, 3].

    Raises:
      ValueError: No images.
    """
    count = min(len(clean), SHOWN)
    if count == 0:
        raise ValueError("restoration_grid: no images to draw")
    rows, columns = clean.shape[1:3]
    scale = _TILE / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    down = height + _LINE + _GAP
    axes = pixel_axes(new_figure(_SIDE + count * (width + _GAP) + _GAP, _GAP + 3 * down))
    for row, (name, images) in enumerate([("clean", clean), ("corrupted", corrupted), ("restored", restored)]):
        top = _GAP + row * down
        _write(axes, name, _SIDE - _GAP, top + height / 2, INK, "right")
        for column in range(count):
            left = _SIDE + column * (width + _GAP)
            image = images[column]
            if known is not None and name == "corrupted":
                image = _mark_missing(image, known[column])
            show_image(axes, image, left, top, width, height)
            if row:
                ratio = _decibels(clean[column], images[column])
                _write(axes, ratio, left + width / 2, top + height + _LINE / 2, FAINT, "center")
    return render(axes.figure)  # type: ignore


def restoration_pair(corrupted: np.ndarray, restored: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Draws one corrupted image beside the restored one, enlarged.

    Args:
      corrupted: uint8 [height, width, 1 or 3].
      restored: uint8, of the same size or larger.
      known: Validity mask [height, width, 1], 0 at missing pixels of `corrupted`. None without missing pixels.

    Returns:
      uint8 [height, width, 3].
    """
    from matplotlib.patches import Rectangle

    rows, columns = restored.shape[:2]
    scale = _ALONE / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    axes = pixel_axes(new_figure(2 * width + 3 * _GAP, height + _LINE + 2 * _GAP))
    pictures = [("input", corrupted if known is None else _mark_missing(corrupted, known)), ("restored", restored)]
    for number, (name, picture) in enumerate(pictures):
        left = _GAP + number * (width + _GAP)
        show_image(axes, picture, left, _LINE + _GAP, width, height)
        axes.add_patch(Rectangle((left, _LINE + _GAP), width, height, fill=False, edgecolor=FRAME, linewidth=0.8))
        _write(axes, name, left + width / 2, (_LINE + _GAP) / 2, INK, "center")
    return render(axes.figure)  # type: ignore


def _mark_missing(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns the RGB image with missing pixels in one color, uint8 [height, width, 3]."""
    colors = image.repeat(3, axis=-1) if image.shape[-1] == 1 else image[..., :3]
    return np.where(known > 0, colors, np.array(_MISSING, np.uint8)).astype(np.uint8)


def _decibels(clean: np.ndarray, other: np.ndarray) -> str:
    error = np.mean((clean.astype(np.float64) - other) ** 2)
    return f"{10 * math.log10(_PEAK**2 / error):.1f} dB" if error else "equal"


def _write(axes: "Axes", text: str, x: float, y: float, color: str, align: str) -> None:
    axes.text(x, y, text, ha=align, va="center_baseline", fontsize=10, color=color, parse_math=False)


@dataclass(frozen=True)
class RestorationPresentation(Presentation):
    """Presentation of image restoration.

    Attributes:
      read: `(image [batch, h, w, c]) -> (image, known)`, a corruption's reading of images that are corrupted already.
    """

    read: Callable[..., Any]
    framing = "keep"

    def pictures(self, batch: Any, outputs: Any, metrics: Mapping[str, Any], names: Any) -> dict[str, np.ndarray]:
        """Returns `restored`, the evaluation's first examples clean, corrupted and restored.

        The outputs for the batch are not drawn: their inputs were the clean images.
        """
        if "examples" not in metrics:
            return {}
        clean, corrupted, restored = np.moveaxis(metrics["examples"], 1, 0)
        return {"restored": restoration_grid(clean, corrupted, restored, metrics.get("examples_known"))}

    def picture(self, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Any) -> np.ndarray:
        """Returns the image, with missing pixels in a color, beside the restored one."""
        image, restored = np.asarray(example["image"]), np.asarray(outputs["restored"])
        corrupted, known = self.read(image[None])
        # Framing pads images at the bottom and at the right.
        height, width = corrupted.shape[1:3]
        return restoration_pair(image, restored[:height, :width], None if known is None else np.asarray(known)[0])
