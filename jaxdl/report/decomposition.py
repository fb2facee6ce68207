"""Shares of the variance over seeds that single sources of randomness cause."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

SOURCES = ("init", "order", "augment", "noise")
NAMES = {"init": "initialization", "order": "order", "augment": "augmentation", "noise": "noise"}
_SIMULATIONS = 2000


class Share(NamedTuple):
    """Share of the variance.

    Attributes:
      source: A source of `SOURCES`, or "rest": interactions and numerical noise.
      share: Estimate, 0 to 1.
      low, high: 95% interval, by simulation of the estimated model.
    """

    source: str
    share: float
    low: float
    high: float


class Decomposition(NamedTuple):
    """Decomposition of the variance of one metric.

    Attributes:
      shares: Shares that add up to 1, in the order of `SOURCES`, "rest" last.
      std: Standard deviation of a run with random seeds.
      runs: Number of runs.
    """

    shares: tuple[Share, ...]
    std: float
    runs: int


def design(levels: int) -> list[dict[str, int]]:
    """Returns the seeds of `levels` ** 2 runs in which every pair of seeds of two sources occurs once.

    An orthogonal array (Rao, "Factorial Experiments Derivable from Combinatorial Arrangements of Arrays", 1947).

    Args:
      levels: Seeds per source, a prime number of at least 5: with 3 no degrees of freedom are left for the rest.
    """
    pairs = itertools.product(range(levels), repeat=2)
    return [dict(zip(SOURCES, (a, b, (a + b) % levels, (a + 2 * b) % levels))) for a, b in pairs]


def decompose(runs: Sequence[tuple[Mapping[str, int], float]]) -> Decomposition | None:
    """Estimates variance components of main effects from an orthogonal design (ANOVA; Searle et al. 1992, chapter 4).

    Args:
      runs: ({source: seed}, value) of each run.

    Returns:
      The decomposition; None if the runs are no design with several seeds of each varied source.
    """
    varied = [source for source in SOURCES if len({seeds.get(source) for seeds, _ in runs}) > 1]
    codes = [np.unique([seeds.get(source, -1) for seeds, _ in runs], return_inverse=True)[1] for source in varied]
    values = np.array([value for _, value in runs])
    if len(varied) < 2 or not all(_orthogonal(a, b) for a, b in itertools.combinations(codes, 2)):
        return None
    sizes = [int(code.max()) + 1 for code in codes]
    if len(values) - 1 - sum(size - 1 for size in sizes) < 1 or np.ptp(values) == 0:
        return None
    components = _components(values[None], codes)[0]
    simulated = _components(_simulate(components, codes, len(values)), codes)
    shares = simulated / np.maximum(simulated.sum(1, keepdims=True), np.finfo(float).tiny)
    low, high = np.percentile(shares, [2.5, 97.5], axis=0)
    total = float(components.sum())
    names = [*varied, "rest"]
    rows = [Share(*row) for row in zip(names, (components / total).tolist(), low.tolist(), high.tolist())]
    return Decomposition(tuple(rows), total**0.5, len(values))


def _orthogonal(first: np.ndarray, second: np.ndarray) -> bool:
    """Returns whether every pair of levels occurs equally often."""
    counts = np.zeros((first.max() + 1, second.max() + 1), int)
    np.add.at(counts, (first, second), 1)
    return counts.min() > 0 and counts.min() == counts.max()


def _components(values: np.ndarray, codes: Sequence[np.ndarray]) -> np.ndarray:
    """Returns variance components [simulations, sources + 1], the rest last, of values [simulations, runs]."""
    count = values.shape[1]
    centered = values - values.mean(1, keepdims=True)
    squares, freedom = [], []
    for code in codes:
        levels = int(code.max()) + 1
        means = np.stack([centered[:, code == level].mean(1) for level in range(levels)], axis=1)
        squares.append(count / levels * np.square(means).sum(1))
        freedom.append(levels - 1)
    rest = np.maximum(np.square(centered).sum(1) - sum(squares), 0) / (count - 1 - sum(freedom))
    parts = [
        np.maximum(square / degrees - rest, 0) / (count / (degrees + 1)) for square, degrees in zip(squares, freedom)
    ]
    return np.stack([*parts, rest], axis=1)


def _simulate(components: np.ndarray, codes: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Returns values [simulations, runs] of the model with these variance components."""
    random = np.random.default_rng(0)
    values = np.sqrt(components[-1]) * random.normal(size=(_SIMULATIONS, count))
    for variance, code in zip(components, codes):
        values += np.sqrt(variance) * random.normal(size=(_SIMULATIONS, int(code.max()) + 1))[:, code]
    return values


def describe(found: Decomposition) -> str:
    """Returns a line such as "initialization 12% (0% to 40%), order 31% (...), rest ..."."""
    parts = [f"{NAMES.get(s.source, s.source)} {s.share:.0%} ({s.low:.0%} to {s.high:.0%})" for s in found.shares]
    return f"{', '.join(parts)}; {found.runs} runs"
