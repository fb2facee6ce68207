"""Generated time series for tests."""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.random import Draws
from jaxdl.data.source import ColumnSource
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError


@dataclass(frozen=True)
class MockSeries:
    """Noisy sine waves of one period; each series has its own level, amplitude and phase.

    A table for `jaxdl.data.series.windows.Series`:
      series: int32 [series * steps], sorted.
      time: int32 [series * steps], 0, 1, 2, .. in each series.
      value: float32 [series * steps], positive for noise up to 0.2; promotions add half an amplitude.
      promotion: float32 [series * steps], 1 in a fifth of the time steps, else 0; usable as a known covariate.

    Attributes:
      series: Number of series.
      steps: Time steps per series.
      period: Period in time steps.
      noise: Std of the noise in amplitudes.
      seed: Random seed.
    """

    series: int = 2
    steps: int = 200
    period: int = 12
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self):
        if self.series < 1 or self.steps < 1 or self.period < 2:
            raise UserError(
                f"MockSeries(series={self.series}, steps={self.steps}, period={self.period}) is out of range; series "
                "and steps must be at least 1, period at least 2"
            )

    def load(self) -> ColumnSource:
        level, height, phase = Draws(self.seed, np.arange(self.series)).uniform(3).T[..., None]
        draws = Draws(self.seed, np.arange(self.series * self.steps)).fold(1)
        uniform = draws.uniform(3).reshape(self.series, self.steps, 3)
        promotion = (uniform[..., 0] < 0.2).astype(np.float32)
        # The sum of two uniform numbers approximates a Gaussian without a logarithm.
        noise = self.noise * (uniform[..., 1] + uniform[..., 2] - 1.0) * np.sqrt(6.0)
        time = np.arange(self.steps)
        wave = np.sin(2 * np.pi * (time / self.period + phase)) + 0.5 * promotion + noise
        value = 10 * (3 + level) + 10 * (1 + height) * wave
        columns = {
            "series": np.repeat(np.arange(self.series, dtype=np.int32), self.steps),
            "time": np.tile(time.astype(np.int32), self.series),
            "value": value.astype(np.float32).reshape(-1),
            "promotion": promotion.reshape(-1),
        }
        names = {"series": tuple(f"series {number}" for number in range(self.series))}
        return ColumnSource(columns, digest_of(repr(self)), names)
