"""Several runs' curves as one: the mean and, around it, from the least to the greatest; thinned to be drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Band(NamedTuple):
    """A curve with what lies around it; NaN where there is nothing.

    Attributes:
      steps: [n], rising.
      mean, low, high: [n].
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band(series: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
    """The mean over runs, and their least and greatest value, at every step that one of them has.

    Between its own steps a run's value is interpolated; before its first and after its last step it does not count.

    Args:
      series: (steps [n], values [n]) of each run, steps rising, NaN where a value is not finite.
    """
    first = series[0][0]
    if all(np.array_equal(steps, first) for steps, _ in series):
        steps, values = first, np.stack([values for _, values in series])
    else:
        steps = np.unique(np.concatenate([steps for steps, _ in series]))
        values = np.stack([np.interp(steps, own, line, np.nan, np.nan) for own, line in series])
    low, high = np.fmin.reduce(values), np.fmax.reduce(values)
    return Band(steps, _mean(np.nan_to_num(values).sum(0), np.isfinite(values).sum(0)), low, high)


def thin(curve: Band, most: int = 300) -> Band:
    """At most so many points: the first, the last, and between them the means of stretches of equal length.

    The band keeps the least and the greatest of each stretch, so that a spike stays to be seen.
    """
    count = len(curve.steps)
    if count <= most:
        return curve
    starts = np.concatenate([[0], np.linspace(1, count - 1, most - 1).astype(int)])
    sizes = np.diff(np.append(starts, count))
    finite = np.isfinite(curve.mean)
    mean = _mean(np.add.reduceat(np.nan_to_num(curve.mean), starts), np.add.reduceat(finite.astype(int), starts))
    low, high = np.fmin.reduceat(curve.low, starts), np.fmax.reduceat(curve.high, starts)
    return Band(np.add.reduceat(curve.steps.astype(float), starts) / sizes, mean, low, high)


def _mean(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
