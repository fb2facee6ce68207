"""Pictures of generated images: samples by class, next to real images, and along paths between latents."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.viz.figure import FAINT, Picture, class_names, pixel_axes, render, shorten, show_image, write
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation

# In pixels: size of an image, gap between images, height of a title, width of the names on the left.
_BOX, _GAP, _HEAD, _SIDE = 84, 4, 26, 110
_COLUMNS, _SHOWN = 8, 24


def sample_grid(
    images: np.ndarray, labels: Sequence[int] | np.ndarray | None = None, names: Sequence[str] | None = None
) -> Picture:
    """Draws images in rows of eight, or, with labels [n], up to eight in a row per class with its name on the left.

    Images are [n, height, width, 1 or 3], uint8, or float in [0, 1].
    """
    return _draw([("", _rows_of(images, labels, names))])


def real_and_generated(
    real: np.ndarray,
    generated: np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> Picture:
    """Draws real images above generated ones as `sample_grid`, at most 24 of each; the labels are those of both."""
    labels = None if labels is None else labels[:_SHOWN]
    parts = [("real", real), ("generated", generated)]
    return _draw([(title, _rows_of(images[:_SHOWN], labels, names)) for title, images in parts])


def generated_and_nearest(generated: np.ndarray, nearest: np.ndarray) -> Picture:
    """Draws rows of eight generated images, each row above the nearest training images of its images.

    Both are uint8 [n, height, width, 1 or 3], at most 24 of each are drawn.
    """
    parts = []
    for start in range(0, min(len(generated), _SHOWN), _COLUMNS):
        row = slice(start, min(start + _COLUMNS, _SHOWN))
        parts.append(("", [("generated", generated[row]), ("nearest", nearest[row])]))
    return _draw(parts)


def path_grid(paths: np.ndarray, rows: int = 8) -> Picture:
    """Draws the first `rows` paths [n, steps, height, width, 1 or 3] between latents or of sampling, one per row."""
    return _draw([("", [("", path) for path in paths[:rows]])])


def _rows_of(
    images: np.ndarray, labels: Sequence[int] | np.ndarray | None, names: Sequence[str] | None
) -> list[tuple[str, np.ndarray]]:
    """Returns (name, images) per row: classes in order, or eight images per row."""
    if labels is None:
        return [("", images[start : start + _COLUMNS]) for start in range(0, len(images), _COLUMNS)]
    labels = np.asarray(labels)
    every_name = class_names(names or [], max(len(names or []), int(labels.max(initial=0)) + 1))
    return [(every_name[label], images[labels == label][:_COLUMNS]) for label in np.unique(labels)]


def _draw(parts: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]]) -> Picture:
    """Draws titled blocks of rows below each other."""
    rows = [row for _, block in parts for row in block]
    if not any(len(images) for _, images in rows):
        raise ValueError("no images to draw")
    columns = max(len(images) for _, images in rows)
    height, width = rows[0][1].shape[1:3]
    scale = max(1, math.ceil(_BOX / max(height, width)))
    across, down = scale * width + _GAP, scale * height + _GAP
    side = _SIDE if any(name for name, _ in rows) else _GAP
    heads = sum(_HEAD for title, _ in parts if title)
    axes = pixel_axes(side + columns * across, heads + len(rows) * down + _GAP)
    top = _GAP
    for title, block in parts:
        if title:
            write(axes, title, side, top + _HEAD / 2, 10, FAINT)
            top += _HEAD
        for name, images in block:
            write(axes, shorten(name, 15), side - 6, top + (down - _GAP) / 2, align="right")
            for column, image in enumerate(images):
                show_image(axes, image, side + column * across, top, across - _GAP, down - _GAP)
            top += down
    return render(axes)


class _GeneratedPresentation(Presentation):
    """Presentation of generative models without an input image."""

    framing = None

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the generated image."""
        return np.broadcast_to(outputs["image"], (*outputs["image"].shape[:2], 3))

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        """Returns the `label` of conditional models."""
        return {"label": str(names["label"][int(outputs["label"])])} if "label" in outputs else {}


class GenerationPresentation(_GeneratedPresentation):
    """Presentation of GANs."""

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `samples` next to real images, and `paths` between pairs of latents if the outputs have `path`."""
        paths = {"paths": path_grid(np.asarray(outputs["path"]))} if "path" in outputs else {}
        return {"samples": _samples(batch, outputs, names), **paths}


class DiffusionPresentation(_GeneratedPresentation):
    """Presentation of diffusion models.

    Args:
      framing: Framing of input images for editing and inpainting. None: there is no input image.
    """

    def __init__(self, framing: str | None = None):
        self.framing = framing

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `samples` next to real images, `denoising` trajectories of samples, and `noising` of real images.

        The last only if the outputs have `noised`.
        """
        pictures = {"samples": _samples(batch, outputs, names), "denoising": path_grid(np.asarray(outputs["strip"]))}
        if "noised" in outputs:
            pictures["noising"] = path_grid(np.asarray(outputs["noised"]))
        return pictures


def _samples(batch: Mapping[str, Any], outputs: Mapping[str, Any], names: Mapping[str, Any]) -> np.ndarray:
    labels = np.asarray(outputs["label"]) if "label" in outputs else None
    class_names = names.get("label") if labels is not None else None
    return real_and_generated(np.asarray(batch["image"]), np.asarray(outputs["image"]), labels, class_names)
