"""Likelihoods p(image | output) of a decoder's outputs, in nats per image.

A likelihood has `outputs(channels)`, the number of outputs per pixel; `observe(image, keys)`, the observed pixels;
`log_likelihood(output, observed)`; and `mean(output)`, the expected pixels.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import float_outputs
from jaxdl.tasks.parts.arguments import check_choices, check_ranges
from jaxdl.tasks.parts.draws import fold_keys
from jaxdl.training.task import Array, Batch

Binarization = Literal["dynamic", "threshold"]
_OBSERVE = 0  # number of the key that `observe` uses


@dataclass(frozen=True)
class Bernoulli:
    """Bernoulli likelihood of binarized pixels; the outputs are logits.

    Attributes:
      binarization: "dynamic": a pixel is 1 with probability gray value / 255, drawn at each step (arXiv:1509.00519) and
        once per example in evaluation. "threshold": a pixel is 1 if its gray value is at least 128.
    """

    binarization: Binarization = "dynamic"

    def __post_init__(self):
        check_choices(self, binarization=get_args(Binarization))

    def outputs(self, channels: int) -> int:
        """Returns the number of outputs per pixel, one per channel."""
        return channels

    def observe(self, image: Array, keys: Array) -> Array:
        """Binarizes images [batch, h, w, c] in [0, 255] with keys [batch]; float32, 0 or 1."""
        if self.binarization == "threshold":
            return (image >= 128).astype(jnp.float32)
        uniform = jax.vmap(lambda key: jax.random.uniform(key, image.shape[1:]))(keys)
        return (uniform < image.astype(jnp.float32) / 255.0).astype(jnp.float32)

    def log_likelihood(self, output: Array, observed: Array) -> Array:
        """Returns log probabilities [batch] from logits and pixels [batch, h, w, c]."""
        return jnp.sum(observed * output - jax.nn.softplus(output), axis=(1, 2, 3))

    def mean(self, output: Array) -> Array:
        """Returns probabilities [batch, h, w, c], the expected gray values under dynamic binarization."""
        return jax.nn.sigmoid(output)


@dataclass(frozen=True)
class Gaussian:
    """Gaussian likelihood of gray values in [0, 1] with the output as mean; log-likelihoods are log densities.

    Attributes:
      std: Standard deviation of every pixel. None: learned per pixel, from a second output per channel.
      min_std: Lower limit of a learned std; without it, constant pixels drive the std to 0.
    """

    std: float | None = 0.1
    min_std: float = 0.02

    def __post_init__(self):
        check_ranges(self, std="(0, inf)", min_std="(0, inf)")

    def outputs(self, channels: int) -> int:
        """Returns the number of outputs per pixel, one per channel, or two with a learned std."""
        return channels if self.std is not None else 2 * channels

    def observe(self, image: Array, keys: Array) -> Array:
        """Scales images [batch, h, w, c] in [0, 255] to float32 in [0, 1]; draws nothing."""
        return image.astype(jnp.float32) / 255.0

    def log_likelihood(self, output: Array, observed: Array) -> Array:
        """Returns log densities [batch] from output [batch, h, w, c or 2 * c] and observed [batch, h, w, c]."""
        channels = observed.shape[-1]
        if self.std is not None:
            std = jnp.full((), self.std)
        else:
            std = self.min_std + jax.nn.softplus(output[..., channels:])
        z = (observed - output[..., :channels]) / std
        density = -0.5 * jnp.square(z) - jnp.log(std) - 0.5 * math.log(2.0 * math.pi)
        return jnp.sum(density, axis=(1, 2, 3))

    def mean(self, output: Array) -> Array:
        """Returns the means [batch, h, w, c], clipped to [0, 1]."""
        channels = output.shape[-1] if self.std is not None else output.shape[-1] // 2
        return jnp.clip(output[..., :channels], 0.0, 1.0)


Likelihood = Bernoulli | Gaussian


def observe(likelihood: Likelihood, batch: Batch, keys: Array) -> Array:
    """Returns the pixels [batch, h, w, c] that the likelihood observes, with keys [batch] of `example_keys`.

    Raises:
      UserError: Another number of axes.
    """
    image = batch["image"]
    if image.ndim != 4:
        raise UserError(f"image has shape {image.shape}; the task needs [batch, height, width, channels]")
    return likelihood.observe(image, fold_keys(keys, _OBSERVE))


def check_outputs(likelihood: Likelihood, output: Array, observed: Array) -> None:
    """Checks that a decoder's output has the shape that the likelihood needs.

    Raises:
      UserError: Another shape.
    """
    float_outputs(output, *observed.shape[:3], likelihood.outputs(observed.shape[-1]))
