"""Tests of synthetic arithmetic: content, disjoint splits, invalid settings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.synthetic.arithmetic import SPLITS, AddingProblem, DigitAddition, split_of
from jaxdl.errors import UserError


@settings(max_examples=30, deadline=None)
@given(length=st.integers(2, 40), examples=st.integers(1, 60), seed=st.integers(0, 2**31 - 1))
def test_the_target_of_the_adding_problem_is_the_sum_of_two_marked_numbers(length, examples, seed):
    columns = AddingProblem(length, examples, seed).load().columns
    inputs, target = columns["inputs"], columns["target"]
    assert inputs.shape == (examples, length, 2)
    assert inputs.dtype == target.dtype == np.float32
    numbers, markers = inputs[..., 0], inputs[..., 1]
    assert np.all((numbers >= 0) & (numbers < 1))
    assert set(np.unique(markers)) <= {0, 1}
    np.testing.assert_array_equal(markers[:, : length // 2].sum(1), 1)
    np.testing.assert_array_equal(markers[:, length // 2 :].sum(1), 1)
    np.testing.assert_allclose(target, (numbers * markers).sum(1), rtol=1e-6)


def test_the_constant_predictor_of_the_adding_problem_has_mse_one_sixth():
    target = AddingProblem(10, 40_000).load().columns["target"]
    assert abs(np.mean((target - 1.0) ** 2) - 1 / 6) < 0.003


def test_every_step_may_be_marked():
    markers = AddingProblem(7, 2000).load().columns["inputs"][..., 1].sum(0)
    assert np.all(markers[:3] > 550)
    assert np.all(markers[3:] > 400)


def test_splits_and_seeds_of_the_adding_problem_differ_and_are_reproducible():
    sources = [AddingProblem(5, 4, seed, split).load() for seed in (0, 1) for split in SPLITS]
    repeated = AddingProblem(5, 4, 0, "train").load()
    np.testing.assert_array_equal(sources[0].columns["inputs"], repeated.columns["inputs"])
    assert sources[0].fingerprint == repeated.fingerprint
    assert len({source.fingerprint for source in sources}) == 6
    assert len({source.columns["target"].tobytes() for source in sources}) == 6


def test_a_smaller_set_is_a_prefix_of_a_larger_one():
    smaller, larger = (AddingProblem(6, count).load().columns for count in (3, 9))
    np.testing.assert_array_equal(smaller["inputs"], larger["inputs"][:3])


def read(source):
    """Returns {(first, second): sum} of a `DigitAddition`."""
    rows = source.read(np.arange(len(source)))
    pairs = [tuple(map(int, text.split(b"+"))) for text in rows["source"]]
    return dict(zip(pairs, map(int, rows["target"])))


@settings(max_examples=20, deadline=None)
@given(digits=st.integers(1, 9), seed=st.integers(0, 2**31 - 1), split=st.sampled_from(SPLITS))
def test_sums_are_correct_and_examples_distinct(digits, seed, split):
    sums = read(DigitAddition(digits, 5, split, seed).load())
    assert len(sums) == 5
    assert all(a + b == total for (a, b), total in sums.items())
    assert all(0 <= number < 10**digits for pair in sums for number in pair)


def test_splits_are_disjoint_in_any_order_at_any_seed():
    held = {split: set() for split in SPLITS}
    for split in SPLITS:
        for seed in (0, 1):
            for digits in (1, 2):
                sums = read(DigitAddition(digits, 5 if digits == 1 else 700, split, seed).load())
                held[split] |= {tuple(sorted(pair)) for pair in sums}
    assert not held["train"] & held["validation"]
    assert not held["train"] & held["test"]
    assert not held["validation"] & held["test"]


def test_splits_partition_all_pairs_with_a_tenth_held_out_each():
    first, second = np.divmod(np.arange(1_000_000), 1000)
    splits = split_of(first, second)
    shares = np.bincount(splits) / 1e6
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.002)
    np.testing.assert_array_equal(splits, split_of(second, first))


def test_numbers_are_uniform():
    sums = read(DigitAddition(3, 4000).load())
    first = np.array([pair[0] for pair in sums])
    assert abs(first.mean() - 499.5) < 20
    assert abs((first >= 100).mean() - 0.9) < 0.02


def test_numbers_have_no_leading_zeros():
    source = DigitAddition(2, 300).load()
    for row in source.columns["source"]:
        assert all(str(int(number)).encode() == number for number in bytes(row).split(b"+"))


def test_too_many_pairs_are_refused():
    with pytest.raises(UserError, match=r"exceeds the \d+ pairs") as caught:
        DigitAddition(1, 60, "test").load()
    assert "\n" not in str(caught.value)
    parts = [split_of(np.arange(100) // 10, np.arange(100) % 10) == number for number in range(3)]
    assert len(DigitAddition(1, int(parts[0].sum())).load()) == parts[0].sum()


@pytest.mark.parametrize(
    "make",
    [
        lambda: AddingProblem(length=1),
        lambda: AddingProblem(examples=0),
        lambda: AddingProblem(split="train[:5]"),
        lambda: DigitAddition(digits=0),
        lambda: DigitAddition(digits=10),
        lambda: DigitAddition(examples=0),
        lambda: DigitAddition(split="valid"),
    ],
)
def test_invalid_settings_are_refused(make):
    with pytest.raises(UserError):
        make()
