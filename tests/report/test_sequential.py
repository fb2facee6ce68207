"""Repeated looks at growing numbers of seeds: type-I error in simulations, known boundaries, plans."""

# Results that are None in other cases, and the return types of scipy, are not expressed in types.
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportAttributeAccessIssue=false
# pyright: reportOperatorIssue=false

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtri

from jaxdl.errors import UserError
from jaxdl.report import comparisons, sequential
from jaxdl.report.comparisons import compare, compare_all
from jaxdl.report.power import seeds_needed
from jaxdl.report.sequential import look_at, nominal_levels, parse, plan

LOOKS = (3, 6, 9, 12)


def p_values(looks, paired: bool, simulations: int) -> np.ndarray:
    """Returns p-values [simulations, looks] of t-tests of simulated groups without a difference."""
    first, second = np.random.default_rng(1).normal(size=(2, simulations, looks[-1]))
    test = stats.ttest_rel if paired else lambda a, b, axis: stats.ttest_ind(a, b, axis=axis, equal_var=False)
    return np.stack([test(first[:, :n], second[:, :n], axis=1).pvalue for n in looks], axis=1)


@pytest.mark.parametrize("looks", [LOOKS, (2, 3, 4, 5)])
@pytest.mark.parametrize("paired", [True, False])
def test_the_error_over_all_looks_is_at_most_5_percent(monkeypatch, looks, paired):
    p = p_values(looks, paired, 60_000)

    def error() -> float:
        levels = [look_at(seeds, looks, paired).level() for seeds in looks]
        return float((p < levels).any(axis=1).mean())

    noise = np.sqrt(0.05 * 0.95 / len(p))
    assert 0.035 < error() < 0.05 + 2 * noise
    assert (p < 0.05).any(axis=1).mean() > 0.09  # the test for one look, at every look
    monkeypatch.setattr(sequential, "_errors", lambda seeds, paired: sequential._LEVELS)  # of normal values
    assert not paired or error() > 0.05 + 2 * noise


def family_wise_error(groups=3, simulations=500):
    """Share of simulations of equal groups in which any comparison is significant at any look."""
    random, wrong = np.random.default_rng(0), 0
    for _ in range(simulations):
        runs = random.normal(size=(groups, 5))
        for seeds in (2, 3, 5):
            results = [dict(enumerate(own[:seeds].tolist())) for own in runs]
            found = compare_all(results, looks=(2, 3, 5))
            if any(comparison.adjusted is not None and comparison.adjusted < 0.05 for comparison in found.values()):
                wrong += 1
                break
    return wrong / simulations


def test_false_discoveries_over_looks_and_comparisons_are_rare(monkeypatch):
    assert family_wise_error() < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 500)
    monkeypatch.setattr(comparisons, "look_at", lambda seeds, looks, paired: None)
    assert family_wise_error() > 0.1


def test_boundaries_are_those_of_ldbounds():
    """R's ldBounds(t = (1:4) / 4, iuse = 1, alpha = 0.05)."""
    boundaries = -ndtri(np.array(nominal_levels((0.25, 0.5, 0.75, 1.0))) / 2)
    np.testing.assert_allclose(boundaries, [4.3326, 2.9631, 2.3590, 2.0141], atol=2e-4)
    assert nominal_levels((1.0,)) == (pytest.approx(0.05),)


def test_adjusted_p_values_invert_the_levels():
    for seeds in (6, 9, 12):
        look = look_at(seeds, LOOKS, paired=True)
        for alpha in (0.001, 0.05, 0.3):
            assert look.adjusted(look.level(alpha)) == pytest.approx(alpha, rel=1e-2)
        assert look.adjusted(1.0) == 1.0
        values = [look.adjusted(p) for p in np.linspace(0, 1, 50)]
        assert values == sorted(values)
        assert all(value >= p for value, p in zip(values, np.linspace(0, 1, 50)))
    assert look_at(12, (12,)).adjusted(0.03) == pytest.approx(0.03, rel=3e-2)


def test_looks_need_not_be_at_the_planned_seeds():
    assert look_at(7, LOOKS).seeds == (3, 6, 7, 9, 12)
    assert str(look_at(7, LOOKS)) == "look 3 of 5"
    assert str(look_at(9, LOOKS)) == "look 3 of 4"
    early = look_at(2, (20, 40, 1000))  # spends nothing
    assert (early.level(), early.adjusted(1e-12)) == (0.0, 1.0)
    with pytest.raises(UserError, match="--looks plans 12 seeds per group, but 13 are finished"):
        look_at(13, LOOKS)


@pytest.mark.parametrize("text", ["", "3,2", "1,2", "3,x", "3,3", "3.5"])
def test_invalid_looks_are_refused(text):
    with pytest.raises(UserError, match="are not ascending numbers of seeds"):
        parse(text)


def test_a_comparison_at_a_look_is_stricter_than_a_single_one():
    random = np.random.default_rng(0)
    first, second = (dict(enumerate(random.normal(mean, 1, size=6).tolist())) for mean in (2.0, 0.0))
    single, repeated = compare(first, second), compare(first, second, looks=parse("3,6,9,12"))
    assert repeated.p > single.p
    assert repeated.interval.low < single.interval.low < single.interval.high < repeated.interval.high
    assert repeated.test == f"{single.test}, look 2 of 4"
    last = compare(first, second, looks=(6,))
    assert last.p == pytest.approx(single.p, rel=0.1)


def test_a_plan_keeps_the_power_and_saves_seeds():
    effect = 1.3
    needed = seeds_needed(effect, 1.0)
    assert needed is not None
    seeds, expected = plan(needed, 4)
    assert needed <= seeds[-1] <= needed + 2
    assert expected < 0.9 * seeds[-1]
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, 4000, seeds[-1]))
    hits = np.zeros(4000, bool)
    for count in seeds:
        p = stats.ttest_ind(first[:, :count] + effect, second[:, :count], axis=1, equal_var=False).pvalue
        hits |= p < look_at(count, seeds).level()
    assert hits.mean() > 0.77
    assert plan(2, 4).seeds == (2, 3)
