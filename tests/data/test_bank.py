"""Queries with a bank: order, features, classes by name, errors."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from jaxdl.data.bank import WithBank, bank_of, training_queries
from jaxdl.data.dataset import Data, origin, with_split
from jaxdl.data.source import ColumnSource
from jaxdl.data.synthetic.images import MockImages
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Labels:
    """Examples with class names, and further features."""

    classes: tuple[str, ...]
    values: tuple[int, ...]
    shape: tuple[int, ...] = (2, 2, 1)
    more: bool = False

    def load(self):
        count = len(self.values)
        columns = {"image": np.zeros((count, *self.shape), np.uint8), "label": np.array(self.values, np.int32)}
        columns |= {"more": np.ones(count)} if self.more else {}
        return ColumnSource(columns, repr(self), {"label": self.classes})


QUERIES = Labels(("cat", "dog"), (0, 1, 1))


def test_queries_come_first_and_classes_of_the_bank_are_matched_by_name():
    source = WithBank(QUERIES, Labels(("dog", "cat"), (0, 1), more=True)).load()
    assert len(source) == 5
    assert source.names == {"label": ("cat", "dog")}
    batch = source.read(np.array([4, 0, 3, 2]))
    np.testing.assert_array_equal(batch["bank"], [1, 0, 1, 0])
    np.testing.assert_array_equal(batch["label"], [0, 0, 1, 1])
    assert set(batch) == {"image", "label", "bank"}


def test_the_fingerprint_depends_on_queries_and_bank():
    bank = Labels(("cat", "dog"), (1,))
    fingerprints = {
        WithBank(*parts).load().fingerprint for parts in ((QUERIES, bank), (QUERIES, QUERIES), (bank, QUERIES))
    }
    assert len(fingerprints) == 3


@pytest.mark.parametrize(
    ("queries", "bank", "message"),
    [
        (QUERIES, replace(QUERIES, shape=(3, 3, 1)), "the bank has the shape"),
        (replace(QUERIES, more=True), QUERIES, "'more' has the shape .* the bank has only image, label"),
        (QUERIES, Labels(("cat", "cow"), (1,)), "cow"),
    ],
)
def test_banks_that_do_not_fit_are_refused(queries, bank, message):
    with pytest.raises(UserError, match=message):
        WithBank(queries, bank).load()


def test_an_empty_bank_is_refused():
    with pytest.raises(UserError, match="0 examples in its bank"):
        WithBank(QUERIES, Labels(("cat", "dog"), ())).load()


def test_another_split_is_one_of_the_queries():
    images = MockImages(examples=4)
    replaced = with_split(WithBank(images, images), "test")
    assert (replaced.corpus.split, replaced.bank.split) == ("test", "train")
    assert origin(replaced) == replaced.corpus


def test_the_bank_of_a_run_is_that_of_its_evaluation():
    train, bank = MockImages(examples=4), MockImages(examples=5)
    assert bank_of(Data(train, {"a": train, "b": WithBank(train, bank)}, 2)) == bank
    assert bank_of(Data(train, {"a": train}, 2)) == train


def test_training_data_are_evaluated_with_the_bank_of_the_evaluation():
    train, bank = MockImages(examples=4), MockImages(examples=5)
    held = MockImages(examples=4, split="validation")
    data = Data(train, {"a": WithBank(held, bank)}, 2)
    assert training_queries(data) == WithBank(replace(held, split="train"), bank)
    assert training_queries(data, "train[:3]") == WithBank(replace(held, split="train[:3]"), bank)
    without = Data(train, {"a": held}, 2)
    assert training_queries(without) is train
    assert training_queries(without, "train[:3]") == replace(train, split="train[:3]")
    unnamed = Labels(("cat",), (0,))  # has no split
    assert training_queries(Data(unnamed, {"a": WithBank(held, bank)}, 2)) is unnamed
