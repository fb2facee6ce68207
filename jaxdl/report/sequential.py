"""Repeated looks at growing numbers of seeds: O'Brien-Fleming boundaries by alpha spending.

A test at 5% after every batch of seeds, up to the first significant one, finds a difference in 14% of cases without
any, at four looks. Alpha spending (Lan and DeMets, "Discrete Sequential Boundaries for Clinical Trials", 1983)
keeps the probability of a false difference at any look below 5%. The boundaries are those of normal values. t-tests
and exact tests are compared with them by their p-values (Jennison and Turnbull, "Group Sequential Methods", 2000, 3.3),
at levels that a simulation of t-tests lowers to keep 5% with few seeds.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.errors import UserError
from jaxdl.report.intervals import LEVEL

METHOD = "O'Brien-Fleming alpha spending by Lan and DeMets"
POWER = 0.8
_POINTS = 601  # of the density of the statistic
_FARTHEST = 12.0  # boundary, in standard deviations, of looks that spend less than 1e-14
_LEVELS = np.concatenate([np.geomspace(1e-9, 0.2, 60), np.linspace(0.25, 0.999, 16)])  # of the table of p-values
_PATHS = 100_000  # of a simulation of power


class Look(NamedTuple):
    """One of several looks.

    Attributes:
      seeds: Seeds per group at all looks, ascending.
      number: Number of this look, from 1.
      paired: Whether the tests are of pairs.
    """

    seeds: tuple[int, ...]
    number: int
    paired: bool

    def __str__(self) -> str:
        return f"look {self.number} of {len(self.seeds)}"

    @property
    def fractions(self) -> tuple[float, ...]:
        """Shares of the planned seeds at the looks so far."""
        return _fractions(self.seeds)[: self.number]

    def level(self, alpha: float = 1 - LEVEL) -> float:
        """Returns the level of a fixed test at this look that keeps `alpha` over all looks; 0 if it is below 1e-14."""
        errors = _errors(self.seeds, self.paired)
        nominal = math.exp(np.interp(math.log(alpha), np.log(errors), np.log(_LEVELS)))
        return nominal_levels(self.fractions, nominal)[-1]

    def adjusted(self, p: float) -> float:
        """Returns the smallest `alpha` over all looks at which a p-value at this look is significant, at most 1."""
        levels = _table(self.fractions)
        known = levels > 0
        if not known.any() or p > levels[-1]:
            return 1.0
        errors = _errors(self.seeds, self.paired)[known]
        if p <= 0:
            return float(errors[0])
        return float(max(p, math.exp(np.interp(math.log(p), np.log(levels[known]), np.log(errors)))))


def parse(text: str) -> tuple[int, ...]:
    """Parses the planned looks "3,6,9,12". Raises UserError unless they are ascending integers of at least 2."""
    parts = [part.strip() for part in text.split(",")]
    if all(part.isdecimal() for part in parts):
        looks = tuple(map(int, parts))
        if looks[0] >= 2 and all(a < b for a, b in itertools.pairwise(looks)):
            return looks
    raise UserError(f"--looks={text} are not ascending numbers of seeds, at least 2; write --looks=3,6,9,12")


def look_at(seeds: int, looks: Sequence[int], paired: bool = False) -> Look:
    """Returns the look at a number of seeds, which may differ from the planned ones.

    Args:
      seeds: Seeds of the smaller group, or pairs.
      looks: Planned numbers of seeds, ascending.
      paired: Whether the tests are of pairs.

    Raises:
      UserError: More seeds than planned.
    """
    if seeds > looks[-1]:
        raise UserError(
            f"--looks plans {looks[-1]} seeds per group, but {seeds} are finished; further looks need a plan that was"
            " made before the first one"
        )
    every = tuple(sorted({*looks, seeds}))
    return Look(every, every.index(seeds) + 1, paired)


@functools.lru_cache(maxsize=4096)
def nominal_levels(fractions: tuple[float, ...], alpha: float = 1 - LEVEL) -> tuple[float, ...]:
    """Returns the two-sided levels of the tests at the looks, of which the first significant one ends the comparison.

    The probability that normal values without a difference are significant at one of the first k looks is the spent
    alpha, 4 - 4 Phi(z / sqrt(t)) with z the quantile of 1 - alpha / 4 and t the fraction at look k.

    Args:
      fractions: Shares of the planned seeds at the looks, ascending, at most 1.
      alpha: Level over all looks.
    """
    from scipy.special import ndtr, ndtri

    spent = [min(alpha, 4 * float(ndtr(ndtri(alpha / 4) / math.sqrt(fraction)))) for fraction in fractions]
    boundaries = _boundaries(fractions, spent)
    return tuple(0.0 if boundary >= _FARTHEST else 2 * float(ndtr(-boundary)) for boundary in boundaries)


def _boundaries(fractions: Sequence[float], spent: Sequence[float]) -> list[float]:
    """Returns the boundaries of |Z| by integration of its density (Armitage, McPherson and Rowe, 1969)."""
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    root: Any = brentq
    boundaries, before, used = [], 0.0, 0.0
    points, density = np.zeros(1), np.ones(1)  # of the Brownian motion Z sqrt(t), with the weights of the integration
    for fraction, total in zip(fractions, spent):
        width, step = math.sqrt(fraction - before), total - used

        def excess(end: float, points=points, density=density, width=width, step=step) -> float:
            outside = ndtr((-end - points) / width) + ndtr((points - end) / width)
            return float(density @ outside) - step

        farthest = _FARTHEST * math.sqrt(fraction)
        if len(points) == 1:
            end = min(farthest, -float(ndtri(step / 2)) * width) if step > 0 else farthest
        else:
            end = farthest if step < 1e-14 or excess(farthest) > 0 else float(root(excess, 0.0, farthest))
        boundaries.append(end / math.sqrt(fraction))
        grid = np.linspace(-end, end, _POINTS)
        kernel = np.exp(-0.5 * ((grid[:, None] - points[None]) / width) ** 2) / (width * math.sqrt(2 * math.pi))
        weights = np.full(_POINTS, grid[1] - grid[0])
        weights[[0, -1]] /= 2
        points, density = grid, weights * (kernel @ density)
        before, used = fraction, total
    return boundaries


@functools.lru_cache(maxsize=256)
def _table(fractions: tuple[float, ...]) -> np.ndarray:
    """Returns the level at the last look for each level of `_LEVELS` over all looks, not descending."""
    return np.maximum.accumulate([nominal_levels(fractions, float(level))[-1] for level in _LEVELS])


@functools.lru_cache(maxsize=64)
def _errors(seeds: tuple[int, ...], paired: bool) -> np.ndarray:
    """Returns the probabilities of a significant t-test at any look for the levels `_LEVELS` of normal boundaries.

    They exceed the levels by up to a sixth, because the t-statistics of few seeds depend less on each other. They are
    simulated for normal results; where that has too few events, the largest ratio of the others is used.
    """
    p = _p_values(seeds, paired)
    fractions = _fractions(seeds)
    errors = np.array([(p < nominal_levels(fractions, float(level))).any(axis=1).mean() for level in _LEVELS])
    frequent = errors * len(p) >= 400
    ratio = max(1.0, float((errors / _LEVELS)[frequent & (_LEVELS < 0.2)].max()))
    return np.maximum.accumulate(np.maximum(_LEVELS, np.where(frequent, errors, np.minimum(_LEVELS * ratio, 1.0))))


def _p_values(seeds: Sequence[int], paired: bool) -> np.ndarray:
    """Returns p-values [paths, looks] of paired or Welch's t-tests of simulated results without a difference."""
    from scipy.special import stdtr

    random, p = np.random.default_rng(0), []
    means, squares = np.zeros((2, 1 if paired else 2, _PATHS))  # of the differences of pairs, or of both groups
    before = 0
    for count in seeds:
        new = count - before
        batch = random.normal(size=means.shape) / math.sqrt(new)
        spread = random.chisquare(new - 1, size=means.shape) if new > 1 else 0.0
        squares = squares + spread + (batch - means) ** 2 * (before * new / count)
        means = means + (batch - means) * (new / count)
        variances = squares / (count - 1) / count  # of the means
        total = variances.sum(axis=0)
        freedom = total**2 / (variances**2 / (count - 1)).sum(axis=0)
        statistic = (means[0] if paired else means[0] - means[1]) / np.sqrt(total)
        p.append(2 * stdtr(freedom, -np.abs(statistic)))
        before = count
    return np.stack(p, axis=1)


def _fractions(seeds: Sequence[int]) -> tuple[float, ...]:
    return tuple(count / seeds[-1] for count in seeds)


class Plan(NamedTuple):
    """Plan of looks.

    Attributes:
      seeds: Seeds per group at each look.
      expected: Mean number of seeds until the first significant look, if the difference is as planned.
    """

    seeds: tuple[int, ...]
    expected: float


def plan(seeds: int, count: int) -> Plan:
    """Returns the looks of a sequential comparison with the power of a single one.

    Args:
      seeds: Seeds per group of a single comparison with a power of 80%.
      count: Number of looks, at most as many as seeds remain.
    """
    from scipy.special import ndtri

    single = float(ndtri(0.5 + LEVEL / 2) + ndtri(POWER))
    drift = _drift(count)
    most = math.ceil(seeds * (drift / single) ** 2)
    looks = tuple(sorted({max(2, math.ceil(most * number / count)) for number in range(1, count + 1)}))
    hits = _crossings(tuple(look / most for look in looks), drift)
    first = np.where(hits.any(axis=1), hits.argmax(axis=1), len(looks) - 1)
    return Plan(looks, float(np.asarray(looks)[first].mean()))


@functools.lru_cache(maxsize=64)
def _drift(count: int) -> float:
    """Returns the mean of Z at the last of equally spaced looks at which one of them is significant in 80% of cases."""
    fractions = tuple(number / count for number in range(1, count + 1))
    low, high = 2.0, 4.0
    for _ in range(20):
        middle = (low + high) / 2
        powerful = _crossings(fractions, middle).any(axis=1).mean() >= POWER
        low, high = (low, middle) if powerful else (middle, high)
    return high


def _crossings(fractions: tuple[float, ...], drift: float) -> np.ndarray:
    """Returns whether simulated paths [paths, looks] with a drift are significant at each look."""
    from scipy.special import ndtr

    times = np.asarray(fractions)
    steps = np.random.default_rng(0).normal(size=(_PATHS, len(times))) * np.sqrt(np.diff(times, prepend=0.0))
    statistic = (np.cumsum(steps, axis=1) + drift * times) / np.sqrt(times)
    return 2 * ndtr(-np.abs(statistic)) <= np.asarray(nominal_levels(fractions))
