"""Intervals of differences over test examples, beside those over seeds."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdl.errors import UserError, warn
from jaxdl.report.intervals import LEVEL, Interval
from jaxdl.report.statistics import Group
from jaxdl.runs.examples import Examples, read

_RESAMPLES = 2_000
_CHUNK = 50  # resamples at a time, which bounds the memory
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
    a, b = _examples(first, metric), _examples(second, metric)
    if not (a and b):
        return None
    reference = a[0]
    for other in (*a, *b):
        if other.fingerprint != reference.fingerprint or not np.array_equal(other.index, reference.index):
            return None
    return paired_bootstrap(a, b)


def paired_bootstrap(first: Sequence[Examples], second: Sequence[Examples], level: float = LEVEL) -> Interval:
    """Returns the percentile interval of the difference of means over runs; all runs share each resample of examples.

    Args:
      first: Runs of the first group, with the same examples in the same order.
      second: Runs of the second group.
      level: Coverage.
    """
    runs = [*first, *second]
    sums, weights = (np.stack([getattr(run, name) for run in runs], axis=1) for name in ("sums", "weights"))
    signs = np.repeat([1 / len(first), -1 / len(second)], [len(first), len(second)])
    count, random, differences = len(sums), np.random.default_rng(0), []
    for _ in range(_RESAMPLES // _CHUNK):
        drawn = random.multinomial(count, np.full(count, 1 / count), size=_CHUNK).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            differences.append((drawn @ sums / (drawn @ weights)) @ signs)
    values = np.concatenate(differences)
    values = values[np.isfinite(values)]  # a resample may have no weight
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high), f"paired bootstrap over {count} examples")


def _examples(group: Group, metric: str) -> list[Examples]:
    """Returns the examples of all runs of a group, [] if a run has none."""
    found = [_read(run.folder, metric, run.metrics.get(metric, math.nan)) for run in group.counted]
    return [examples for examples in found if examples] if all(found) else []


@functools.lru_cache(maxsize=256)
def _read(folder: Path, metric: str, result: float) -> Examples | None:
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
    return examples
