"""Crops, padding and resizing of images of any size, with antialiasing.

Images of different sizes cannot form a batch, so the pipeline passes them one at a time. Batches of one size are
processed image by image. Boxes, masks and instances follow (see `jaxdl.data.image.geometry`).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxdl.data.image import geometry
from jaxdl.data.image.files import pictures
from jaxdl.data.random import Draws, check_interval
from jaxdl.data.source import Batch
from jaxdl.errors import UserError

_ATTEMPTS = 10


@dataclass(frozen=True)
class RandomResizedCrop:
    """Random resized crop (Szegedy et al., "Going Deeper with Convolutions", 2015).

    Attributes:
      size: Height and width of the result in pixels.
      scale: (minimum, maximum) fraction of the image area.
      ratio: (minimum, maximum) aspect, width / height. If ten draws do not fit, the largest centered crop within these
        bounds is used.
    """

    takes_pictures: ClassVar[bool] = True

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self):
        check_interval("RandomResizedCrop.scale", self.scale)
        check_interval("RandomResizedCrop.ratio", self.ratio)

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        _, height, width, _ = batch["image"].shape
        uniform = draws.uniform(4 * _ATTEMPTS).reshape(-1, _ATTEMPTS, 4)
        boxes = [self._box(height, width, row) for row in uniform]
        return batch | _cropped(batch, boxes, self.size)

    def _box(self, height: int, width: int, uniform: np.ndarray) -> tuple[float, float, float, float]:
        area = height * width * (self.scale[0] + uniform[:, 0] * (self.scale[1] - self.scale[0]))
        low, high = np.log(self.ratio[0]), np.log(self.ratio[1])
        ratio = np.exp(low + uniform[:, 1] * (high - low))
        wide, tall = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = np.flatnonzero((wide >= 1) & (tall >= 1) & (wide <= width) & (tall <= height))
        if len(fits) == 0:
            whole = width / height
            wide, tall = min(width, height * self.ratio[1]), min(height, width / self.ratio[0])
            wide, tall = (wide, height) if whole > self.ratio[1] else (width, tall)
            return (width - wide) / 2, (height - tall) / 2, (width + wide) / 2, (height + tall) / 2
        first = fits[0]
        left = np.floor(uniform[first, 2] * (width - wide[first] + 1))
        top = np.floor(uniform[first, 3] * (height - tall[first] + 1))
        return left, top, left + wide[first], top + tall[first]


@dataclass(frozen=True)
class ResizeCrop:
    """Resize of the shorter side and center crop, for evaluation.

    Attributes:
      resize: Shorter side after resizing, in pixels.
      size: Height and width of the crop in pixels, at most `resize`.
    """

    takes_pictures: ClassVar[bool] = True

    resize: int
    size: int

    def __post_init__(self):
        if not 1 <= self.size <= self.resize:
            raise UserError(
                f"ResizeCrop(resize={self.resize}, size={self.size}) must have 1 <= size <= resize, the shorter side "
                "that the crop is taken from"
            )

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        _, height, width, _ = batch["image"].shape
        side = self.size * min(height, width) / self.resize
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return batch | _cropped(batch, [box] * len(batch["image"]), self.size)


@dataclass(frozen=True)
class RandomWindow:
    """Random crop of each image without resizing.

    With a source of one large image, every position of the run has its own window. A source that is not `in_memory` is
    read row by row, so that no batch of whole images is built.

    Attributes:
      height, width: Size of the window in pixels, at most that of the image.
    """

    height: int
    width: int

    def __post_init__(self):
        _check_size("RandomWindow", self.height, self.width)

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        _, height, width, _ = batch["image"].shape
        if height < self.height or width < self.width:
            raise UserError(
                f"RandomWindow({self.height}, {self.width}) exceeds the image of {height} x {width}; use a smaller "
                "window, or resize first with RandomScale or ResizePad"
            )
        top = draws.integers(0, height - self.height + 1)
        left = draws.integers(0, width - self.width + 1)
        crops = zip(batch["image"], top, left)
        image = np.stack([array[y : y + self.height, x : x + self.width] for array, y, x in crops])
        windows = np.stack([top, left, top + self.height, left + self.width], axis=1)
        return batch | {"image": image} | geometry.cut(batch, windows, self.height, self.width)


@dataclass(frozen=True)
class ResizePad:
    """Resize to the largest size that fits at the original aspect, centered on 0 ("letterbox").

    Attributes:
      height, width: Size of the result in pixels.
    """

    takes_pictures: ClassVar[bool] = True

    height: int
    width: int

    def __post_init__(self):
        _check_size("ResizePad", self.height, self.width)

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        ones = np.ones(len(batch["image"]))
        return batch | _placed(batch, self.height, self.width, ones, ones / 2, ones / 2)


@dataclass(frozen=True)
class RandomScale:
    """`ResizePad` with a random scale and position: padding, or a crop if enlarged.

    Large-scale jittering (Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
    Segmentation", 2021, arXiv:2012.07177).

    Attributes:
      height, width: Size of the result in pixels.
      scale: (minimum, maximum) size relative to `ResizePad`.
    """

    takes_pictures: ClassVar[bool] = True

    height: int
    width: int
    scale: tuple[float, float] = (0.8, 1.25)

    def __post_init__(self):
        _check_size("RandomScale", self.height, self.width)
        check_interval("RandomScale.scale", self.scale)

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        scale = np.exp(draws.between(np.log(self.scale[0]), np.log(self.scale[1])))
        return batch | _placed(batch, self.height, self.width, scale, draws.uniform(), draws.uniform())


def _check_size(name: str, height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise UserError(f"{name} needs height and width of at least 1; got {height} x {width}")


def _placed(batch: Batch, height: int, width: int, scale: np.ndarray, down: np.ndarray, across: np.ndarray) -> Batch:
    """Resizes images by `scale` relative to the largest fit, on a ground of 0.

    Returns image, boxes and masks.

    Args:
      batch: Batch to resize.
      height, width: Size of the result in pixels.
      scale: Relative sizes, [batch].
      down, across: Relative positions in the free space, or of the crop, from 0 to 1, [batch].
    """
    from PIL import Image

    count, image_height, image_width, channels = batch["image"].shape
    factor = min(height / image_height, width / image_width) * scale
    tall, wide = (np.maximum(np.rint(size * factor), 1).astype(np.int64) for size in (image_height, image_width))
    top = np.floor(down * (height - tall)).astype(np.int64)
    left = np.floor(across * (width - wide)).astype(np.int64)
    step_y, step_x = image_height / tall, image_width / wide  # pixels of the image per pixel of the result
    placed = np.zeros((count, height, width, channels), np.uint8)
    for number, whole in enumerate(pictures(batch["image"])):
        y0, y1 = max(top[number], 0), min(top[number] + tall[number], height)
        x0, x1 = max(left[number], 0), min(left[number] + wide[number], width)
        rows = np.clip((np.array([y0, y1]) - top[number]) * step_y[number], 0, image_height)
        columns = np.clip((np.array([x0, x1]) - left[number]) * step_x[number], 0, image_width)
        box = (columns[0], rows[0], columns[1], rows[1])
        part = whole.resize((int(x1 - x0), int(y1 - y0)), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
        placed[number, y0:y1, x0:x1] = np.asarray(part).reshape(y1 - y0, x1 - x0, channels)
    windows = np.stack([-top * step_y, -left * step_x, (height - top) * step_y, (width - left) * step_x], axis=1)
    return {"image": placed} | geometry.cut(batch, windows, height, width)


def _cropped(batch: Batch, boxes: list[tuple[float, float, float, float]], size: int) -> Batch:
    """Crops `boxes` (left, top, right, bottom) in pixels from images, boxes and masks, and resizes them to squares."""
    from PIL import Image

    image = np.empty((len(boxes), size, size, batch["image"].shape[3]), np.uint8)
    for crop, whole, box in zip(image, pictures(batch["image"]), boxes):
        # The reducing gap first downsizes by integer factors: several times faster at almost equal quality.
        part = whole.resize((size, size), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
        crop[:] = np.asarray(part).reshape(crop.shape)
    return {"image": image} | geometry.cut(batch, np.array(boxes)[:, [1, 0, 3, 2]], size, size)
