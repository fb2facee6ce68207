"""Search spaces."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from jaxdl.errors import UserError
from jaxdl.search.space import corners, distributions


def test_a_space_gives_distributions():
    axes = distributions(["a=1e-4..1e-2:log", "b=16..64:16", "c=0.0..1.0", "d=x,(1,2)", "e=1..9"])
    assert axes == {
        "a": FloatDistribution(1e-4, 1e-2, log=True),
        "b": IntDistribution(16, 64, step=16),
        "c": FloatDistribution(0.0, 1.0),
        "d": CategoricalDistribution(("x", "(1,2)")),
        "e": IntDistribution(1, 9),
    }
    assert corners(axes) == [
        ["a=0.0001", "b=16", "c=0.0", "d=x", "e=1"],
        ["a=0.01", "b=64", "c=1.0", "d=(1,2)", "e=9"],
    ]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ([], "--trials needs --space"),
        (["a=4..1"], "--space=a=4..1 is not a range"),
        (["a=0..1:log"], "--space=a=0..1:log is not a range"),
        (["a=1,"], "a name or a value is missing"),
        (["a=1..2", "a=3..4"], "--space has 'a' twice"),
    ],
)
def test_invalid_spaces_are_refused(space, message):
    with pytest.raises(UserError, match=message):
        distributions(space)
