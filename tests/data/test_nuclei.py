import dataclasses
import hashlib
import importlib
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from benchmarks import baselines
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.pipeline import Batches
from jaxdl.data.store.tfds import tensorflow_datasets

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
nuclei = importlib.import_module("jaxdl.data.builders.nuclei")

BORDERS = [nuclei.COLUMNS[split][0] for split in ("validation", "test")]


def micrograph():
    """Returns nuclei of 10 x 10 pixels on noise, numbered from 7; one extends beyond a border."""
    random = np.random.default_rng(0)
    image = random.integers(0, 50, (512, 512)).astype(np.uint16)
    instances = np.zeros((512, 512), np.uint16)
    for number, (top, left) in enumerate([(0, 0), (40, 100), (40, 110), (100, 300), (200, 400), (300, 502)]):
        instances[top : top + 10, left : left + 10] = 7 + 3 * number
    instances[400:410, BORDERS[0] - 5 : BORDERS[0] + 5] = 90  # 50 pixels on each side
    instances[450:460, BORDERS[1] - 8 : BORDERS[1] + 1] = 91  # 80 and 10
    image[instances > 0] += 60
    image[500:, 500:] = 60_000  # in the test part only
    return image, instances


def test_the_splits_partition_the_micrograph():
    ends = list(nuclei.COLUMNS.values())
    assert ends[0][0] == 0
    assert ends[-1][1] == 512
    assert [stop for _, stop in ends[:-1]] == [start for start, _ in ends[1:]]
    assert all(column % 16 == 0 for part in ends for column in part)
    image, instances = micrograph()
    splits = nuclei.parts(image, instances)
    joined = np.concatenate([splits[split]["mask"] for split in ("train", "validation", "test")], axis=1)
    np.testing.assert_array_equal(joined, instances > 0)


def test_grey_values_are_scaled_by_the_training_split():
    image, instances = micrograph()
    splits = nuclei.parts(image, instances)
    image[500:, 500:] = 0
    for split, part in nuclei.parts(image, instances).items():
        differs = part["image"] != splits[split]["image"]
        assert differs.sum() == (144 if split == "test" else 0)  # 12 x 12 pixels
    low, high = np.percentile(image[:, : BORDERS[0]], [1, 99.8])
    grey = splits["train"]["image"]
    assert grey.dtype == np.uint8
    assert (grey.min(), grey.max()) == (0, 255)
    expected = 255 * (image[250, 50] - low) / (high - low)
    assert abs(float(grey[250, 50, 0]) - expected) <= 0.5
    assert splits["test"]["image"][511, -1, 0] == 255  # cropped at the border


def test_cut_nuclei_are_objects_on_both_sides_except_slivers():
    splits = nuclei.parts(*micrograph())
    assert {split: int(part["instances"].max()) for split, part in splits.items()} == {
        "train": 4,
        "validation": 3,
        "test": 2,
    }
    dropped = splits["test"]["instances"][450:460, 0]
    assert not dropped.any()
    assert splits["test"]["mask"][450:460, 0].all()
    assert np.bincount(splits["validation"]["instances"].ravel())[1:].tolist() == [100, 50, 80]


@given(arrays.arrays(np.uint16, (9, 12), elements=st.sampled_from([0, 3, 4, 70, 65535])), st.integers(1, 30))
def test_relabelling_renumbers_objects(instances, smallest):
    renumbered = nuclei.relabelled(instances, smallest)
    assert renumbered.dtype == np.int32
    assert set(np.unique(renumbered)) - {0} == set(range(1, renumbered.max() + 1))
    for number in set(np.unique(instances)) - {0}:
        where = instances == number
        values = np.unique(renumbered[where])
        assert len(values) == 1
        assert (values[0] > 0) == (where.sum() >= smallest)
        if values[0]:
            np.testing.assert_array_equal(renumbered == values[0], where)
    assert not renumbered[instances == 0].any()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Puts a wheel with the micrograph into JAXDL_SOURCES, with matching digests."""
    offered = tmp_path / "offered"
    offered.mkdir()
    members = {}
    with zipfile.ZipFile(offered / "stardist-0.9.2-cp311-cp311-manylinux_2_28_x86_64.whl", "w") as file:
        for name, values in zip(("img2d.tif", "mask2d.tif"), micrograph()):
            Image.fromarray(values).save(tmp_path / name)
            content = (tmp_path / name).read_bytes()
            file.writestr(f"{nuclei.FOLDER}/{name}", content)
            members[f"{nuclei.FOLDER}/{name}"] = hashlib.sha256(content).hexdigest()
    monkeypatch.setenv("JAXDL_SOURCES", str(offered))
    monkeypatch.setattr(nuclei, "SOURCE", dataclasses.replace(nuclei.SOURCE, members=members))


def window(batch, draws):
    """Returns a random 64 x 64 window of every image."""
    top, left = (draws.integers(0, size - 63) for size in batch["image"].shape[1:3])
    corners = list(zip(top, left))
    cut = {
        name: np.stack([row[y : y + 64, x : x + 64] for row, (y, x) in zip(batch[name], corners)])
        for name in ("image", "mask", "instances")
    }
    return batch | cut


def test_the_built_set_has_all_splits_and_yields_windows(package):
    splits = nuclei.parts(*micrograph())
    for split, part in splits.items():
        source = Dataset("nuclei", split).load()
        assert len(source) == 1
        example = source.read(np.zeros(1, int))
        assert set(example) == set(part)
        for name, value in part.items():
            assert example[name].dtype == value.dtype
            np.testing.assert_array_equal(example[name][0], value)
    train = Dataset("nuclei", "train")
    data = Data(train=train, evals={}, batch_size=4, augment=(window,))
    batch = Batches(train.load(), data, seed=0).at(3)
    assert batch["image"].shape == (4, 64, 64, 1)
    np.testing.assert_array_equal(batch["instances"] > 0, batch["mask"])
    assert len({row.tobytes() for row in batch["image"]}) == 4


@settings(max_examples=25)
@given(arrays.arrays(np.uint8, (6, 7)).filter(lambda image: image.min() < image.max()))
def test_otsu_minimizes_the_variance_within_classes(image):
    def within(threshold):
        sides = [side for side in (image[image > threshold], image[image <= threshold]) if side.size]
        return sum(side.size * side.astype(float).var() for side in sides)

    bins = 256 * 8  # bins fine enough to separate all values
    best = min(within(threshold) for threshold in range(256))
    assert within(baselines.otsu(image, bins)) <= best * 1.02 + 1e-6


def test_the_baseline_is_scored_with_its_counts():
    truth = np.zeros((4, 20), int)
    truth[:, 0:4], truth[:, 5:9], truth[:, 12:14] = 1, 2, 5
    predicted = np.zeros_like(truth)
    # A hit, a split object, an IoU of exactly 0.5.
    predicted[:, 0:4], predicted[:, 5:7], predicted[:, 7:9], predicted[:, 12:16] = 9, 3, 4, 6
    assert "AP@0.5 0.167 (1 hit, 3 spurious, 2 missed)" in baselines.scored(truth, predicted)
    assert baselines.scored(truth, truth).startswith("Dice 1.000  AP@0.5 1.000")
    assert "(0 hit, 0 spurious, 3 missed)" in baselines.scored(truth, np.zeros_like(truth))


def test_grid_boxes_cover_the_image():
    boxes = baselines.grid(96, 64, 32, 16, 3)
    assert boxes.shape == (9, 4)
    assert boxes[0].tolist() == [0, 0, 32, 16]
    assert boxes[-1].tolist() == [64, 48, 96, 64]
    assert baselines.background_miou(np.array([[0, 0, 1, 255]]), 3) == pytest.approx(1 / 3)
