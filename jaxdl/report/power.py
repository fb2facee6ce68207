"""Number of seeds that a comparison of two groups needs."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.errors import UserError
from jaxdl.report.comparisons import ALPHA
from jaxdl.report.intervals import LEVEL

POWER = 0.8
MOST = 1000  # seeds
_SMALL, _SIMULATIONS = 30, 10_000


class Spread(NamedTuple):
    """Standard deviation over seeds, pooled over groups.

    Attributes:
      value: Standard deviation.
      low, high: Its 95% confidence interval, for normal results.
      freedom: Degrees of freedom, the number of runs minus the number of groups.
    """

    value: float
    low: float
    high: float
    freedom: int


def spread(groups: Sequence[Sequence[float]]) -> Spread:
    """Returns the standard deviation of results within groups. Raises UserError below two seeds in each group."""
    from scipy.stats import chi2

    used = [np.asarray(values, np.float64) for values in groups if len(values) > 1]
    freedom = sum(len(values) - 1 for values in used)
    if not freedom:
        raise UserError("the standard deviation over seeds needs two finished runs that differ only by their seed")
    squares = sum(float(np.sum((values - values.mean()) ** 2)) for values in used)
    low, high = (math.sqrt(squares / chi2.ppf(0.5 + sign * LEVEL / 2, freedom)) for sign in (1, -1))
    return Spread(math.sqrt(squares / freedom), low, high, freedom)


def power(effect: float, std: float, seeds: int, paired: bool = False) -> float:
    """Returns the probability that a two-sided t-test at 5% finds a difference between normal results.

    That of Welch's test is simulated below `_SMALL` seeds, where it is up to 5 points lower than that of Student's. The
    exact tests of reports have a somewhat lower power than t-tests.

    Args:
      effect: True difference of the means.
      std: Standard deviation of a run, or of the difference of a pair if `paired`.
      seeds: Seeds per group, or pairs; at least 2.
      paired: Whether the groups are compared by pairs.
    """
    from scipy.stats import nct, t, ttest_ind

    if not paired and seeds < _SMALL:
        first, second = np.random.default_rng(0).normal(size=(2, _SIMULATIONS, seeds))
        tests: Any = ttest_ind(first + abs(effect) / std, second, axis=1, equal_var=False)
        return float(np.mean(tests.pvalue < ALPHA))
    freedom = seeds - 1 if paired else 2 * seeds - 2
    shift = abs(effect) / std * math.sqrt(seeds if paired else seeds / 2)
    quantile = float(t.ppf(1 - ALPHA / 2, freedom))
    tails = (nct.sf(quantile, freedom, shift), nct.cdf(-quantile, freedom, shift))
    return float(np.nansum(tails))  # a tail far from the shift may underflow to NaN


def seeds_needed(effect: float, std: float, paired: bool = False) -> int | None:
    """Returns the smallest number of seeds with a power of 80%; None above `MOST`. Args as `power`."""
    if std == 0:
        return 2
    low, high = 2, 2
    while power(effect, std, high, paired) < POWER:
        if high > MOST:
            return None
        low, high = high, 2 * high
    while low < high:  # the power increases with the seeds
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, std, middle, paired) >= POWER else (middle + 1, high)
    return low if low <= MOST else None
