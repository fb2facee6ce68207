"""Mean, minimum and maximum of learning curves over runs, and their downsampling."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Band(NamedTuple):
    """Mean curve with minimum and maximum; NaN where no value is finite.

    Attributes:
      steps: [n], ascending.
      mean: [n].
      low: [n], minimum.
      high: [n], maximum.
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band(series: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
    """Returns mean, minimum and maximum over runs at the union of their steps.

    Values between a run's steps are interpolated. Steps outside its range ignore the run.

    Args:
      series: (steps [n], values [n]) of each run. Steps ascend; values are NaN where not finite.
    """
    first = series[0][0]
    if all(np.array_equal(steps, first) for steps, _ in series):
        steps, values = first, np.stack([values for _, values in series])
    else:
        steps = np.unique(np.concatenate([steps for steps, _ in series]))
        values = np.stack([np.interp(steps, own_steps, line, np.nan, np.nan) for own_steps, line in series])
    low, high = np.fmin.reduce(values), np.fmax.reduce(values)
    return Band(steps, _mean(np.nan_to_num(values).sum(0), np.isfinite(values).sum(0)), low, high)


def thin(curve: Band, max_points: int = 300) -> Band:
    """Downsamples a curve to at most `max_points`; keeps the first and last point.

    Points in between are means of intervals of equal length. `low` and `high` keep each interval's extremes, so that
    spikes remain visible.
    """
    count = len(curve.steps)
    if count <= max_points:
        return curve
    starts = np.concatenate([[0], np.linspace(1, count - 1, max_points - 1).astype(int)])
    sizes = np.diff(np.append(starts, count))
    finite = np.isfinite(curve.mean)
    mean = _mean(np.add.reduceat(np.nan_to_num(curve.mean), starts), np.add.reduceat(finite.astype(int), starts))
    low, high = np.fmin.reduceat(curve.low, starts), np.fmax.reduceat(curve.high, starts)
    return Band(np.add.reduceat(curve.steps.astype(float), starts) / sizes, mean, low, high)


def _mean(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
