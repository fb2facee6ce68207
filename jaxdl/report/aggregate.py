"""Aggregates of normalized scores over recipes (Agarwal et al., arXiv:2108.13264)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdl.report.intervals import LEVEL, Interval

_RESAMPLES = 5_000
_THRESHOLDS = 101  # of a profile


class Profile(NamedTuple):
    """Performance profile: share of runs above a score, with pointwise 95% intervals.

    Attributes:
      thresholds: Scores [n], ascending.
      shares: [n], 0 to 1, the mean over recipes of the share of runs with a higher score.
      low, high: [n]. Equal to `shares` if a recipe has one run only.
    """

    thresholds: np.ndarray
    shares: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm(scores: Sequence[Sequence[float]]) -> float:
    """Returns the interquartile mean: the mean of all runs without the lowest and highest quarter.

    Args:
      scores: Normalized scores of the runs of each recipe. A recipe with more runs has a larger weight.
    """
    return float(_trimmed(np.concatenate([np.asarray(own, float) for own in scores])[None])[0])


def iqm_interval(scores: Sequence[Sequence[float]], level: float = LEVEL) -> Interval | None:
    """Returns the percentile interval of `iqm` by the stratified bootstrap, which resamples runs within each recipe.

    None if a recipe has one run. With few runs it is too narrow: of normal scores in 5 recipes, the interval of 95%
    covers the mean in 86% of cases with 3 runs per recipe, in 93% with 10.
    """
    if any(len(own) < 2 for own in scores):
        return None
    resampled = np.concatenate(_resample(scores), axis=1)
    low, high = np.quantile(_trimmed(resampled), [0.5 - level / 2, 0.5 + level / 2])
    runs = sum(map(len, scores))
    return Interval(float(low), float(high), f"stratified bootstrap, {runs} runs of {len(scores)} recipes")


def profile(scores: Sequence[Sequence[float]], low: float, high: float, level: float = LEVEL) -> Profile:
    """Returns the performance profile between two scores; the intervals are by the stratified bootstrap."""
    thresholds = np.linspace(low, high, _THRESHOLDS)
    shares = np.mean([_above(np.asarray(own, float)[None], thresholds)[0] for own in scores], axis=0)
    if any(len(own) < 2 for own in scores):
        return Profile(thresholds, shares, shares, shares)
    resampled = np.mean([_above(own, thresholds) for own in _resample(scores)], axis=0)
    ends = np.quantile(resampled, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return Profile(thresholds, shares, *ends)


def _resample(scores: Sequence[Sequence[float]]) -> list[np.ndarray]:
    """Returns resampled scores [resamples, runs] of each recipe."""
    random = np.random.default_rng(0)
    return [np.asarray(own, float)[random.integers(len(own), size=(_RESAMPLES, len(own)))] for own in scores]


def _above(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns shares [resamples, thresholds] of scores [resamples, runs] above each threshold."""
    return np.stack([(scores > threshold).mean(axis=1) for threshold in thresholds], axis=1)


def _trimmed(scores: np.ndarray) -> np.ndarray:
    """Returns means [resamples] of scores [resamples, runs] without a quarter at each end."""
    count = scores.shape[1]
    cut = count // 4
    return np.sort(scores, axis=1)[:, cut : count - cut].mean(axis=1)
