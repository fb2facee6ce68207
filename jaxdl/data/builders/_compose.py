"""Scenes composed of cut-outs on photographs, with exact boxes and masks.

The idea of Dwibedi, Misra and Hebert, "Cut, Paste and Learn" (2017, arXiv:1708.01642): what is pasted is known to the
pixel, so nobody has to label anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from jaxdl.errors import UserError

SOLID = 128  # alpha from which on a pixel belongs to the object
FAINT = 16  # alpha below which nothing is seen
_ATTEMPTS = 30  # places and sizes tried before a scene is left with an object fewer


@dataclass(frozen=True)
class Scenes:
    """How scenes look.

    Attributes:
      size: height and width in pixels.
      most: the most objects in a scene; the number wanted is uniform in 1 .. most.
      lengths: (smallest, largest) longer side of an object in pixels; a cut-out is never enlarged.
      degrees: an object is turned by up to this angle to either side.
      brightness: (smallest, largest) factor on an object's values.
      visible: smallest share of an object's pixels that later objects leave to be seen.
      pixels: fewest pixels of an object, so that thin things do not fade away.
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
    """One scene; each object's category is uniform, then its cut-out among those of the category.

    Args:
      cutouts: of each category its cut-outs, uint8 [height, width, 4], red, green, blue, alpha; see `trim`.
      backgrounds: uint8 [height, width, 3], at least `scenes.size` high and wide.

    Returns:
      `image` uint8 [size, size, 3]; `mask` uint8 [size, size], 0 background, else category + 1; `instances` uint8
      [size, size], 0 background, else 1 + the object's row in: `boxes` float32 [most, 4], (top, left, bottom, right)
      in pixels, around what is seen of the object; `box_label` int32 [most], category; `box_weight` float32 [most],
      1 for an object. Rows beyond the last object are 0.

    Raises:
      UserError: a category without cut-outs, no background, or one that is too small; cut-outs with no solid pixels.
    """
    scenes = scenes or Scenes()
    if not cutouts or not all(cutouts) or not backgrounds:
        raise UserError("a scene needs at least one cut-out of each category and one background")
    canvas = _background(backgrounds[_below(generator, len(backgrounds))], scenes.size, generator)
    instances = np.zeros((scenes.size, scenes.size), np.uint8)
    categories: list[int] = []
    areas = np.zeros(0)  # pixels of each object before others hid some
    for _ in range(1 + _below(generator, scenes.most)):
        category = _below(generator, len(cutouts))
        pasted = _paste(canvas, instances, areas, cutouts[category], scenes, generator)
        if pasted is not None:
            canvas, instances, areas = pasted
            categories.append(category)
    if not categories:
        raise UserError(f"no cut-out has {scenes.pixels} pixels that are not transparent; make them larger")
    return _annotated(canvas, instances, categories, scenes.most)


def _paste(
    canvas: np.ndarray,
    instances: np.ndarray,
    areas: np.ndarray,
    cutouts: Sequence[np.ndarray],
    scenes: Scenes,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(canvas, instances, areas) with one of the cut-outs on top; None if no attempt leaves enough to be seen."""
    for _ in range(_ATTEMPTS):
        layer = _render(cutouts[_below(generator, len(cutouts))], scenes, generator)
        place = _place(layer.shape[:2], scenes.size, generator)
        solid = layer[..., 3] >= SOLID
        covered = instances.copy()
        covered[place][solid] = len(areas) + 1
        seen = np.bincount(covered.ravel(), minlength=len(areas) + 2)[1:]
        grown = np.append(areas, solid.sum())
        if grown[-1] >= scenes.pixels and (seen >= scenes.visible * grown).all():
            alpha = layer[..., 3:] / np.float32(255)
            canvas[place] += alpha * (layer[..., :3] - canvas[place])
            return canvas, covered, grown
    return None


def trim(cutout: Image.Image, longest: int) -> np.ndarray:
    """uint8 [height, width, 4]: the cut-out without its empty margin, reduced to at most `longest` pixels a side.

    Raises:
      UserError: nothing of it can be seen.
    """
    box = _extent(np.asarray(cutout.convert("RGBA"))[..., 3] >= FAINT)
    if box is None:
        raise UserError("a cut-out must have pixels that are not transparent")
    top, left, bottom, right = box
    image = cutout.convert("RGBA").crop((left, top, right, bottom))
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.array(image)


def _below(generator: np.random.Generator, count: int) -> int:
    """Uniform in 0 .. count - 1, from one `random()`, whose stream is the most stable over versions of NumPy."""
    return int(generator.random() * count)


def _between(generator: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * generator.random()


def _background(photograph: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """float32 [size, size, 3]: a random square of the photograph, mirrored or not."""
    height, width, _ = photograph.shape
    shorter = min(height, width)
    if shorter < size:
        raise UserError(f"a background of {height}x{width} pixels is too small for scenes of {size}x{size}")
    side = size + _below(generator, shorter - size + 1)
    top, left = _below(generator, height - side + 1), _below(generator, width - side + 1)
    part = Image.fromarray(photograph[top : top + side, left : left + side])
    values = np.asarray(part.resize((size, size), Image.Resampling.LANCZOS), np.float32)
    return (values[:, ::-1] if generator.random() < 0.5 else values).copy()


def _render(cutout: np.ndarray, scenes: Scenes, generator: np.random.Generator) -> np.ndarray:
    """float32 [height, width, 4], values to 255: the cut-out mirrored or not, turned, resized, brighter or darker."""
    mirrored = cutout[:, ::-1] if generator.random() < 0.5 else cutout
    angle = _between(generator, -scenes.degrees, scenes.degrees)
    # PIL weights colours by alpha where it resamples, so what lies hidden around a cut-out does not bleed in.
    turned = Image.fromarray(np.ascontiguousarray(mirrored)).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    box = _extent(np.asarray(turned)[..., 3] >= FAINT)
    assert box is not None, "a turned cut-out has vanished"
    top, left, bottom, right = box
    longest = max(bottom - top, right - left)
    low, high = scenes.lengths
    scale = min(_between(generator, low, min(high, longest)), longest) / longest
    shape = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    small = turned.resize(shape, Image.Resampling.LANCZOS, box=(left, top, right, bottom))
    layer = np.array(small, np.float32)
    layer[..., :3] = np.minimum(layer[..., :3] * _between(generator, *scenes.brightness), 255)
    return layer


def _place(shape: tuple[int, ...], size: int, generator: np.random.Generator) -> tuple[slice, slice]:
    height, width = shape
    top, left = _below(generator, size - height + 1), _below(generator, size - width + 1)
    return slice(top, top + height), slice(left, left + width)


def _extent(inside: np.ndarray) -> tuple[int, int, int, int] | None:
    """(top, left, bottom, right) around the true pixels of [height, width]; None if there are none."""
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
