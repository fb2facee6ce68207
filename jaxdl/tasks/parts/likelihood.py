"""Likelihoods of images: what a model's outputs say of the pixels, in nats an image.

A likelihood has `outputs(channels)`, how many outputs a pixel it wants; `observe(image, keys)`, the pixels that it is
about; `log_likelihood(output, observed)`; and `mean(output)`, the expected pixels.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.training.task import Array

Binarization = Literal["dynamic", "threshold"]


@dataclass(frozen=True)
class Bernoulli:
    """Pixels are 0 or 1, and the output is a logit for each; log-likelihoods are log probabilities.

    Attributes:
      binarization: "dynamic": a pixel is 1 with probability grey value / 255, drawn anew at each step, and in
        evaluation from the evaluation's key, so once and for all for each example (as Burda et al. 2015,
        arXiv:1509.00519, train); "threshold": a pixel is 1 from 128 on.
    """

    binarization: Binarization = "dynamic"

    def __post_init__(self):
        if self.binarization not in get_args(Binarization):
            raise UserError(f"binarization='{self.binarization}': use 'dynamic' or 'threshold'")

    def outputs(self, channels: int) -> int:
        """Outputs a pixel: one a channel."""
        return channels

    def observe(self, image: Array, keys: Array) -> Array:
        """image [batch, h, w, c] in 0..255, keys [batch] -> float32 [batch, h, w, c], 0 or 1."""
        if self.binarization == "threshold":
            return (image >= 128).astype(jnp.float32)
        uniform = jax.vmap(lambda key: jax.random.uniform(key, image.shape[1:]))(keys)
        return (uniform < image.astype(jnp.float32) / 255.0).astype(jnp.float32)

    def log_likelihood(self, output: Array, observed: Array) -> Array:
        """Logits and pixels [batch, h, w, c] -> [batch]."""
        return jnp.sum(observed * output - jax.nn.softplus(output), axis=(1, 2, 3))

    def mean(self, output: Array) -> Array:
        """[batch, h, w, c] -> probabilities of the same shape; under dynamic binarization the expected grey values."""
        return jax.nn.sigmoid(output)


@dataclass(frozen=True)
class Gaussian:
    """Grey values in [0, 1] are normally distributed around the output; log-likelihoods are log densities of them.

    Attributes:
      deviation: the standard deviation of every pixel; None: learnt, each pixel of each image has its own, from a
        second output a channel.
      least: of a learnt deviation, which the density of pixels that never change would drive to 0.
    """

    deviation: float | None = 0.1
    least: float = 0.02

    def __post_init__(self):
        if self.least <= 0 or (self.deviation is not None and self.deviation <= 0):
            raise UserError(f"Gaussian(deviation={self.deviation}, least={self.least}): deviations must be positive")

    def outputs(self, channels: int) -> int:
        """Outputs a pixel: one a channel, two where the deviation is learnt."""
        return channels if self.deviation is not None else 2 * channels

    def observe(self, image: Array, keys: Array) -> Array:
        """image [batch, h, w, c] in 0..255 -> float32 [batch, h, w, c] in [0, 1]; nothing is drawn."""
        del keys
        return image.astype(jnp.float32) / 255.0

    def log_likelihood(self, output: Array, observed: Array) -> Array:
        """output [batch, h, w, c or 2 * c], observed [batch, h, w, c] -> [batch]."""
        channels = observed.shape[-1]
        if self.deviation is not None:
            deviation = jnp.full((), self.deviation)
        else:
            deviation = self.least + jax.nn.softplus(output[..., channels:])
        scaled = (observed - output[..., :channels]) / deviation
        density = -0.5 * jnp.square(scaled) - jnp.log(deviation) - 0.5 * math.log(2.0 * math.pi)
        return jnp.sum(density, axis=(1, 2, 3))

    def mean(self, output: Array) -> Array:
        """output -> [batch, h, w, c], cut to [0, 1]."""
        channels = output.shape[-1] if self.deviation is not None else output.shape[-1] // 2
        return jnp.clip(output[..., :channels], 0.0, 1.0)


Likelihood = Bernoulli | Gaussian
