"""How noisy a diffusion's images are: noise levels over time, and which of them training sees.

All Gaussian diffusions are one, up to a change of scale (Kingma et al. 2021, arXiv:2107.00630; Karras et al. 2022,
arXiv:2206.00364): here a noisy image is always data + sigma * noise, and a schedule says sigma at a time between 0, the
data, and 1, the noise. The variance-preserving image of DDPM is this one over sqrt(1 + sigma^2), the straight path of
flow matching, (1 - t) * data + t * noise, is this one over 1 + sigma with sigma = t / (1 - t).
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
    """Noise levels over time.

    Attributes:
      least, most: sigma at times 0 and 1.
    """

    @property
    def least(self) -> float: ...

    @property
    def most(self) -> float: ...

    def sigma(self, time: Array) -> Array:
        """Increasing; time in [0, 1], any shape."""
        ...


@dataclass(frozen=True)
class Linear:
    """The continuous limit of DDPM's linear betas (Ho et al. 2020, arXiv:2006.11239; Song et al., arXiv:2011.13456).

    Attributes:
      first, last: beta at times 0 and 1, of 1,000 steps together.
      least: sigma never falls below it.
    """

    first: float = 0.1
    last: float = 20.0
    least: float = 0.002

    def __post_init__(self):
        _positive(self)

    @property
    def most(self) -> float:
        return math.sqrt(math.expm1(0.5 * (self.first + self.last)))

    def sigma(self, time: Array) -> Array:
        total = self.first * time + 0.5 * (self.last - self.first) * jnp.square(time)
        return jnp.clip(jnp.sqrt(jnp.expm1(total)), self.least, self.most)


@dataclass(frozen=True)
class Cosine:
    """Nichol & Dhariwal 2021, arXiv:2102.09672, without the offset: sigma = tan(pi / 2 * time), within its limits."""

    least: float = 0.002
    most: float = 200.0

    def __post_init__(self):
        _positive(self)

    def sigma(self, time: Array) -> Array:
        first, last = (2.0 / math.pi * math.atan(limit) for limit in (self.least, self.most))
        return jnp.clip(jnp.tan(0.5 * math.pi * (first + (last - first) * time)), self.least, self.most)


@dataclass(frozen=True)
class Karras:
    """The sampling schedule of EDM: sigma^(1 / rho) is linear in time (arXiv:2206.00364, equation 5)."""

    least: float = 0.002
    most: float = 80.0
    rho: float = 7.0

    def __post_init__(self):
        _positive(self)

    def sigma(self, time: Array) -> Array:
        first, last = self.least ** (1.0 / self.rho), self.most ** (1.0 / self.rho)
        return jnp.clip((first + (last - first) * time) ** self.rho, self.least, self.most)


@dataclass(frozen=True)
class Straight:
    """Rectified flow (Liu et al. 2022, arXiv:2209.03003): a straight path from data to noise, sigma = t / (1 - t).

    Attributes:
      shift: of time towards noise, t -> shift * t / (1 + (shift - 1) * t) (Esser et al. 2024, arXiv:2403.03206).
    """

    least: float = 0.002
    most: float = 500.0
    shift: float = 1.0

    def __post_init__(self):
        _positive(self)

    def sigma(self, time: Array) -> Array:
        first, last = (limit / (self.shift + limit) for limit in (self.least, self.most))
        time = first + (last - first) * time
        return jnp.clip(self.shift * time / (1.0 - time), self.least, self.most)


class Times(Protocol):
    """Which noise levels training sees."""

    def sigma(self, schedule: Schedule, quantile: Array) -> Array:
        """The level below which a share `quantile` in (0, 1) of the training images lies."""
        ...


@dataclass(frozen=True)
class Uniform:
    """All times alike."""

    def sigma(self, schedule: Schedule, quantile: Array) -> Array:
        return schedule.sigma(quantile)


@dataclass(frozen=True)
class LogitNormal:
    """Times are a normal number's sigmoid: more in the middle (arXiv:2403.03206)."""

    mean: float = 0.0
    deviation: float = 1.0

    def sigma(self, schedule: Schedule, quantile: Array) -> Array:
        return schedule.sigma(jax.nn.sigmoid(self.mean + self.deviation * jax.scipy.special.ndtri(quantile)))


@dataclass(frozen=True)
class LogNormal:
    """Sigma's logarithm is a normal number, whatever the schedule (arXiv:2206.00364)."""

    mean: float = -1.2
    deviation: float = 1.2

    def sigma(self, schedule: Schedule, quantile: Array) -> Array:
        sigma = jnp.exp(self.mean + self.deviation * jax.scipy.special.ndtri(quantile))
        return jnp.clip(sigma, schedule.least, schedule.most)


def _positive(schedule: Schedule) -> None:
    for field in dataclasses.fields(schedule):  # type: ignore[arg-type]
        if not getattr(schedule, field.name) > 0:
            raise UserError(f"{type(schedule).__name__}: {field.name}={getattr(schedule, field.name)} must be above 0")
    if schedule.least >= schedule.most:
        raise UserError(f"{type(schedule).__name__}: least={schedule.least} must be below most={schedule.most}")
