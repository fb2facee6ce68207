"""Pictures of image restoration: clean, corrupted and restored images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.viz.figure import FAINT, Picture, draw_frame, image_grid, render, show_image, write
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation

# Sizes in pixels: the longer side of an image in a grid and of a single image, the gap between images, a line of text,
# the row headings.
_TILE, _ALONE, _GAP, _LINE, _SIDE = 116, 640, 8, 20, 76
SHOWN = 8  # examples in a grid
_MISSING = (86, 180, 233)  # sky blue: rare in photographs as sharp rectangles
_PEAK = 255.0
_STYLE: dict[str, Any] = {"size": 10, "vertical": "center_baseline"}


def restoration_grid(
    clean: np.ndarray, corrupted: np.ndarray, restored: np.ndarray, known: np.ndarray | None = None
) -> Picture:
    """Draws clean, corrupted and restored images, one example per column, with their PSNR in dB.

    Args:
      clean, corrupted, restored: uint8 [n, height, width, 1 or 3]; the first 8 are drawn.
      known: Validity mask [n, height, width, 1], 0 at missing pixels of `corrupted`. None without missing pixels.
    """
    count = min(len(clean), SHOWN)
    height, width = _fitted(clean.shape[1:3], _TILE)
    axes, corners = image_grid(3 * count, max(count, 1), width, height, _GAP, caption=_LINE, side=_SIDE - _GAP)
    rows = {"clean": clean, "corrupted": corrupted, "restored": restored}
    for number, (left, top) in enumerate(corners):
        name, column = list(rows)[number // count], number % count
        image = rows[name][column]
        if not column:
            write(axes, name, _SIDE - _GAP, top + height / 2, align="right", **_STYLE)
        if name != "clean":
            ratio = _decibels(clean[column], image)
            write(axes, ratio, left + width / 2, top + height + _LINE / 2, color=FAINT, align="center", **_STYLE)
        if known is not None and name == "corrupted":
            image = _mark_missing(image, known[column])
        show_image(axes, image, left, top, width, height)
    return render(axes)


def restoration_pair(corrupted: np.ndarray, restored: np.ndarray, known: np.ndarray | None = None) -> Picture:
    """Draws one corrupted image beside the restored one, enlarged.

    Args:
      corrupted: uint8 [height, width, 1 or 3].
      restored: uint8, of the same size or larger.
      known: [height, width, 1], as in `restoration_grid`.
    """
    height, width = _fitted(restored.shape[:2], _ALONE)
    axes, corners = image_grid(2, 2, width, height, _GAP, head=_LINE)
    pictures = [("input", corrupted if known is None else _mark_missing(corrupted, known)), ("restored", restored)]
    for (name, picture), (left, top) in zip(pictures, corners):
        show_image(axes, picture, left, top, width, height)
        draw_frame(axes, left, top, width, height)
        write(axes, name, left + width / 2, top / 2, align="center", **_STYLE)
    return render(axes)


def _fitted(shape: Sequence[int], size: int) -> list[int]:
    """Scales (height, width) so that the longer side is `size` pixels."""
    return [max(1, round(side * size / max(shape))) for side in shape]


def _mark_missing(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns the RGB image with missing pixels in one color, uint8 [height, width, 3]."""
    colors = image.repeat(3, axis=-1) if image.shape[-1] == 1 else image[..., :3]
    return np.where(known > 0, colors, np.array(_MISSING, np.uint8)).astype(np.uint8)


def _decibels(clean: np.ndarray, other: np.ndarray) -> str:
    error = np.mean((clean.astype(np.float64) - other) ** 2)
    return f"{10 * math.log10(_PEAK**2 / error):.1f} dB" if error else "equal"


@dataclass(frozen=True)
class RestorationPresentation(Presentation):
    """Presentation of image restoration.

    Attributes:
      read: `(image [batch, h, w, c]) -> (image, known)`, a corruption's reading of images that are corrupted already.
    """

    read: Callable[..., Any]
    framing = "keep"

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `restored`, the evaluation's first examples clean, corrupted and restored.

        The outputs for the batch are not drawn: their inputs were the clean images.
        """
        if "examples" not in metrics:
            return {}
        clean, corrupted, restored = np.moveaxis(metrics["examples"], 1, 0)
        return {"restored": restoration_grid(clean, corrupted, restored, metrics.get("examples_known"))}

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the image, with missing pixels in a color, beside the restored one."""
        image, restored = np.asarray(example["image"]), np.asarray(outputs["restored"])
        corrupted, known = self.read(image[None])
        # Framing pads images at the bottom and at the right.
        height, width = corrupted.shape[1:3]
        return restoration_pair(image, restored[:height, :width], None if known is None else np.asarray(known)[0])
