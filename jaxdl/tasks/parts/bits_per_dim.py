"""Variational bound of diffusion models in bits per dimension (Kingma et al. 2021, arXiv:2107.00630)."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.decoding.noise_schedules import Schedule
from jaxdl.tasks.parts.pixels import from_symmetric, to_symmetric
from jaxdl.tasks.parts.preconditioning import expand_like
from jaxdl.training.task import Array

_NEIGHBORS = 16  # gray levels on either side of the true one in p(y | x_0), at least 6 sigma
MAX_SIGMA_MIN = _NEIGHBORS / 127.5 / 6.0  # largest sigma_min for which they are


def variational_bound(
    denoise: Callable[[Array, Array], Array], schedule: Schedule, data: Array, noise: Array, quantile: Array
) -> Array:
    """Returns the variational bound [batch] in bits per pixel and channel (arXiv:2107.00630, section 4).

    The sum of the prior loss, the diffusion loss in continuous time, estimated at one level with uniform ln(sigma), and
    the reconstruction loss of the 8-bit image at sigma_min.

    Args:
      denoise: Denoiser, `(image, sigma [batch]) -> [batch, ...]`.
      schedule: Noise schedule, of which only sigma_min and sigma_max matter.
      data: [batch, ...] in [-1, 1], one of 256 values.
      noise: [2, batch, ...], standard normal.
      quantile: [batch] in [0, 1], of the level in ln(sigma).
    """
    sigma_min = schedule.sigma_min
    width = math.log(schedule.sigma_max / sigma_min)
    sigma = sigma_min * jnp.exp(width * quantile)
    error = jnp.square(data - denoise(data + expand_like(sigma, data) * noise[0], sigma))
    # With SNR = 1 / sigma^2: -0.5 * dSNR = SNR * d(ln sigma).
    diffusion = width * jnp.sum(error, axis=_inner_axes(data)) / jnp.square(sigma)
    near = data + sigma_min * noise[1]
    level = jnp.round(from_symmetric(data))[..., None] + jnp.arange(-_NEIGHBORS, _NEIGHBORS + 1)
    logits = -0.5 * jnp.square((near[..., None] - to_symmetric(level)) / sigma_min)
    logits = jnp.where((level >= 0) & (level <= 255), logits, -jnp.inf)
    reconstruction = jax.nn.logsumexp(logits, axis=-1) - logits[..., _NEIGHBORS]
    nats = prior_kl(data, schedule.sigma_max) + diffusion + jnp.sum(reconstruction, axis=_inner_axes(data))
    return nats / (math.log(2.0) * math.prod(data.shape[1:]))


def prior_kl(data: Array, sigma_max: float) -> Array:
    """Returns KL(N(y, sigma_max^2) || N(0, 1 + sigma_max^2)) in nats, [batch]."""
    variance = 1.0 + sigma_max**2
    kl = sigma_max**2 / variance + jnp.square(data) / variance - 1.0 - math.log(sigma_max**2 / variance)
    return 0.5 * jnp.sum(kl, axis=_inner_axes(data))


def _inner_axes(x: Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim))
