"""Synthetic scenes of cut-outs pasted on photographs, with exact boxes and masks.

After Dwibedi, Misra and Hebert, "Cut, Paste and Learn" (2017, arXiv:1708.01642).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from jaxdl.errors import UserError

SOLID = 128  # smallest alpha of a pixel that belongs to the object
FAINT = 16  # smallest visible alpha
_ATTEMPTS = 30  # positions and sizes tried before an object is skipped


@dataclass(frozen=True)
class Scenes:
    """Appearance of scenes.

    Attributes:
      size: Height and width in pixels.
      most: Largest number of objects; the number is uniform in 1 .. most.
      lengths: (minimum, maximum) longer side of an object in pixels. Cut-outs are never enlarged.
      degrees: Largest rotation of an object in either direction.
      brightness: (minimum, maximum) factor on the values of an object.
      visible: Smallest fraction of an object's pixels that later objects may leave visible.
      pixels: Smallest number of pixels of an object.
    """

    size: int = 96
    most: int = 5
    lengths: tuple[float, float] = (20, 56)
    degrees: float = 15.0
    brightness: tuple[float, float] = (0.75, 1.25)
    visible: float = 0.6
    pixels: int = 60


def compose(
    cutouts: Sequence[Sequence[np.ndarray]],
    backgrounds: Sequence[np.ndarray],
    generator: np.random.Generator,
    scenes: Scenes | None = None,
) -> dict[str, np.ndarray]:
    """Composes one scene; categories are uniform, as are the cut-outs within a category.

    Args:
      cutouts: RGBA cut-outs of each category, uint8 [height, width, 4]; see `trim`.
      backgrounds: Photographs, uint8 [height, width, 3], of at least `scenes.size` on each side.
      generator: Random generator.
      scenes: Appearance of the scene.

    Returns:
      `image` uint8 [size, size, 3]; `mask` uint8 [size, size], 0 background, 1 + category; `instances` uint8
      [size, size], 0 background, 1 + row in `boxes`; `boxes` float32 [most, 4], (top, left, bottom, right) in pixels of
      the visible part; `box_label` int32 [most]; `box_weight` float32 [most], 1 for objects. Unused rows are 0.

    Raises:
      UserError: A category has no cut-outs, there is no background, a background is too small, or all cut-outs are.
    """
    scenes = scenes or Scenes()
    if not cutouts or not all(cutouts) or not backgrounds:
        raise UserError("a scene needs at least one cut-out per category and one background; add files")
    canvas = _background(backgrounds[_below(generator, len(backgrounds))], scenes.size, generator)
    instances = np.zeros((scenes.size, scenes.size), np.uint8)
    categories: list[int] = []
    areas = np.zeros(0)  # pixels of each object before occlusion
    for _ in range(1 + _below(generator, scenes.most)):
        category = _below(generator, len(cutouts))
        pasted = _paste(canvas, instances, areas, cutouts[category], scenes, generator)
        if pasted is not None:
            canvas, instances, areas = pasted
            categories.append(category)
    if not categories:
        raise UserError(f"no cut-out has {scenes.pixels} opaque pixels; use larger cut-outs")
    return _annotated(canvas, instances, categories, scenes.most)


def _paste(
    canvas: np.ndarray,
    instances: np.ndarray,
    areas: np.ndarray,
    cutouts: Sequence[np.ndarray],
    scenes: Scenes,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Pastes one cut-out on top and returns (canvas, instances, areas).

    None if every attempt occludes too much.
    """
    for _ in range(_ATTEMPTS):
        layer = _render(cutouts[_below(generator, len(cutouts))], scenes, generator)
        position = _place(layer.shape[:2], scenes.size, generator)
        solid = layer[..., 3] >= SOLID
        covered = instances.copy()
        covered[position][solid] = len(areas) + 1
        visible = np.bincount(covered.ravel(), minlength=len(areas) + 2)[1:]
        grown = np.append(areas, solid.sum())
        if grown[-1] >= scenes.pixels and (visible >= scenes.visible * grown).all():
            alpha = layer[..., 3:] / np.float32(255)
            canvas[position] += alpha * (layer[..., :3] - canvas[position])
            return canvas, covered, grown
    return None


def trim(cutout: Image.Image, longest: int) -> np.ndarray:
    """Crops the transparent margin of a cut-out, uint8 [height, width, 4].

    Larger cut-outs are reduced to `longest` pixels per side.

    Raises:
      UserError: The cut-out is fully transparent.
    """
    box = _extent(np.asarray(cutout.convert("RGBA"))[..., 3] >= FAINT)
    if box is None:
        raise UserError("a cut-out is fully transparent; use an image with an alpha channel above 0")
    top, left, bottom, right = box
    image = cutout.convert("RGBA").crop((left, top, right, bottom))
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.array(image)


def _below(generator: np.random.Generator, count: int) -> int:
    """Draws from 0 .. count - 1.

    The stream of `random()` is stable over versions of NumPy.
    """
    return int(generator.random() * count)


def _between(generator: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * generator.random()


def _background(photograph: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Crops and flips a random square of the photograph, float32 [size, size, 3]."""
    height, width, _ = photograph.shape
    shorter = min(height, width)
    if shorter < size:
        raise UserError(
            f"a background of {height} x {width} pixels is too small for scenes of {size} x {size}; use a larger one"
        )
    side = size + _below(generator, shorter - size + 1)
    top, left = _below(generator, height - side + 1), _below(generator, width - side + 1)
    part = Image.fromarray(photograph[top : top + side, left : left + side])
    values = np.asarray(part.resize((size, size), Image.Resampling.LANCZOS), np.float32)
    return (values[:, ::-1] if generator.random() < 0.5 else values).copy()


def _render(cutout: np.ndarray, scenes: Scenes, generator: np.random.Generator) -> np.ndarray:
    """Flips, rotates, resizes and brightens a cut-out, float32 [height, width, 4] to 255."""
    mirrored = cutout[:, ::-1] if generator.random() < 0.5 else cutout
    angle = _between(generator, -scenes.degrees, scenes.degrees)
    # PIL weights colours by alpha when resampling, so hidden colours around a cut-out do not bleed in.
    rotated = Image.fromarray(np.ascontiguousarray(mirrored)).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    box = _extent(np.asarray(rotated)[..., 3] >= FAINT)
    assert box is not None, "a rotated cut-out has vanished"
    top, left, bottom, right = box
    longest = max(bottom - top, right - left)
    low, high = scenes.lengths
    scale = min(_between(generator, low, min(high, longest)), longest) / longest
    shape = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    small = rotated.resize(shape, Image.Resampling.LANCZOS, box=(left, top, right, bottom))
    layer = np.array(small, np.float32)
    layer[..., :3] = np.minimum(layer[..., :3] * _between(generator, *scenes.brightness), 255)
    return layer


def _place(shape: tuple[int, ...], size: int, generator: np.random.Generator) -> tuple[slice, slice]:
    height, width = shape
    top, left = _below(generator, size - height + 1), _below(generator, size - width + 1)
    return slice(top, top + height), slice(left, left + width)


def _extent(inside: np.ndarray) -> tuple[int, int, int, int] | None:
    """Returns the bounding box (top, left, bottom, right) of true pixels; None if empty."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(rows) == 0:
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _annotated(canvas: np.ndarray, instances: np.ndarray, categories: list[int], most: int) -> dict[str, np.ndarray]:
    boxes, labels, weights = np.zeros((most, 4), np.float32), np.zeros(most, np.int32), np.zeros(most, np.float32)
    for row, category in enumerate(categories):
        boxes[row] = _extent(instances == row + 1)
        labels[row], weights[row] = category, 1
    return {
        "image": np.rint(np.clip(canvas, 0, 255)).astype(np.uint8),
        "mask": np.array([0, *(category + 1 for category in categories)], np.uint8)[instances],
        "instances": instances,
        "boxes": boxes,
        "box_label": labels,
        "box_weight": weights,
    }
