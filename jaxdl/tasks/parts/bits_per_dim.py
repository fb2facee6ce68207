"""The variational bound of diffusion models in bits (Kingma et al. 2021, arXiv:2107.00630)."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.decoding.noise_schedules import Schedule
from jaxdl.training.task import Array

_NEAR = 16  # gray levels to either side of the true one that a pixel could have been, at least 6 sigma
MOST_LEAST = _NEAR / 127.5 / 6.0  # up to which sigma that holds


def bits_per_dim(
    denoise: Callable[[Array, Array], Array], schedule: Schedule, data: Array, noise: Array, quantile: Array
) -> Array:
    """The variational bound of each image, [batch], in bits per pixel and channel (arXiv:2107.00630, section 4).

    Its three parts: what the noisiest image still says of the data; the loss along the way, at one level of a uniform
    log sigma; and reading the 8-bit image off the least noisy one.

    Args:
      denoise: `(image, sigma [batch]) -> [batch, ...]`.
      data: [batch, ...] in [-1, 1], one of 256 values.
      noise: [2, batch, ...] standard normal.
      quantile: [batch] in [0, 1], says which level.
    """
    prior, least = prior_nats(data, schedule.most), schedule.least
    width = math.log(schedule.most / least)
    sigma = least * jnp.exp(width * quantile)
    error = jnp.square(data - denoise(data + wide(sigma, data) * noise[0], sigma))
    # d(1 / sigma^2) = 2 / sigma^2 d(ln sigma), and half of it counts.
    way = width * jnp.sum(error, axis=_rest(data)) / jnp.square(sigma)
    near = data + least * noise[1]
    steps = jnp.arange(-_NEAR, _NEAR + 1)
    level = jnp.round((data + 1.0) * 127.5)[..., None] + steps
    logits = -0.5 * jnp.square((near[..., None] - (level / 127.5 - 1.0)) / least)
    logits = jnp.where((level >= 0) & (level <= 255), logits, -jnp.inf)
    read = jax.nn.logsumexp(logits, axis=-1) - logits[..., _NEAR]
    nats = prior + way + jnp.sum(read, axis=_rest(data))
    return nats / (math.log(2.0) * math.prod(data.shape[1:]))


def prior_nats(data: Array, most: float) -> Array:
    """[batch] KL divergence in nats of data + most * noise from noise of its own variance 1 + most^2."""
    total = 1.0 + most**2
    return 0.5 * jnp.sum(most**2 / total + jnp.square(data) / total - 1.0 - math.log(most**2 / total), axis=_rest(data))


def wide(values: Array, like: Array) -> Array:
    """[batch] -> [batch, 1, ...], to go with `like`."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def _rest(x: Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim))
