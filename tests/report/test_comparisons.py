"""Comparisons of groups: error rates in simulations, pairing, known values."""

# Results that are None in other cases, and the return types of scipy and flax, are not expressed in types.
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import math

import numpy as np
import pytest
from scipy import stats

from jaxdl.report import comparisons
from jaxdl.report.comparisons import compare, compare_all, holm


def results(values, first=0):
    return {first + number: float(value) for number, value in enumerate(values)}


def family_wise_error(seeds, groups=4, simulations=250):
    """Share of simulations of equal groups in which any comparison is significant at 5%."""
    random, wrong = np.random.default_rng(0), 0
    for _ in range(simulations):
        found = compare_all([results(random.normal(size=seeds), 100 * group) for group in range(groups)])
        wrong += any(comparison.adjusted < 0.05 for comparison in found.values())
    return wrong / simulations


def test_false_discoveries_among_several_groups_are_rare(monkeypatch):
    assert family_wise_error(5) < 0.06
    monkeypatch.setattr(comparisons, "holm", lambda values: list(values))  # without the correction
    assert family_wise_error(5) > 0.08


@pytest.mark.parametrize("pairs", [4, 7])
def test_power_of_paired_comparisons_is_that_of_the_t_test(pairs):
    random, hits, effect = np.random.default_rng(0), 0, 1.5
    for _ in range(400):
        shared, noise = random.normal(0, 3, pairs), random.normal(0, 1, (2, pairs))
        hits += compare(results(shared + effect + noise[0]), results(shared + noise[1])).p < 0.05
    shift = effect / math.sqrt(2) * math.sqrt(pairs)
    quantile = stats.t.ppf(0.975, pairs - 1)
    power = stats.nct.sf(quantile, pairs - 1, shift) + stats.nct.cdf(-quantile, pairs - 1, shift)
    assert hits / 400 == pytest.approx(power, abs=0.08)  # exact tests have steps


def test_runs_are_paired_by_seed():
    first, second = results([0.5, 0.7, 0.6, 0.9]), results([0.4, 0.6, 0.5, 0.81])
    found = compare(first, dict(reversed(second.items())))
    assert (found.pairs, found.test) == (4, "paired t, 4 pairs")
    assert found.correlation == pytest.approx(1.0, abs=0.01)
    assert compare(first, results([0.4, 0.6, 0.5, 0.8], first=10)).pairs == 0
    assert compare(first, {**second, 9: 0.5}).pairs == 4
    assert compare(first, {0: 0.4, 7: 0.6, 8: 0.1}).pairs == 0


def test_values_match_scipy():
    random = np.random.default_rng(2)
    a, b = random.normal(size=5), random.normal(1, 2, size=5)
    paired, free = compare(results(a), results(b)), compare(results(a), results(b, 50))
    assert paired.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert free.p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert paired.interval is not None
    assert paired.interval[:2] == pytest.approx(tuple(stats.ttest_rel(a, b).confidence_interval()))
    assert paired.difference == pytest.approx(a.mean() - b.mean())
    spread = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    assert free.effect == pytest.approx((a.mean() - b.mean()) / spread * (1 - 3 / 31))


def test_tests_are_exact_from_six_seeds_on():
    signs = compare(results([1.0, 2, 3, 4, 5, 6]), results([0.5, 1.4, 2.3, 3.2, 4.1, 5.0]))
    assert (signs.p, signs.attainable, signs.test) == (2 / 64, 2 / 64, "sign flips, 6 pairs")
    orders = compare(results(range(10, 16)), results(range(6), 50))
    assert orders.p == pytest.approx(2 / math.comb(12, 6))
    assert orders.attainable == pytest.approx(2 / math.comb(12, 6))


def test_one_seed_and_equal_results_have_no_test():
    assert compare({0: 1.0}, {0: 2.0}).p is None
    found = compare(results([1.0, 1.0]), results([0.9, 0.9]))
    assert (found.p, found.interval, found.test) == (None, None, "no t-test: the pairs do not vary")
    equal = compare(results([1.0] * 6), results([1.0] * 6))
    assert equal.p == 1.0
    assert compare(results([1.0] * 6), results([0.5] * 6)).p == 2 / 64


def test_a_reference_is_compared_with_all_others():
    groups = [results([1.0, 2.0]), {}, results([2.0, 4.0]), results([0.0, 5.0])]
    assert set(compare_all(groups)) == {(0, 2), (0, 3), (2, 3)}
    assert set(compare_all(groups, against=2)) == {(0, 2), (3, 2)}
    assert compare_all(groups, against=1) == {}


def test_holm_multiplies_the_smallest_value_by_the_number_of_tests():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
