"""MockImages: a made-up set of images that can be learnt, for tests and tiny runs."""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.random import Draws
from jaxdl.data.source import ColumnSource
from jaxdl.data.store.prepared import digest_of

WAVES = 4


@dataclass(frozen=True)
class MockImages:
    """Images of a smooth pattern, one a class, under noise; no download.

    Loads as `image`, uint8 [examples, height, width, channels], and `label`, int32 [examples], each class as often as
    the others to within one.

    Attributes:
      shape: (height, width, channels).
      classes: how many; patterns depend on `seed` and class alone.
      examples: how many.
      seed: of the patterns and the noise.
      split: other splits have other noise on the same patterns.
      noise: standard deviation of the noise, in the patterns' own.
    """

    shape: tuple[int, int, int] = (28, 28, 1)
    classes: int = 10
    examples: int = 64
    seed: int = 0
    split: str = "train"
    noise: float = 0.5

    def load(self) -> ColumnSource:
        split = int.from_bytes(self.split.encode()[:6].ljust(6, b"\0"), "little")
        label = np.arange(self.examples, dtype=np.int32) % self.classes
        draws = Draws(self.seed, np.arange(self.examples)).fold(split)
        uniform = draws.uniform(int(np.prod(self.shape)) * 2).reshape(self.examples, 2, *self.shape)
        # The sum of two uniform numbers: bell-shaped enough, and no logarithm.
        noise = (uniform[:, 0] + uniform[:, 1] - 1.0) * np.sqrt(6.0)
        image = np.clip(128 + 48 * (self._patterns()[label] + self.noise * noise), 0, 255).astype(np.uint8)
        names = {"label": tuple(f"class {number}" for number in range(self.classes))}
        return ColumnSource({"image": image, "label": label}, digest_of(repr(self)), names)

    def _patterns(self) -> np.ndarray:
        """[classes, height, width, channels], mean 0 and variance 1: a few waves of random direction and phase."""
        height, width, channels = self.shape
        uniform = Draws(self.seed, np.arange(self.classes * channels)).fold(0).uniform(3 * WAVES)
        across, down, phase = uniform.reshape(self.classes, 1, 1, channels, 3, WAVES).transpose(4, 0, 1, 2, 3, 5)
        y = np.arange(height).reshape(1, -1, 1, 1, 1) / height
        x = np.arange(width).reshape(1, 1, -1, 1, 1) / width
        waves = np.sin(2 * np.pi * ((2 * down - 1) * 2 * y + (2 * across - 1) * 2 * x + phase)).sum(-1)
        waves -= waves.mean((1, 2), keepdims=True)
        return waves / (waves.std((1, 2), keepdims=True) + 1e-6)
