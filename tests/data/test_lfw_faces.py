import dataclasses
import hashlib
import importlib
import io
import zipfile

import numpy as np
import pytest

from jaxdl.data.dataset import Dataset
from jaxdl.data.splits import fold
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
lfw_faces = importlib.import_module("jaxdl.data.builders.lfw_faces")


def values(count=200):
    """Returns constant images [count, 25, 25]: even values in the first half, then odd ones."""
    half = np.arange(count // 2)
    return np.repeat(np.concatenate([2 * half, 2 * half + 1]) / 255, 625).reshape(count, 25, 25)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Puts a wheel with 200 such images into JAXDL_SOURCES, with a matching digest."""
    offered = tmp_path / "offered"
    offered.mkdir()
    content = io.BytesIO()
    np.save(content, values())
    with zipfile.ZipFile(offered / "scikit_image-0.26.0-cp311-cp311-manylinux_2_28_x86_64.whl", "w") as file:
        file.writestr(lfw_faces.MEMBER, content.getvalue())
    monkeypatch.setenv("JAXDL_SOURCES", str(offered))
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    source = dataclasses.replace(lfw_faces.SOURCE, members={lfw_faces.MEMBER: digest})
    monkeypatch.setattr(lfw_faces, "SOURCE", source)


def test_every_fifth_is_balanced_and_every_image_occurs_once(package):
    source = Dataset("lfw_faces", "train").load()
    batch = source.read(np.arange(len(source)))
    assert source.names["label"] == ("not a face", "face")
    assert source.in_memory
    assert batch["image"].shape == (200, 25, 25, 1)
    assert batch["image"].dtype == np.uint8
    grey = batch["image"][:, 0, 0, 0]
    np.testing.assert_array_equal(np.sort(grey), np.arange(200))
    np.testing.assert_array_equal(batch["label"], 1 - grey % 2)  # faces have even values here
    assert (np.diff(grey[::2].astype(int)) < 0).any()  # a random order, unlike that of the file
    for number in range(5):
        train, test = (Dataset("lfw_faces", split).load() for split in fold("train", number, 5))
        assert (len(train), len(test)) == (160, 40)
        np.testing.assert_array_equal(np.bincount(test.read(np.arange(40))["label"]), [20, 20])


def test_the_order_is_fixed():
    images, labels = lfw_faces.interleave(values(8))
    repeated, _ = lfw_faces.interleave(values(8))
    np.testing.assert_array_equal(images, repeated)
    np.testing.assert_array_equal(labels, [1, 0] * 4)


def test_grey_values_are_scaled_to_255_and_rounded():
    images, _ = lfw_faces.interleave(np.array([1.0, 0.5 / 255 + 1e-6]).reshape(2, 1, 1))
    assert images.ravel().tolist() == [255, 1]


def test_a_different_file_is_refused(package, monkeypatch):
    expected = "0" * 64
    source = dataclasses.replace(lfw_faces.SOURCE, members={lfw_faces.MEMBER: expected})
    monkeypatch.setattr(lfw_faces, "SOURCE", source)
    with pytest.raises(UserError, match=expected):
        Dataset("lfw_faces", "train").load()
