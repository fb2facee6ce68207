"""Noise schedules of diffusion models, and distributions of noise levels in training.

All Gaussian diffusions are equivalent up to a rescaling (Kingma et al. 2021, arXiv:2107.00630; Karras et al. 2022,
arXiv:2206.00364). Here a noisy image is x = y + sigma * n with data y and n ~ N(0, I), and a schedule is sigma(t) for t
from 0 (data) to 1 (noise). The variance-preserving image of DDPM is x / sqrt(1 + sigma^2). The interpolant of flow
matching, (1 - t) * y + t * n, is x / (1 + sigma) with sigma = t / (1 - t).
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError

Array = jax.Array


class Schedule(Protocol):
    """Noise schedule sigma(t).

    Attributes:
      sigma_min: sigma(0).
      sigma_max: sigma(1).
    """

    @property
    def sigma_min(self) -> float: ...

    @property
    def sigma_max(self) -> float: ...

    def sigma(self, time: Array) -> Array:
        """Returns sigma at times in [0, 1], of any shape; increasing in time."""
        ...


@dataclass(frozen=True)
class Linear:
    """Linear beta schedule of DDPM in continuous time (Ho et al. 2020, arXiv:2006.11239).

    The variance-preserving SDE of Song et al. 2021 (arXiv:2011.13456, appendix C).

    Attributes:
      beta_min: beta(0), 1,000 times the first of DDPM's 1,000 steps.
      beta_max: beta(1), 1,000 times the last of them.
      sigma_min: Lower limit of sigma.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    sigma_min: float = 0.002

    def __post_init__(self):
        _check(self)

    @property
    def sigma_max(self) -> float:
        return math.sqrt(math.expm1(0.5 * (self.beta_min + self.beta_max)))

    def sigma(self, time: Array) -> Array:
        integral = self.beta_min * time + 0.5 * (self.beta_max - self.beta_min) * jnp.square(time)
        return jnp.clip(jnp.sqrt(jnp.expm1(integral)), self.sigma_min, self.sigma_max)


@dataclass(frozen=True)
class Cosine:
    """Cosine schedule (Nichol & Dhariwal 2021, arXiv:2102.09672) without offset: sigma = tan(pi / 2 * t).

    Attributes:
      sigma_min: sigma(0).
      sigma_max: sigma(1).
    """

    sigma_min: float = 0.002
    sigma_max: float = 200.0

    def __post_init__(self):
        _check(self)

    def sigma(self, time: Array) -> Array:
        start, stop = (2.0 / math.pi * math.atan(limit) for limit in (self.sigma_min, self.sigma_max))
        return jnp.clip(jnp.tan(0.5 * math.pi * (start + (stop - start) * time)), self.sigma_min, self.sigma_max)


@dataclass(frozen=True)
class Karras:
    """Sampling schedule of EDM: sigma^(1 / rho) is linear in time (arXiv:2206.00364, equation 5).

    Attributes:
      sigma_min: sigma(0).
      sigma_max: sigma(1).
      rho: Exponent; larger values place more levels near `sigma_min`.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self):
        _check(self)

    def sigma(self, time: Array) -> Array:
        start, stop = self.sigma_min ** (1.0 / self.rho), self.sigma_max ** (1.0 / self.rho)
        return jnp.clip((start + (stop - start) * time) ** self.rho, self.sigma_min, self.sigma_max)


@dataclass(frozen=True)
class RectifiedFlow:
    """Rectified flow (Liu et al. 2022, arXiv:2209.03003): sigma = t / (1 - t).

    Attributes:
      sigma_min: sigma(0).
      sigma_max: sigma(1).
      shift: Timestep shift alpha, t -> alpha * t / (1 + (alpha - 1) * t) (arXiv:2403.03206, equation 23). 1: none.
    """

    sigma_min: float = 0.002
    sigma_max: float = 500.0
    shift: float = 1.0

    def __post_init__(self):
        _check(self)

    def sigma(self, time: Array) -> Array:
        start, stop = (limit / (self.shift + limit) for limit in (self.sigma_min, self.sigma_max))
        time = start + (stop - start) * time
        return jnp.clip(self.shift * time / (1.0 - time), self.sigma_min, self.sigma_max)


class NoiseLevels(Protocol):
    """Distribution of noise levels in training, by its quantile function."""

    def sigma(self, schedule: Schedule, quantile: Array) -> Array:
        """Returns the sigma at a quantile in (0, 1) of the training distribution."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Times uniform in [0, 1]."""

    def sigma(self, schedule: Schedule, quantile: Array) -> Array:
        return schedule.sigma(quantile)


@dataclass(frozen=True)
class LogitNormal:
    """Times with a logit-normal distribution (arXiv:2403.03206, equation 19).

    Attributes:
      mean: Mean of logit(t), m in the paper.
      std: Standard deviation of logit(t), s in the paper.
    """

    mean: float = 0.0
    std: float = 1.0

    def sigma(self, schedule: Schedule, quantile: Array) -> Array:
        return schedule.sigma(jax.nn.sigmoid(self.mean + self.std * jax.scipy.special.ndtri(quantile)))


@dataclass(frozen=True)
class LogNormal:
    """Log-normal sigma, clipped to the range of the schedule (arXiv:2206.00364, table 1).

    Attributes:
      mean: Mean of ln(sigma), P_mean in the paper.
      std: Standard deviation of ln(sigma), P_std in the paper.
    """

    mean: float = -1.2
    std: float = 1.2

    def sigma(self, schedule: Schedule, quantile: Array) -> Array:
        sigma = jnp.exp(self.mean + self.std * jax.scipy.special.ndtri(quantile))
        return jnp.clip(sigma, schedule.sigma_min, schedule.sigma_max)


def _check(schedule: Schedule) -> None:
    name = type(schedule).__name__
    for field in dataclasses.fields(schedule):  # type: ignore[arg-type]
        value = getattr(schedule, field.name)
        if not value > 0:
            raise UserError(f"{name}: {field.name}={value} must be positive")
    if schedule.sigma_min >= schedule.sigma_max:
        raise UserError(f"{name}: sigma_min={schedule.sigma_min} must be below sigma_max={schedule.sigma_max}")
