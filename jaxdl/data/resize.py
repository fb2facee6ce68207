"""Random and fixed crops that bring images of any size to one size, with antialiasing.

Images of different sizes cannot be a batch, so the pipeline transforms them one at a time; the transforms here also
take batches of one size, and work through them image by image.
"""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.draws import Draws
from jaxdl.data.source import Batch

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
        return batch | {"image": _resized(batch["image"], boxes, self.size)}

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
        return batch | {"image": _resized(batch["image"], [box] * len(batch["image"]), self.size)}


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
