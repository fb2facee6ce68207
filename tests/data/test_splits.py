import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.splits import fold, parse_split
from jaxdl.errors import UserError


@pytest.mark.parametrize(
    ("number", "of", "expected"),
    [
        (0, 5, ("train[20%:]", "train[:20%]")),
        (2, 5, ("train[:40%]+train[60%:]", "train[40%:60%]")),
        (4, 5, ("train[:80%]", "train[80%:]")),
        (1, 8, ("train[:12.5%]+train[25%:]", "train[12.5%:25%]")),
        (1, 3, ("train[:33.3333333333%]+train[66.6666666667%:]", "train[33.3333333333%:66.6666666667%]")),
        (1, 2, ("train[:50%]", "train[50%:]")),
    ],
)
def test_folds_use_the_split_syntax(number, of, expected):
    assert fold("train", number, of) == expected


def chosen(split, count):
    ranges = parse_split(split, {"train": count}, "set")
    return np.concatenate([np.arange(part.start, part.stop) for part in ranges])


@given(st.data())
def test_folds_partition_any_count(data):
    of = data.draw(st.integers(2, 40))
    count = data.draw(st.integers(of, 20_000))
    tests = []
    for number in range(of):
        train, test = (chosen(split, count) for split in fold("train", number, of))
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(count))
        tests.append(test)
    np.testing.assert_array_equal(np.concatenate(tests), np.arange(count))
    assert {len(test) for test in tests} <= {count // of, -(-count // of)}


@given(of=st.integers(2, 1000), count=st.integers(10**8, 10**9), data=st.data())
def test_folds_of_large_sets_share_exact_boundaries(of, count, data):
    number = data.draw(st.integers(0, of - 1))
    (test,) = parse_split(fold("train", number, of)[1], {"train": count}, "set")
    assert abs(test.start - number * count / of) <= 1
    assert abs(test.stop - (number + 1) * count / of) <= 1


@pytest.mark.parametrize(
    ("split", "number", "of", "message"),
    [
        ("train", 5, 5, "use 0 to 4"),
        ("train", -1, 5, "fold -1 of 5 does not exist"),
        ("train", 0, 1, "at least 2 folds"),
        ("train[:50%]", 0, 5, "the name of one split"),
        ("train+test", 0, 5, "the name of one split"),
        ("all", 0, 5, "the name of one split"),
    ],
)
def test_folds_that_do_not_exist_are_user_errors(split, number, of, message):
    with pytest.raises(UserError, match=message):
        fold(split, number, of)


def test_more_folds_than_examples_are_a_user_error():
    with pytest.raises(UserError, match="is empty or out of range"):
        [chosen(fold("train", number, 5)[1], 3) for number in range(5)]
