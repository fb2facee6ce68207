"""Tests of class numbers of evaluation data: mapping by name, and refusal."""

import numpy as np
import pytest

from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.labels import align
from jaxdl.data.source import ColumnSource
from jaxdl.data.summary import summarize
from jaxdl.errors import UserError
from jaxdl.training.sources import load_sources


def source(feature, values, names):
    columns = {feature: np.array(values), "image": np.zeros((len(values), 1))}
    return ColumnSource(columns, "0" * 64, {feature: names})


def test_labels_of_an_evaluation_are_mapped_by_name(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\na\tneg\nb\tneu\nc\tpos\n")
    (tmp_path / "val.tsv").write_text("text\tlabel\nd\tpos\ne\tneg\n")
    train, val = (Dataset(f"labelled:{tmp_path}/{name}.tsv", "train") for name in ("train", "val"))
    sources = load_sources(Data(train, {"val": val}, batch_size=1))
    batch = sources.evals["val"].read(np.array([0, 1]))
    assert dict(zip(batch["text"], batch["label"].tolist())) == {b"d": 2, b"e": 0}
    assert batch["label"].dtype == np.int32
    assert sources.evals["val"].names["label"] == ("neg", "neu", "pos")
    assert sources.evals["val"].fingerprint != val.load().fingerprint
    assert summarize("val", sources.evals["val"]) == ["val: 2 examples; neg: 1, neu: 0, pos: 1"]


def test_a_class_that_training_lacks_is_refused():
    with pytest.raises(UserError, match=r"'val' has the class 'ant' in 'label', which training lacks .*cat, dog"):
        align(source("label", [0], ("ant", "cat")), {"label": ("cat", "dog")}, "val")


def test_equal_names_keep_the_source():
    original = source("label", [0, 1], ("cat", "dog"))
    assert align(original, {"label": ["cat", "dog"]}, "val") is original
    assert align(original, {}, "val") is original


@pytest.mark.parametrize(
    ("feature", "values", "expected"),
    [
        ("objects/label", np.array([[0, 1, -1]], np.int32), [[1, 0, -1]]),
        ("mask", np.array([[[0, 1, 255]]], np.uint8), [[[1, 0, 255]]]),
    ],
)
def test_classes_of_objects_and_masks_are_mapped_by_name(feature, values, expected):
    aligned = align(source(feature, values, ("dog", "cat")), {feature: ("cat", "dog")}, "val")
    read = aligned.read(np.array([0]))[feature]
    assert read.tolist() == expected
    assert read.dtype == values.dtype
