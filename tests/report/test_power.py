"""Number of seeds: power in simulations, pooled spread."""

# Results that are None in other cases, and the return types of scipy and flax, are not expressed in types.
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.report.comparisons import compare
from jaxdl.report.power import power, seeds_needed, spread


@pytest.mark.parametrize(("seeds", "paired"), [(4, False), (5, True), (5, False)])
def test_power_is_that_of_the_reports_t_tests(seeds, paired):
    random, hits, simulations = np.random.default_rng(0), 0, 1500
    effect, std = 2.0, 1.0
    for _ in range(simulations):
        first, second = random.normal(effect, std, seeds), random.normal(0, std, seeds)
        keys = range(seeds), range(seeds) if paired else range(100, 100 + seeds)
        found = compare(*(dict(zip(names, values)) for names, values in zip(keys, (first, second))))
        hits += found.p < 0.05
    exact = power(effect, std * np.sqrt(2) if paired else std, seeds, paired)
    assert hits / simulations == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("paired", [False, True])
def test_seeds_needed_is_the_smallest_number_with_the_power(paired):
    for effect in (0.3, 1.0, 3.0):
        needed = seeds_needed(effect, 1.0, paired)
        assert needed is not None
        assert power(effect, 1.0, needed, paired) >= 0.8
        assert needed == 2 or power(effect, 1.0, needed - 1, paired) < 0.8
    assert seeds_needed(0.5, 1.0) == 64  # Cohen's table for d = 0.5
    assert seeds_needed(0.001, 1.0, paired) is None
    assert seeds_needed(0.1, 0.0, paired) == 2


def test_the_spread_is_pooled_over_groups():
    found = spread([[1.0, 2.0, 3.0], [10.0, 12.0], [5.0]])
    assert found.value == pytest.approx(np.sqrt((2 + 2) / 3))
    assert found.freedom == 3
    assert found.low < found.value < found.high
    random = np.random.default_rng(0)
    draws = [spread([random.normal(0, 2, 4)]) for _ in range(400)]
    assert np.mean([draw.low <= 2 <= draw.high for draw in draws]) == pytest.approx(0.95, abs=0.03)
    with pytest.raises(UserError, match="needs two finished runs that differ only by their seed"):
        spread([[1.0], [2.0]])
