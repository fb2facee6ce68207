"""Variance decomposition: known shares, designs, intervals."""

# Results that are None in other cases, and the return types of scipy and flax, are not expressed in types.
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import itertools

import numpy as np
import pytest

from jaxdl.report.decomposition import SOURCES, decompose, describe, design


def draws(stds, levels=5, simulations=1, seed=0):
    """Runs of a design whose sources have the standard deviations `stds`, the rest last."""
    random = np.random.default_rng(seed)
    for _ in range(simulations):
        effects = {source: random.normal(0, std, levels) for source, std in zip(SOURCES, stds)}
        yield [
            (seeds, sum(effects[source][seeds[source]] for source in SOURCES) + random.normal(0, stds[-1]))
            for seeds in design(levels)
        ]


@pytest.mark.parametrize("levels", [5, 7])
def test_every_pair_of_seeds_of_two_sources_occurs_once(levels):
    runs = design(levels)
    assert len(runs) == levels**2
    for first, second in itertools.combinations(SOURCES, 2):
        assert len({(seeds[first], seeds[second]) for seeds in runs}) == levels**2


def test_known_shares_are_found():
    stds = (2.0, 1.0, 0.0, 1.0, 1.0)
    truth = np.square(stds) / np.sum(np.square(stds))
    found = [decompose(runs) for runs in draws(stds, levels=7, simulations=120)]
    shares = np.array([[share.share for share in one.shares] for one in found])
    np.testing.assert_allclose(shares.sum(1), 1.0)
    np.testing.assert_allclose(shares.mean(0), truth, atol=0.08)
    inside = [[share.low <= true <= share.high for share, true in zip(one.shares, truth)] for one in found]
    assert np.mean(inside, axis=0).min() > 0.8
    np.testing.assert_allclose(np.mean([one.std for one in found]), np.sqrt(np.sum(np.square(stds))), rtol=0.1)


def test_other_runs_have_no_decomposition():
    (runs,) = draws((1.0, 1.0, 1.0, 1.0, 1.0))
    assert decompose(runs[:-1]) is None
    assert decompose([({"init": seed}, float(seed)) for seed in range(5)]) is None
    assert decompose([]) is None
    assert decompose([(seeds, 1.0) for seeds, _ in runs]) is None


def test_a_decomposition_is_one_line():
    (runs,) = draws((1.0, 1.0, 1.0, 1.0, 1.0))
    text = describe(decompose(runs))
    assert text.startswith("initialization ")
    assert text.endswith("; 25 runs")
    assert text.count("% to ") == 5
