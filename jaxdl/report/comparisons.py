"""Comparisons of groups of runs over seeds: differences, tests and their correction for several comparisons."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxdl.report.intervals import LEVEL, Interval, superiority
from jaxdl.report.sequential import Look, look_at

EXACT_FROM = 6  # pairs, or values per group, from which a permutation test can have a p-value below 0.05
ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class Comparison:
    """Comparison of the results of two groups.

    Attributes:
      difference: Mean of the first minus mean of the second group, over pairs if there are pairs.
      interval: Confidence interval of the difference, Student's t. None below two seeds.
      effect: Hedges' g, the difference in standard deviations of a run, corrected for small samples. NaN if all runs
        of a group are equal, or below two seeds.
      p: p-value of "both groups have the same distribution", two-sided. None below two seeds.
      adjusted: `p` after Holm's correction over all comparisons that were made together.
      attainable: Smallest p-value that the test can have with this number of seeds.
      test: Name of the test.
      pairs: Number of pairs with equal seeds. 0: the groups are compared as independent.
      correlation: Correlation of the pairs. NaN without it.
      superiority: P(a run of the first group has a higher value than one of the second).
      superiority_interval: Its confidence interval.
    """

    difference: float
    interval: Interval | None
    effect: float
    p: float | None
    adjusted: float | None
    attainable: float
    test: str
    pairs: int
    correlation: float
    superiority: float
    superiority_interval: Interval


def compare(first: Mapping[Any, float], second: Mapping[Any, float], looks: Sequence[int] = ()) -> Comparison:
    """Compares the results {seed: value} of two groups.

    Runs with the same seed share the order of the data, and the initialization of models with the same parameters. If
    all seeds of the smaller group occur in the other one, the test is paired. It is exact from `EXACT_FROM` pairs on
    (sign flips) or values per group (permutations), and Student's paired or Welch's t-test below.

    Args:
      first: Results of the first group.
      second: Results of the second group.
      looks: Planned numbers of seeds at which the groups are compared, see `jaxdl.report.sequential`: p-values and the
        interval of the difference hold at all looks together. (): one comparison.

    Raises:
      UserError: More seeds than planned.
    """
    a, b = np.array(list(first.values())), np.array(list(second.values()))
    shared = [seed for seed in first if seed in second]
    paired = len(shared) >= max(2, min(len(a), len(b)))
    if paired:
        a, b = (np.array([group[seed] for seed in shared]) for group in (first, second))
    share, share_interval = superiority(list(first.values()), list(second.values()))
    look = look_at(min(len(a), len(b)), looks, paired) if looks and min(len(a), len(b)) > 1 else None
    interval, p, attainable, test = _tested(a, b, paired, look)
    return Comparison(
        difference=float(a.mean() - b.mean()),
        interval=interval,
        effect=_hedges(a, b),
        p=p,
        adjusted=p,
        attainable=attainable,
        test=test,
        pairs=len(shared) if paired else 0,
        correlation=float(np.corrcoef(a, b)[0, 1]) if paired and len(a) > 2 and a.std() and b.std() else math.nan,
        superiority=share,
        superiority_interval=share_interval,
    )


def compare_all(
    groups: Sequence[Mapping[Any, float]], against: int | None = None, looks: Sequence[int] = ()
) -> dict[tuple[int, int], Comparison]:
    """Compares all pairs of groups, or all groups with one, with p-values adjusted by Holm's method.

    Args:
      groups: Results {seed: finite value} of each group. Groups without results are left out.
      against: Index of the reference. None: all pairs.
      looks: As in `compare`. Holm's method at each look keeps the error over all looks and comparisons (Maurer and
        Bretz, "Multiple Testing in Group Sequential Trials Using Graphical Approaches", 2013).

    Returns:
      {(i, j): comparison of group i with group j}, i < j, or j = `against`.
    """
    filled = [index for index, group in enumerate(groups) if group]
    if against is None:
        pairs = list(itertools.combinations(filled, 2))
    else:
        pairs = [(index, against) for index in filled if index != against and against in filled]
    found = {pair: compare(groups[pair[0]], groups[pair[1]], looks) for pair in pairs}
    tested = {pair: comparison.p for pair, comparison in found.items() if comparison.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values()))))
    return {pair: replace(comparison, adjusted=adjusted.get(pair)) for pair, comparison in found.items()}


def holm(values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for several tests.

    Rejecting adjusted values below alpha keeps the probability of any false rejection below alpha (Holm, "A Simple
    Sequentially Rejective Multiple Test Procedure", 1979).
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    adjusted, highest = [1.0] * len(values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = highest
    return adjusted


def _tested(
    a: np.ndarray, b: np.ndarray, paired: bool, look: Look | None
) -> tuple[Interval | None, float | None, float, str]:
    """Returns the interval of the difference, the p-value, the smallest attainable one, and the name of the test."""
    from scipy import stats

    if min(len(a), len(b)) < 2:
        return None, None, 1.0, "no test with one seed"
    interval, p, method = None, None, f"no t-test: the {'pairs' if paired else 'seeds'} do not vary"
    parts = [a - b] if paired else [a, b]
    if any(np.ptp(part) > 1e-12 * np.abs(np.concatenate([a, b])).max() for part in parts):
        result: Any = stats.ttest_rel(a, b) if paired else stats.ttest_ind(a, b, equal_var=False)
        method = f"paired t, {len(a)} pairs" if paired else f"Welch's t, {len(a)} and {len(b)} seeds"
        level = LEVEL if look is None else 1 - look.level()
        if level < 1:
            bounds = result.confidence_interval(level)
            interval = Interval(float(bounds.low), float(bounds.high), method)
        p = float(result.pvalue)
    if min(len(a), len(b)) < EXACT_FROM:
        return _over_looks(look, interval, p, 1.0 if p is None else 0.0, method)
    method = f"sign flips, {len(a)} pairs" if paired else f"permutations, {len(a)} and {len(b)} seeds"
    outcomes = 2 ** len(a) if paired else math.comb(len(a) + len(b), len(a))
    smallest = max(2 / outcomes, 1 / (_RESAMPLES + 1))
    return _over_looks(look, interval, _permuted(a, b, paired), smallest, method)


def _over_looks(
    look: Look | None, interval: Interval | None, p: float | None, attainable: float, method: str
) -> tuple[Interval | None, float | None, float, str]:
    """Returns a test of `_tested` whose p-values hold at all looks together."""
    if look is None:
        return interval, p, attainable, method
    smallest = 0.0 if not attainable and look.level() else look.adjusted(attainable)
    return interval, None if p is None else look.adjusted(p), smallest, f"{method}, {look}"


_RESAMPLES = 9_999  # beyond 13 pairs or 7 values per group the permutations are drawn at random


def _permuted(a: np.ndarray, b: np.ndarray, paired: bool) -> float:
    from scipy import stats

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis=axis) - y.mean(axis=axis)

    kind = "samples" if paired else "independent"
    result = stats.permutation_test(
        (a, b),
        difference,
        permutation_type=kind,
        vectorized=True,
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def _hedges(a: np.ndarray, b: np.ndarray) -> float:
    """Returns Hedges' g (Hedges, "Distribution Theory for Glass's Estimator of Effect Size", 1981)."""
    freedom = len(a) + len(b) - 2
    if min(len(a), len(b)) < 2:
        return math.nan
    pooled = math.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom)
    return float((a.mean() - b.mean()) / pooled * (1 - 3 / (4 * freedom - 1))) if pooled else math.nan
