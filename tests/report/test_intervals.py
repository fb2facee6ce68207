"""Intervals over seeds: coverage in simulations, known values, refusals."""

# Results that are None in other cases, and the return types of scipy and flax, are not expressed in types.
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import math

import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.report.intervals import mean_interval, prediction_interval, superiority

SIMULATIONS = 2000


def covered(function, draw, value, count, seed=0):
    """Share of simulations whose interval contains `value(rest)`, with the first `count` of the draws given."""
    random = np.random.default_rng(seed)
    draws = [draw(random, count + 1) for _ in range(SIMULATIONS)]
    return np.mean([function(row[:count]).contains(value(row)) for row in draws])


def normal(random, count):
    return random.normal(3.0, 2.0, count)


@pytest.mark.parametrize("count", [2, 3, 5, 10, 20])
def test_student_interval_covers_the_mean_of_normal_results(count):
    assert 0.93 <= covered(mean_interval, normal, lambda _: 3.0, count) <= 0.97


@pytest.mark.parametrize("count", [2, 5, 10])
def test_prediction_interval_covers_one_more_run(count):
    assert 0.93 <= covered(prediction_interval, normal, lambda row: row[-1], count) <= 0.97


def test_student_interval_covers_less_of_skewed_results():
    def lognormal(random, count):
        return random.lognormal(0.0, 1.0, count)

    shares = [covered(mean_interval, lognormal, lambda _: math.exp(0.5), count) for count in (3, 5, 7)]
    assert all(0.79 <= share <= 0.89 for share in shares)  # the report states 83%


def test_normal_quantiles_would_be_too_narrow():
    def with_normal_quantile(values):
        half = 1.96 * np.std(values, ddof=1) / math.sqrt(len(values))
        return mean_interval(values)._replace(low=np.mean(values) - half, high=np.mean(values) + half)

    assert covered(with_normal_quantile, normal, lambda _: 3.0, 3) < 0.93


def test_one_seed_has_no_interval():
    for function in (mean_interval, prediction_interval):
        assert function([1.0]) is None
        assert function([]) is None


def test_intervals_state_method_and_seeds():
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval is not None
    assert interval.method == "Student's t, 3 seeds"
    assert interval[:2] == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))


@pytest.mark.parametrize("method", ["bca", "trimmed"])
def test_robust_intervals_need_twenty_seeds(method):
    with pytest.raises(UserError, match=f"interval '{method}' needs 20 seeds, not 19; use 't'"):
        mean_interval(range(19), method)
    values = np.append(np.random.default_rng(0).normal(size=24), 1000.0)
    interval = mean_interval(values, method)
    assert "25 seeds" in interval.method
    assert interval.low < np.median(values) < interval.high
    if method == "trimmed":
        assert interval.high < 1
    with pytest.raises(UserError, match=r"interval 'bc' is unknown; .*bca"):
        mean_interval(values, "bc")


def test_superiority_is_the_share_of_pairs_with_an_interval():
    share, interval = superiority([1.0, 2.0, 3.0], [0.0, 2.0])
    assert share == pytest.approx((6 - 2 + 0.5) / 6)
    assert 0 < interval.low < share < interval.high < 1
    share, interval = superiority([1.0, 2.0, 3.0], [0.0, 0.5, 0.7])
    assert (share, interval.high) == (1.0, 1.0)
    assert 0.3 < interval.low < 0.8
    random = np.random.default_rng(1)
    draws = [superiority(random.normal(1, 1, 6), random.normal(0, 1, 6))[1] for _ in range(300)]
    exact = 0.5 * (1 + math.erf(1 / math.sqrt(2) / math.sqrt(2)))
    assert np.mean([interval.contains(exact) for interval in draws]) > 0.92
