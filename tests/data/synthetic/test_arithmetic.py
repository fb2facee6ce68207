"""Modular addition: all pairs, correct sums, and refusals."""

import numpy as np
import pytest

from jaxdl.data.synthetic.arithmetic import SPLITS, ModularAddition
from jaxdl.errors import UserError


def test_modular_addition_divides_all_pairs():
    parts = [ModularAddition(11, 0.3, split).load() for split in SPLITS]
    assert [len(part) for part in parts] == [36, 42, 43]
    pairs = []
    for part in parts:
        batch = part.read(np.arange(len(part)))
        first, second, equals = batch["tokens"].T
        np.testing.assert_array_equal(batch["label"], (first + second) % 11)
        assert set(equals) == {11}
        pairs += zip(first.tolist(), second.tolist())
    assert len(set(pairs)) == 121
    with pytest.raises(UserError, match="modulus=1"):
        ModularAddition(1)
    with pytest.raises(UserError, match=r"share=1\.0"):
        ModularAddition(share=1.0)
    with pytest.raises(UserError, match="split 'train' is empty"):
        ModularAddition(2, 0.1).load()
