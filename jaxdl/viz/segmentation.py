"""Pictures of segmentation: masks in class colors, and outlines of instances.

Small images are enlarged by an integer factor, which keeps pixels square.
"""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxdl.viz.classification import confusion_pictures
from jaxdl.viz.figure import (
    COLORS,
    FAINT,
    FRAME,
    INK,
    Picture,
    class_names,
    pixel_axes,
    render,
    shorten,
    show_image,
    write,
)
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, take, valid_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sizes in pixels: the longer side of an image in a grid, the shorter side of narrow images, the longer side of a single
# image, the gap between images, a line of text.
_TILE, _NARROW, _ALONE, _GAP, _LINE = 256, 160, 900, 10, 22
# Examples in a grid, and per row.
_SHOWN, _BESIDE = 8, 2
# Width of a letter of the legend in pixels, and its largest number of classes.
_LETTER, _NAMED = 9, 24
# Colors of the class "background" and of unlabelled pixels.
_DARK, _UNLABELLED = (60, 64, 67), (218, 220, 224)


class Tile(NamedTuple):
    """Picture uint8 [height, width, 3] and its caption."""

    picture: np.ndarray
    caption: str = ""


def class_colors(names: Sequence[str]) -> np.ndarray:
    """Returns a color per class, uint8 [classes, 3]; a class "background" is dark gray."""
    colors = [_DARK if name == "background" else None for name in names]
    palette = iter(_palette(len(names)))
    return np.array([next(palette) if color is None else color for color in colors], np.uint8).reshape(-1, 3)


def _palette(count: int) -> np.ndarray:
    """Returns distinct colors, uint8 [count, 3]: the shared ones, then hues a golden angle apart."""
    fixed = [tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in COLORS[:count]]
    hues = [(number * 0.618034 % 1.0, (0.95, 0.7)[number % 3 == 1], (0.85, 0.6)[number % 2]) for number in range(count)]
    more = [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(*hue)) for hue in hues[len(fixed) :]]
    return np.array(fixed + more, np.uint8).reshape(-1, 3)


def enlarge(array: np.ndarray, factor: int) -> np.ndarray:
    """Repeats pixels: [height, width, ...] -> [factor * height, factor * width, ...]."""
    return array.repeat(factor, axis=0).repeat(factor, axis=1)


def overlay(image: np.ndarray, colors: np.ndarray, where: np.ndarray, share: float = 0.5) -> np.ndarray:
    """Blends colors, uint8 [height, width, 3], into an image where the mask is set; `share` is their opacity."""
    image = _rgb(image)
    mixed = (1.0 - share) * image + share * colors.astype(np.float64)
    return np.where(where[..., None], np.rint(mixed).astype(np.uint8), image)


def outlines(labels: np.ndarray, width: int = 1) -> np.ndarray:
    """Returns the pixels of regions (labels above 0) within `width` pixels of another label, bool [height, width]."""
    edge = np.zeros(labels.shape, bool)
    for distance in range(1, width + 1):
        for axis in (0, 1):
            near = np.moveaxis(labels, axis, 0)
            differs = np.moveaxis(edge, axis, 0)  # a view: writes into edge
            unequal = near[distance:] != near[:-distance]
            differs[distance:] |= unequal
            differs[:-distance] |= unequal
    return edge & (labels > 0)


def _rgb(image: np.ndarray) -> np.ndarray:
    """Returns uint8 [height, width, 3]; images without 3 channels become gray, by their mean."""
    if image.shape[-1] == 3:
        return image
    return np.rint(image.mean(-1, keepdims=True)).astype(np.uint8).repeat(3, axis=-1)


def mask_grid(images: np.ndarray, truths: np.ndarray | None, predictions: np.ndarray, names: Sequence[str]) -> Picture:
    """Draws images, uint8 [n, height, width, channels], beside true and predicted masks, with a legend.

    Args:
      images: The first 8 are drawn.
      truths, predictions: Class ids [n, height, width]; true ones are 255 for unlabelled pixels (light gray). `truths`
        is None for unlabelled images.
    """
    images, predictions = images[:_SHOWN], predictions[:_SHOWN]
    truths = None if truths is None else truths[:_SHOWN]
    present = np.unique(predictions if truths is None else np.append(predictions, truths))
    present = present[(present >= 0) & (present != 255)]
    names = class_names(names, max(len(names), int(present.max(initial=0)) + 1))
    table = np.full((256, 3), _UNLABELLED, np.uint8)
    table[: len(names)] = class_colors(names)[:255]
    rows = []
    for number, image in enumerate(images):
        tiles = [Tile(_rgb(image))]
        caption = ""
        if truths is not None:
            known = truths[number] != 255
            share = np.mean(predictions[number][known] == truths[number][known]) if known.any() else math.nan
            caption = f"{100 * share:.1f}% correct" if known.any() else "unlabelled"
            tiles.append(Tile(table[truths[number]]))
        rows.append([*tiles, Tile(table[predictions[number]], caption)])
    headings = ["image", "prediction"] if truths is None else ["image", "truth", "prediction"]
    legend = [(names[index], table[index]) for index in present]
    if truths is not None and np.any(truths == 255):
        legend.append(("unlabelled", table[255]))
    return _sheet(rows, headings, legend, _tile(images.shape[1:3]))


def mask_overlay(image: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> Picture:
    """Draws an image, uint8 [height, width, channels], under its mask of class ids [height, width], enlarged.

    The legend has the classes' shares of the pixels. A class "background" is not colored.
    """
    present, counts = np.unique(mask, return_counts=True)
    names = class_names(names, max(len(names), int(present.max()) + 1))
    colors = class_colors(names)
    shown = np.array([name != "background" for name in names])
    factor = _factor(mask.shape, _ALONE)
    stroke = _stroke(mask.shape, _ALONE)
    mask, image = enlarge(mask, factor), enlarge(image, factor)
    picture = overlay(image, colors[mask], shown[mask], 0.45)
    edge = outlines(mask.astype(np.int64) + 1, stroke) & shown[mask]
    picture = overlay(picture, colors[mask], edge, 1.0)
    legend = [
        (f"{shorten(names[index], 20)} {100 * count / counts.sum():.0f}%", colors[index])
        for index, count in zip(present, counts)
        if shown[index]
    ]
    return _sheet([[Tile(picture)]], [], legend, _ALONE)


def instance_grid(images: np.ndarray, truths: np.ndarray | None, predictions: np.ndarray) -> Picture:
    """Draws images beside the outlines of true and predicted instances, with their counts.

    Args:
      images: uint8 [n, height, width, channels]; the first 8 are drawn.
      truths, predictions: Label images [n, height, width], 0 for the background. `truths` may be None.
    """
    rows, size = [], _tile(images.shape[1:3])
    for number, image in enumerate(images[:_SHOWN]):
        labels = [predictions[number]] if truths is None else [truths[number], predictions[number]]
        outlined = [Tile(_outlined(image, instances, size), _count(instances)) for instances in labels]
        rows.append([Tile(enlarge(_rgb(image), _factor(image.shape, size))), *outlined])
    return _sheet(rows, ["image", "prediction"] if truths is None else ["image", "truth", "prediction"], [], size)


def instance_overlay(image: np.ndarray, instances: np.ndarray) -> Picture:
    """Draws one enlarged image with its instances [height, width] tinted and outlined, and their count."""
    return _sheet([[Tile(_outlined(image, instances, _ALONE, tint=0.3), _count(instances))]], [], [], _ALONE)


def _outlined(image: np.ndarray, instances: np.ndarray, size: int, tint: float = 0.0) -> np.ndarray:
    """Returns the enlarged image with instances in colors that differ from those of touching instances."""
    factor = _factor(image.shape, size)
    labels = enlarge(instances, factor)
    colors = enlarge(_instance_colors(instances), factor)
    picture = overlay(enlarge(image, factor), colors, labels > 0, tint)
    return overlay(picture, colors, outlines(labels, _stroke(image.shape, size)), 1.0)


def _instance_colors(instances: np.ndarray) -> np.ndarray:
    """Returns a color per pixel of a label image, uint8 [height, width, 3]."""
    palette = _palette(len(COLORS))[1:]  # without blue, which has little contrast on dark images
    numbers, order = np.unique(instances, return_inverse=True)
    order = order.reshape(instances.shape)
    sides = [(order[1:], order[:-1]), (order[:, 1:], order[:, :-1])]
    pairs = np.concatenate([np.stack([first.ravel(), second.ravel()], axis=1) for first, second in sides])
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    indices = np.zeros(len(numbers), int)
    for index in range(len(numbers)):
        taken = indices[pairs[pairs[:, 1] == index, 0]]  # by neighbors with lower numbers
        free = [color for color in np.roll(range(len(palette)), -index) if color not in taken]
        indices[index] = free[0] if free else index % len(palette)
    return palette[indices][order]


def _count(instances: np.ndarray) -> str:
    count = len(np.unique(instances[instances > 0]))
    return f"{count} instance{'' if count == 1 else 's'}"


def _tile(shape: Sequence[int]) -> int:
    """Returns the longer side of a grid's tiles for images [height, width]; larger for narrow images."""
    return min(4 * _TILE, max(_TILE, round(_NARROW * max(shape) / min(shape))))


def _factor(shape: Sequence[int], size: int) -> int:
    """Returns the integer factor that enlarges an image to at most `size` pixels, at least 1."""
    return max(1, size // max(shape[:2]))


def _stroke(shape: Sequence[int], size: int) -> int:
    """Returns the width of outlines in pixels of the image enlarged by `_factor`.

    Thinner than a pixel of a small image, which stays visible, and wide enough to survive the downscaling of a large
    image to `size`.
    """
    factor = _factor(shape, size)
    return min(factor // 2, 4) if factor > 1 else math.ceil(1.5 * max(shape[:2]) / size)


def _sheet(
    rows: Sequence[Sequence[Tile]], headings: Sequence[str], legend: Sequence[tuple[str, np.ndarray]], size: int
) -> Picture:
    """Draws rows of tiles, two per line, with headings above and a legend below: uint8 [height, width, 3]."""
    if not rows:
        raise ValueError("segmentation: no images to draw")
    shape = rows[0][0].picture.shape
    shape = tuple(side * _factor(shape, size) for side in shape[:2])
    shrink = min(1.0, size / max(shape))
    height, width = (max(1, round(side * shrink)) for side in shape)
    beside = min(_BESIDE, len(rows))
    down = height + (_LINE if any(tile.caption for row in rows for tile in row) else 0) + _GAP
    across = len(rows[0]) * (width + _GAP) + _GAP
    top = _LINE if headings else _GAP
    total = max(beside * across, 240)
    lines = _legend_lines(legend, total - 2 * _GAP)
    grid = top + math.ceil(len(rows) / beside) * down
    axes = pixel_axes(total, grid + len(lines) * _LINE + (_GAP if lines else 0))
    for number, row in enumerate(rows):
        y = top + number // beside * down
        for column, tile in enumerate(row):
            x = number % beside * across + _GAP + column * (width + _GAP)
            show_image(axes, enlarge(tile.picture, _factor(tile.picture.shape, size)), x, y, width, height)
            _write(axes, tile.caption, x + width / 2, y + height + _LINE / 2, FAINT)
            if number < beside and headings:
                _write(axes, headings[column], x + width / 2, _LINE / 2, INK)
    for line, entries in enumerate(lines):
        _draw_legend(axes, entries, grid + line * _LINE)
    return render(axes)


def _write(axes: "Axes", text: str, x: float, y: float, color: str, align: str = "center") -> None:
    write(axes, text, x, y, 10, color, align, "center_baseline")


def _legend_lines(legend: Sequence[tuple[str, np.ndarray]], width: int) -> list[list[tuple[int, str, np.ndarray]]]:
    """Returns the entries (left, name, color) of each line of a legend as wide as the picture."""
    entries = [(shorten(name, 26), color) for name, color in legend[:_NAMED]]
    if len(legend) > _NAMED:
        entries.append((f"and {len(legend) - _NAMED} more", np.array([255, 255, 255], np.uint8)))
    lines: list[list[tuple[int, str, np.ndarray]]] = []
    left = width
    for name, color in entries:
        wide = 26 + _LETTER * len(name) + 10
        if not lines or left + wide > width:
            lines.append([])
            left = 0
        lines[-1].append((_GAP + left, name, color))
        left += wide
    return lines


def _draw_legend(axes: "Axes", entries: Sequence[tuple[int, str, np.ndarray]], top: float) -> None:
    from matplotlib.patches import Rectangle

    for left, name, color in entries:
        face = tuple(color / 255.0)
        axes.add_patch(Rectangle((left, top + 4), 14, 14, facecolor=face, edgecolor=FRAME, linewidth=0.8))
        _write(axes, name, left + 20, top + _LINE / 2, INK, "left")


@dataclass(frozen=True)
class SemanticSegmentationPresentation(Presentation):
    """Presentation of semantic segmentation.

    Attributes:
      num_classes: Number of classes.
    """

    num_classes: int
    framing = "pad"

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `predictions`, up to 8 images with true and predicted masks, and the `confusion` matrix."""
        mask_names = class_names(names.get("mask", ()), self.num_classes)
        rows = valid_rows(batch, _SHOWN)
        examples, predicted = take(batch, rows), take(outputs, rows)
        grid = mask_grid(examples["image"], examples.get("mask"), predicted["mask"], mask_names)
        return {"predictions": grid, **confusion_pictures(metrics, mask_names)}

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the image under the predicted mask, with a legend."""
        mask_names = class_names(names.get("mask", ()), self.num_classes)
        return mask_overlay(np.asarray(example["image"]), np.asarray(outputs["mask"]), mask_names)


class InstanceSegmentationPresentation(Presentation):
    """Presentation of instance segmentation."""

    framing = "keep"

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `predictions`, up to 8 images with the outlines of true and predicted instances."""
        rows = valid_rows(batch, _SHOWN)
        examples, predicted = take(batch, rows), take(outputs, rows)
        return {"predictions": instance_grid(examples["image"], examples.get("instances"), predicted["instances"])}

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the image with the predicted instances tinted and outlined, and their number."""
        return instance_overlay(np.asarray(example["image"]), np.asarray(outputs["instances"]))
