"""Generated classification images for tests."""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.random import Draws, split_draws
from jaxdl.data.source import ColumnSource, Loadable
from jaxdl.data.store.prepared import digest_of

WAVES = 4


@dataclass(frozen=True)
class MockImages:
    """Noisy images with one smooth pattern per class.

    Features: `image` uint8 [examples, height, width, channels], `label` int32 [examples], balanced to within one.

    Attributes:
      shape: (height, width, channels).
      classes: Number of classes. Patterns depend on `seed` and class only.
      examples: Number of examples.
      seed: Seed of patterns and noise.
      split: Name of the split; each has other noise on the same patterns.
      noise: Std of the noise relative to the patterns.
    """

    shape: tuple[int, int, int] = (28, 28, 1)
    classes: int = 10
    examples: int = 64
    seed: int = 0
    split: str = "train"
    noise: float = 0.5

    def load(self) -> ColumnSource:
        label = np.arange(self.examples, dtype=np.int32) % self.classes
        draws = split_draws(self.seed, self.split, self.examples)
        uniform = draws.uniform(int(np.prod(self.shape)) * 2).reshape(self.examples, 2, *self.shape)
        # The sum of two uniform numbers approximates a Gaussian without a logarithm.
        noise = (uniform[:, 0] + uniform[:, 1] - 1.0) * np.sqrt(6.0)
        image = np.clip(128 + 48 * (self._patterns()[label] + self.noise * noise), 0, 255).astype(np.uint8)
        names = {"label": tuple(f"class {number}" for number in range(self.classes))}
        return ColumnSource({"image": image, "label": label}, digest_of(repr(self)), names)

    def _patterns(self) -> np.ndarray:
        """Returns standardized sums of random waves, [classes, height, width, channels]."""
        height, width, channels = self.shape
        uniform = Draws(self.seed, np.arange(self.classes * channels)).fold(0).uniform(3 * WAVES)
        across, down, phase = uniform.reshape(self.classes, 1, 1, channels, 3, WAVES).transpose(4, 0, 1, 2, 3, 5)
        y = np.arange(height).reshape(1, -1, 1, 1, 1) / height
        x = np.arange(width).reshape(1, 1, -1, 1, 1) / width
        waves = np.sin(2 * np.pi * ((2 * down - 1) * 2 * y + (2 * across - 1) * 2 * x + phase)).sum(-1)
        waves -= waves.mean((1, 2), keepdims=True)
        return waves / (waves.std((1, 2), keepdims=True) + 1e-6)


@dataclass(frozen=True)
class MockEmbeddings:
    """Generated images with `embedding` float32 [examples, classes], their one-hot labels.

    Attributes:
      corpus: Source of the images and labels, such as `MockImages`.
    """

    corpus: Loadable

    def load(self) -> ColumnSource:
        source = self.corpus.load()
        columns = source.read(np.arange(len(source)))
        embedding = np.eye(len(source.names["label"]), dtype=np.float32)[columns["label"]]
        fingerprint = digest_of([source.fingerprint, "embedding"])
        return ColumnSource({**columns, "embedding": embedding}, fingerprint, source.names)
