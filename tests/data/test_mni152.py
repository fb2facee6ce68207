import dataclasses
import gzip
import hashlib
import importlib
import zipfile

import numpy as np
import pytest

from benchmarks import baselines
from jaxdl.data.dataset import Dataset
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
mni152 = importlib.import_module("jaxdl.data.builders.mni152")

SHAPE = (197, 233, 189)
RIGHT, FRONT = 30, 200  # a voxel on the left-hand side of the volume's first axis, near the front


def nifti(volume, kind=2):
    """Returns a NIfTI-1 file: little-endian header, 4 bytes of extension, values in Fortran order."""
    header = bytearray(352)
    header[40:56] = np.array([3, *volume.shape, 1, 1, 1, 1], "<i2").tobytes()
    header[70:72] = np.array([kind], "<i2").tobytes()
    header[108:112] = np.array([352], "<f4").tobytes()
    header[344:348] = b"n+1\0"
    return bytes(header) + volume.tobytes(order="F")


def volumes():
    """Returns image, grey and white matter; the intensity of a slice is its height."""
    image = np.broadcast_to(np.arange(SHAPE[2], dtype=np.uint8), SHAPE).copy()
    grey, white = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    grey[RIGHT, FRONT], white[RIGHT, FRONT + 1] = 128, 255
    grey[RIGHT, FRONT + 2], white[RIGHT, FRONT + 2] = 127, 127  # neither is above the threshold
    return image, grey, white


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Puts a wheel with the volumes into JAXDL_SOURCES, with matching digests."""

    def offer(kind=2):
        offered = tmp_path / "offered"
        offered.mkdir()
        members = {}
        with zipfile.ZipFile(offered / "nilearn-0.14.1-py3-none-any.whl", "w") as file:
            for name, volume in zip((mni152.T1, mni152.GREY, mni152.WHITE), volumes()):
                content = nifti(volume, kind)
                file.writestr(name, gzip.compress(content, 1))
                members[name] = hashlib.sha256(content).hexdigest()
        monkeypatch.setenv("JAXDL_SOURCES", str(offered))
        monkeypatch.setattr(mni152, "SOURCE", dataclasses.replace(mni152.SOURCE, members=members))

    return offer


def test_the_built_slices_have_tissue_where_the_maps_do(package):
    package()
    for split in mni152.BLOCKS:
        source = Dataset("mni152", split).load()
        batch = source.read(np.arange(len(source)))
        assert batch["image"].shape[1:] == (192, 160, 1)
        assert source.names["mask"] == ("background", "grey", "white")
        np.testing.assert_array_equal(batch["image"].min((1, 2, 3)), batch["slice"])
        np.testing.assert_array_equal(batch["image"].max((1, 2, 3)), batch["slice"])
        # Rows from front to back, columns along the first axis.
        row, column = 213 - FRONT, RIGHT - 18
        expected = np.zeros((192, 160), np.uint8)
        expected[row, column], expected[row - 1, column] = 1, 2
        for mask in batch["mask"]:
            np.testing.assert_array_equal(mask, expected)


def test_slices_of_training_and_evaluation_are_apart():
    train, validation, test = (np.array(mni152.levels(split)) for split in ("train", "validation", "test"))
    assert [len(train), len(validation), len(test)] == [66, 15, 21]
    assert min(train) >= 2
    assert max(test) < SHAPE[2]
    between = [(train, validation, 7), (train, test, 7), (validation, test, 3)]
    for first, second, gap in between:
        assert np.abs(first[:, None] - second).min() == gap + 1


def test_volumes_of_another_type_are_refused(package):
    package(kind=4)
    with pytest.raises(UserError, match="not a NIfTI-1 volume of bytes"):
        Dataset("mni152", "train").load()


def test_the_baselines_use_intensities_and_position():
    image = np.zeros((2, 9, 5, 1), np.uint8)
    image[1] = 255
    features = baselines.tissue_features(image, np.array([0, 75]))
    np.testing.assert_allclose(features[..., :4], (image / 255).repeat(4, axis=-1), atol=1e-6)
    np.testing.assert_allclose(features[1, [0, 8, 4], [0, 4, 2], 4:], [[-1, 1, 0], [1, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(features[0, ..., 6], -1)
    truth, predicted = np.array([0, 1, 1, 2]), np.array([1, 1, 2, 2])
    np.testing.assert_allclose(baselines.tissue_dice(truth, predicted), [1 / 2, 2 / 3])
