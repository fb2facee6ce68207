"""Generated images of coloured shapes with boxes and masks for tests."""

import colorsys
from dataclasses import dataclass

import numpy as np

from jaxdl.data.random import split_draws
from jaxdl.data.source import Batch, ColumnSource, stack
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError

_SHAPES = ("square", "disc", "diamond")
_SMALLEST = 4  # pixels of a grid cell, for distinguishable shapes


@dataclass(frozen=True)
class MockScenes:
    """Coloured shapes on noisy grey without overlap, at most one per grid cell.

    The class determines colour and shape: hues are evenly spaced, and shapes cycle through square, disc and diamond.

    Features:
      image: uint8 [examples, height, width, channels].
      boxes: float32 [examples, objects, 4], (top, left, bottom, right) in pixels, tight around each shape.
      box_label: int32 [examples, objects].
      box_weight: float32 [examples, objects], 1 for boxes, 0 for padding, which comes last.
      mask: uint8 [examples, height, width], 0 background, 1 + class.
      instances: int32 [examples, height, width], 0 background, 1 + row in `boxes`.

    Attributes:
      shape: (height, width, channels) with 1 or 3 channels.
      classes: Number of classes, at most 254.
      objects: Largest number of objects per image; the smallest is 1.
      examples: Number of examples.
      seed: Random seed.
      split: Name of the split; each has other scenes.
      noise: Std of the noise as a fraction of 255.
    """

    shape: tuple[int, int, int] = (48, 48, 3)
    classes: int = 3
    objects: int = 3
    examples: int = 48
    seed: int = 0
    split: str = "train"
    noise: float = 0.05

    def __post_init__(self):
        if self.shape[2] not in (1, 3) or not 1 <= self.classes <= 254 or self.objects < 1 or self.examples < 1:
            raise UserError(
                f"MockScenes(shape={self.shape}, classes={self.classes}, objects={self.objects}, examples="
                f"{self.examples}) is out of range; use 1 or 3 channels, 1 to 254 classes, objects and examples >= 1"
            )
        if min(self.shape[:2]) // self._cells() < _SMALLEST:
            raise UserError(
                f"{self.objects} objects do not fit into {self.shape[0]} x {self.shape[1]} pixels; enlarge shape"
            )

    def load(self) -> ColumnSource:
        draws = split_draws(self.seed, self.split, self.examples)
        uniform = draws.uniform(1 + 4 * self.objects + self._cells() ** 2)
        columns = stack([self._scene(row) for row in uniform])
        # The sum of two uniform numbers approximates a Gaussian without a logarithm.
        noise = draws.uniform(2 * int(np.prod(self.shape))).reshape(self.examples, 2, *self.shape).sum(1) - 1.0
        image = columns["image"] + 255 * self.noise * np.sqrt(6.0) * noise
        columns["image"] = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        classes = tuple(f"{_SHAPES[number % 3]} {number}" for number in range(self.classes))
        return ColumnSource(columns, digest_of(repr(self)), {"box_label": classes, "mask": ("background", *classes)})

    def _cells(self) -> int:
        return int(np.ceil(np.sqrt(self.objects)))

    def _scene(self, uniform: np.ndarray) -> Batch:
        """Draws one example without noise from uniform numbers in [0, 1)."""
        height, width = self.shape[:2]
        image = np.full(self.shape, 128.0)
        mask, instances = np.zeros((height, width), np.uint8), np.zeros((height, width), np.int32)
        boxes, label = np.zeros((self.objects, 4), np.float32), np.zeros(self.objects, np.int32)
        count = 1 + int(uniform[0] * self.objects)
        four = uniform[1 : 1 + 4 * self.objects].reshape(self.objects, 4)
        cells = np.argsort(uniform[1 + 4 * self.objects :])
        tall, wide = height // self._cells(), width // self._cells()
        for number, (cell, (kind, size, down, across)) in enumerate(zip(cells[:count], four)):
            label[number] = int(kind * self.classes)
            side = round(min(tall, wide) * (0.5 + 0.5 * size))
            top = cell // self._cells() * tall + int(down * (tall - side + 1))
            left = cell % self._cells() * wide + int(across * (wide - side + 1))
            inside = np.zeros((height, width), bool)
            inside[top : top + side, left : left + side] = _shape(_SHAPES[label[number] % 3], side)
            image[inside] = self._colour(label[number])
            mask[inside] = 1 + label[number]
            instances[inside] = 1 + number
            boxes[number] = (top, left, top + side, left + side)
        weight = (np.arange(self.objects) < count).astype(np.float32)
        example = {"image": image, "boxes": boxes, "box_label": label, "box_weight": weight}
        return example | {"mask": mask, "instances": instances}

    def _colour(self, label: int) -> np.ndarray:
        """Returns the colour of a class, 0 to 255, [channels]."""
        share = label / self.classes
        if self.shape[2] == 1:  # grey levels around that of the background
            return np.array([255 * (share + 0.5 / self.classes) if self.classes > 1 else 255])
        return 255 * np.array(colorsys.hsv_to_rgb(share, 0.9, 0.9))


def _shape(name: str, side: int) -> np.ndarray:
    """Returns the mask of a shape that touches all four sides, bool [side, side]."""
    across = np.abs(np.arange(side) - (side - 1) / 2)
    y, x = across[:, None], across
    if name == "square":
        return np.ones((side, side), bool)
    if name == "disc":
        return y**2 + x**2 <= (side / 2) ** 2
    return y + x <= side / 2
