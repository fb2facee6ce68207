"""Crops, windows and paddings that bring images of any size to one size, with antialiasing.

Images of different sizes cannot be a batch, so the pipeline transforms them one at a time; the transforms here also
take batches of one size, and work through them image by image. Boxes, masks and instances move along (see
`jaxdl.data.image.geometry`).
"""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.image import geometry
from jaxdl.data.random import Draws
from jaxdl.data.source import Batch
from jaxdl.errors import UserError

_ATTEMPTS = 10


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of each image, resized to a square (Szegedy et al., "Going Deeper with Convolutions", 2015).

    Attributes:
      size: height and width of the result in pixels.
      scale: (smallest, largest) share of the image's area.
      ratio: (smallest, largest) width divided by height. If none of ten parts drawn fits, the largest centred part
        whose ratio is within these bounds is taken.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

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
    """Resizes each image's shorter side and cuts a square from its centre: what evaluation uses.

    Attributes:
      resize: length of the shorter side after resizing, in pixels.
      size: height and width of the square, at most `resize`.
    """

    resize: int
    size: int

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        _, height, width, _ = batch["image"].shape
        side = self.size * min(height, width) / self.resize
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return batch | _cropped(batch, [box] * len(batch["image"]), self.size)


@dataclass(frozen=True)
class RandomWindow:
    """A random part of each image, at the size it has.

    From one large image, a source of one example, every position of the run cuts another window; a source that is not
    `in_memory` is then read a row at a time, so that no batch of whole images is made.

    Attributes:
      height, width: of the window in pixels; the image must be as large at least.
    """

    height: int
    width: int

    def __post_init__(self):
        _check_size("RandomWindow", self.height, self.width)

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        _, height, width, _ = batch["image"].shape
        if height < self.height or width < self.width:
            raise UserError(
                f"RandomWindow({self.height}, {self.width}) does not fit into an image of {height} x {width}; choose a "
                "smaller window, or bring images to one size before, with RandomScale or ResizePad"
            )
        top = draws.integers(0, height - self.height + 1)
        left = draws.integers(0, width - self.width + 1)
        parts = zip(batch["image"], top, left)
        image = np.stack([each[y : y + self.height, x : x + self.width] for each, y, x in parts])
        windows = np.stack([top, left, top + self.height, left + self.width], axis=1)
        return batch | {"image": image} | geometry.cut(batch, windows, self.height, self.width)


@dataclass(frozen=True)
class ResizePad:
    """Resizes each image to the largest size of its own aspect that fits, centred, with 0 around it ("letterbox").

    Attributes:
      height, width: of the result in pixels.
    """

    height: int
    width: int

    def __post_init__(self):
        _check_size("ResizePad", self.height, self.width)

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        ones = np.ones(len(batch["image"]))
        return batch | _placed(batch, self.height, self.width, ones, ones / 2, ones / 2)


@dataclass(frozen=True)
class RandomScale:
    """`ResizePad` at a random scale and place: small on 0, or a part of the enlarged image.

    Large scale jittering (Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
    Segmentation", 2021, arXiv:2012.07177).

    Attributes:
      height, width: of the result in pixels.
      scale: (smallest, largest) size compared to the one that just fits.
    """

    height: int
    width: int
    scale: tuple[float, float] = (0.8, 1.25)

    def __post_init__(self):
        _check_size("RandomScale", self.height, self.width)
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"RandomScale.scale must be (smallest, largest), both more than 0, not {self.scale}")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        scale = np.exp(draws.between(np.log(self.scale[0]), np.log(self.scale[1])))
        return batch | _placed(batch, self.height, self.width, scale, draws.uniform(), draws.uniform())


def _check_size(name: str, height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise UserError(f"{name} needs a height and a width of 1 or more, not {height} x {width}")


def _placed(batch: Batch, height: int, width: int, scale: np.ndarray, down: np.ndarray, across: np.ndarray) -> Batch:
    """Images resized by `scale` times what just fits, on a ground of 0; the image and what moves along.

    Args:
      scale: [batch].
      down, across: [batch], from 0 to 1: where the image lies in the room that is left, or which part of it is seen.
    """
    from PIL import Image

    count, high, broad, channels = batch["image"].shape
    factor = min(height / high, width / broad) * scale
    tall, wide = (np.maximum(np.rint(size * factor), 1).astype(np.int64) for size in (high, broad))
    top = np.floor(down * (height - tall)).astype(np.int64)
    left = np.floor(across * (width - wide)).astype(np.int64)
    step_y, step_x = high / tall, broad / wide  # pixels of the image in one of the result
    placed = np.zeros((count, height, width, channels), np.uint8)
    for number, each in enumerate(batch["image"]):
        y0, y1 = max(top[number], 0), min(top[number] + tall[number], height)
        x0, x1 = max(left[number], 0), min(left[number] + wide[number], width)
        rows = np.clip((np.array([y0, y1]) - top[number]) * step_y[number], 0, high)
        columns = np.clip((np.array([x0, x1]) - left[number]) * step_x[number], 0, broad)
        box = (columns[0], rows[0], columns[1], rows[1])
        whole = Image.fromarray(each[..., 0] if channels == 1 else each)
        part = whole.resize((int(x1 - x0), int(y1 - y0)), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
        placed[number, y0:y1, x0:x1] = np.asarray(part).reshape(y1 - y0, x1 - x0, channels)
    windows = np.stack([-top * step_y, -left * step_x, (height - top) * step_y, (width - left) * step_x], axis=1)
    return {"image": placed} | geometry.cut(batch, windows, height, width)


def _cropped(batch: Batch, boxes: list[tuple[float, float, float, float]], size: int) -> Batch:
    """The parts `boxes`, (left, top, right, bottom), of the images and of what moves along, resized to squares."""
    windows = np.array(boxes)[:, [1, 0, 3, 2]]
    return {"image": _resized(batch["image"], boxes, size)} | geometry.cut(batch, windows, size, size)


def _resized(image: np.ndarray, boxes: list[tuple[float, float, float, float]], size: int) -> np.ndarray:
    """The parts `boxes`, (left, top, right, bottom), of the images, bilinear, uint8 [batch, size, size, channels]."""
    from PIL import Image

    grey = image.shape[3] == 1
    parts = []
    for each, box in zip(image, boxes):
        whole = Image.fromarray(each[..., 0] if grey else each)
        # A reducing gap lets PIL first shrink a large image by whole factors: several times faster, hardly different.
        parts.append(np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR, box, reducing_gap=2.0)))
    return np.stack(parts)[..., None] if grey else np.stack(parts)
