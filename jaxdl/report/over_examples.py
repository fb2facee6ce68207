"""Intervals of differences over test examples, beside those over seeds."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxdl.errors import UserError, warn
from jaxdl.report.intervals import LEVEL, Interval
from jaxdl.report.statistics import Group
from jaxdl.runs.examples import Examples, read

_RESAMPLES = 2_000
_TOLERANCE = 1e-3  # relative difference from the result, above which the file is of other weights


def difference_over_examples(first: Group, second: Group, metric: str) -> Interval | None:
    """Returns the interval of the difference of two groups' means by a paired bootstrap over test examples.

    It is for the trained runs on other examples of the same distribution; the interval over seeds is for other runs on
    the same examples. None unless all runs of both groups have stored the same examples.

    Args:
      first: First group.
      second: Second group.
      metric: "EVAL/NAME", a mean over examples.
    """
    a, b = _resampled(first, metric), _resampled(second, metric)
    if not (a and b):
        return None
    reference = a[0].examples
    for other in (*a, *b):
        same = np.array_equal(other.examples.index, reference.index)
        if other.examples.fingerprint != reference.fingerprint or not same:
            return None
    return paired_interval([run.values for run in a], [run.values for run in b], len(reference.index))


def paired_interval(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], count: int, level: float = LEVEL
) -> Interval:
    """Returns the percentile interval of the difference of means over runs.

    Args:
      first: Metrics of each run of the first group on the resamples of `resample`.
      second: Those of the second group.
      count: Number of examples.
      level: Coverage.
    """
    values = np.mean(first, axis=0) - np.mean(second, axis=0)
    values = values[np.isfinite(values)]  # a resample may have no weight
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high), f"paired bootstrap over {count} examples")


def resample(examples: Examples) -> np.ndarray:
    """Returns the metric on bootstrap resamples of the examples, which are the same for runs with as many examples."""
    count, random = len(examples.index), np.random.default_rng(0)
    pairs = np.stack([examples.sums, examples.weights], axis=1)
    totals = [
        np.bincount(random.integers(count, size=count), minlength=count).astype(np.float64) @ pairs
        for _ in range(_RESAMPLES)
    ]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.divide(*np.transpose(totals))


class _Resampled(NamedTuple):
    """Examples of a run, and its metric on their resamples."""

    examples: Examples
    values: np.ndarray


def _resampled(group: Group, metric: str) -> list[_Resampled]:
    """Returns the examples of all runs of a group, [] if a run has none."""
    found = [_read(run.folder, metric, run.metrics.get(metric, math.nan)) for run in group.counted]
    return [run for run in found if run] if all(found) else []


@functools.lru_cache(maxsize=256)
def _read(folder: Path, metric: str, result: float) -> _Resampled | None:
    """Returns the examples of a run, None if they are not stored or are not those of its result."""
    try:
        examples = read(folder, metric)
    except UserError as error:
        warn(str(error))
        return None
    if examples is None or not len(examples.index):
        return None
    if not math.isclose(examples.value, result, rel_tol=_TOLERANCE, abs_tol=1e-9):
        warn(
            f"examples of {folder} have {metric} {examples.value:.5g}, its result {result:.5g}; they are not used;"
            f" write them again with: jaxdl eval {folder} --examples"
        )
        return None
    return _Resampled(examples, resample(examples))
