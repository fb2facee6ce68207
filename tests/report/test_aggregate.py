"""Interquartile means, performance profiles, and their stratified bootstrap."""

import numpy as np
import pytest
from scipy import stats

from jaxdl.report import aggregate
from jaxdl.report.aggregate import iqm, iqm_interval, profile


def test_the_interquartile_mean_is_the_trimmed_mean_of_all_runs():
    random = np.random.default_rng(0)
    for runs in (3, 4, 7):
        scores = random.normal(size=(5, runs))
        assert iqm(list(scores)) == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))
    assert iqm([[0.0, 100.0], [1.0, 2.0, 3.0, -50.0]]) == pytest.approx(1.5)


def coverage(runs: int, simulations: int = 400) -> float:
    """Share of simulated intervals that cover the true interquartile mean, of normal scores in five recipes."""
    centers = np.array([0.2, 0.4, 0.5, 0.6, 0.8])[:, None]
    random = np.random.default_rng(1)
    truth = float(np.mean([iqm(list(centers + random.normal(0, 0.2, size=(5, runs)))) for _ in range(4000)]))
    hits = 0
    for _ in range(simulations):
        interval = iqm_interval(list(centers + random.normal(0, 0.2, size=(5, runs))))
        assert interval is not None
        hits += interval.contains(truth)
    return hits / simulations


def test_coverage_of_the_stratified_bootstrap(monkeypatch):
    monkeypatch.setattr(aggregate, "_RESAMPLES", 400)
    assert 0.90 < coverage(10) < 0.97
    assert coverage(3) < 0.92  # the documentation warns of few runs


def test_a_bootstrap_that_does_not_stratify_is_wider(monkeypatch):
    scores = [[0.1, 0.11, 0.12], [0.5, 0.51, 0.52], [0.9, 0.91, 0.92]]
    interval = iqm_interval(scores)
    assert interval is not None
    assert interval.high - interval.low < 0.05
    pooled = [np.concatenate(scores)]
    monkeypatch.setattr(aggregate, "_resample", lambda scores: [np.random.default_rng(0).choice(pooled[0], (5000, 9))])
    wide = iqm_interval(scores)
    assert wide is not None
    assert wide.high - wide.low > 0.2


def test_a_recipe_with_one_run_has_no_interval():
    assert iqm_interval([[0.1, 0.2], [0.5]]) is None
    found = profile([[0.1, 0.2], [0.5]], 0.0, 1.0)
    assert np.array_equal(found.low, found.shares)


def test_a_profile_is_the_mean_share_of_runs_above_each_score():
    found = profile([[0.2, 0.4], [0.6, 0.6, 0.6, 0.8]], 0.0, 1.0)
    at = dict(zip(found.thresholds.round(2), found.shares))
    assert (at[0.0], at[0.3], at[0.5], at[0.7], at[1.0]) == (1.0, 0.75, 0.5, 0.125, 0.0)
    assert at[0.2] == 0.75  # above, not at, the threshold
    assert (np.diff(found.shares) <= 0).all()
    assert ((found.low <= found.shares) & (found.shares <= found.high)).all()
