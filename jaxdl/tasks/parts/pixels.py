"""Pixel values: normalization, and conversion between their ranges."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.training.task import Array


@dataclass(frozen=True)
class Normalize:
    """Standardizes images: `(image / 255 - mean) / std`.

    A property of the data: a classifier and the FID network made from it use equal values.

    Attributes:
      mean: Mean of `image / 255`, one value or one per channel.
      std: Standard deviation of `image / 255`, one value or one per channel.

    Raises:
      UserError: A std that is not positive.
    """

    mean: float | Sequence[float] = 0.5
    std: float | Sequence[float] = 0.25

    def __post_init__(self):
        if np.any(np.asarray(self.std) <= 0.0):
            raise UserError(f"normalize.std={self.std} must be positive")

    def __call__(self, image: Array) -> Array:
        """Returns float32 [batch, height, width, channels] from images of that shape in [0, 255].

        Raises:
          UserError: Another number of axes, or another number of channels than values.
        """
        if image.ndim != 4:
            raise UserError(f"image has shape {image.shape}; the task needs [batch, height, width, channels]")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if np.ndim(values) and np.shape(values) != (image.shape[-1],):
                raise UserError(
                    f"normalize.{name} has {len(np.ravel(values))} values, but images have {image.shape[-1]} channels"
                )
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return (image.astype(jnp.float32) / 255.0 - mean) / std

    def inverse(self, image: Array) -> Array:
        """Returns `image * std + mean`: images in [0, 1] from standardized images."""
        return image * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32)


def to_symmetric(image: Array) -> Array:
    """Scales pixel values from [0, 255] to float32 in [-1, 1]."""
    return jnp.asarray(image, jnp.float32) / 127.5 - 1.0


def from_symmetric(image: Array) -> Array:
    """Scales pixel values from [-1, 1] to [0, 255], without rounding."""
    return (image + 1.0) * 127.5


def symmetric_to_uint8(image: Array) -> Array:
    """Rounds pixel values in [-1, 1] to uint8, clipped to [0, 255]."""
    return jnp.round(from_symmetric(image)).clip(0, 255).astype(jnp.uint8)


def unit_to_symmetric(image: Array) -> Array:
    """Scales pixel values from [0, 1] to [-1, 1]."""
    return 2.0 * image - 1.0


def unit_to_uint8(image: Array) -> Array:
    """Rounds pixel values in [0, 1] to uint8."""
    return jnp.round(255.0 * image).astype(jnp.uint8)
