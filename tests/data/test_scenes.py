import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxdl.data.builders._compose import Scenes, compose, trim
from jaxdl.data.dataset import Dataset
from jaxdl.data.store.catalog import prepare
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError

RED, GREEN = (220, 30, 30), (30, 220, 30)
UNTOUCHED = Scenes(degrees=0.0, brightness=(1.0, 1.0))


def disc(colour, length=64):
    """Returns a disc with a soft edge as a cut-out, on transparent white."""
    across = np.arange(length) - (length - 1) / 2
    distance = np.hypot(across[:, None], across)
    pixels = np.full((length, length, 4), 255, np.uint8)
    pixels[distance < length / 2, :3] = colour
    pixels[..., 3] = np.clip((length / 2 - distance) * 128, 0, 255)
    return pixels


def bar(colour):
    return np.dstack([np.full((16, 64, 3), colour, np.uint8), np.full((16, 64), 255, np.uint8)])


CUTOUTS = [[disc(RED)], [bar(GREEN)]]
BLUE = np.full((120, 160, 3), (20, 20, 200), np.uint8)


def scene(number, cutouts=CUTOUTS, scenes=None):
    return compose(cutouts, [BLUE], np.random.default_rng([0, number]), scenes)


def test_scenes_are_deterministic():
    original, repeated, another = scene(3), scene(3), scene(4)
    for feature, value in original.items():
        np.testing.assert_array_equal(value, repeated[feature])
    assert (original["image"] != another["image"]).any()


def test_scene_columns_have_fixed_shapes_and_types():
    shapes = {feature: (value.shape, value.dtype.name) for feature, value in scene(0).items()}
    assert shapes == {
        "image": ((96, 96, 3), "uint8"),
        "mask": ((96, 96), "uint8"),
        "instances": ((96, 96), "uint8"),
        "boxes": ((5, 4), "float32"),
        "box_label": ((5,), "int32"),
        "box_weight": ((5,), "float32"),
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_boxes_masks_and_instances_agree(number):
    example = scene(number)
    count = int(example["box_weight"].sum())
    assert 1 <= count <= 5
    np.testing.assert_array_equal(example["box_weight"], np.arange(5) < count)
    assert not example["boxes"][count:].any()
    assert not example["box_label"][count:].any()
    assert set(np.unique(example["instances"])) == set(range(count + 1))
    np.testing.assert_array_equal(example["mask"] > 0, example["instances"] > 0)
    for row in range(count):
        inside = example["instances"] == row + 1
        assert set(example["mask"][inside]) == {example["box_label"][row] + 1}
        rows, columns = np.nonzero(inside)
        tight = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        np.testing.assert_array_equal(example["boxes"][row], tight)


def test_masks_match_the_visible_colours():
    for number in range(20):
        columns = scene(number, scenes=UNTOUCHED)
        image, mask = columns["image"].astype(int), columns["mask"]
        nearest = np.argmin([np.abs(image - colour).sum(-1) for colour in (BLUE[0, 0], RED, GREEN)], axis=0)
        assert (nearest == mask).mean() > 0.99
        # Soft edges are neither object nor background. The white around the disc must not be visible.
        assert image.min(axis=-1).max() < 100


def seen_of_squares(scenes):
    """Returns longer sides in pixels and visible fractions of the squares in 100 scenes."""
    square = np.full((64, 64, 4), 255, np.uint8)
    lengths, shares = [], []
    for number in range(100):
        columns = scene(number, [[square]], scenes)
        for row in range(int(columns["box_weight"].sum())):
            top, left, bottom, right = columns["boxes"][row]
            lengths.append(max(bottom - top, right - left))
            shares.append((columns["instances"] == row + 1).sum() / lengths[-1] ** 2)
    return np.array(lengths), np.array(shares)


def test_objects_are_sufficiently_visible_and_within_size_limits():
    lengths, shares = seen_of_squares(UNTOUCHED)
    assert 16 <= lengths.min() < 23  # below 20 where another square occludes two sides
    assert 53 < lengths.max() <= 56
    assert shares.min() >= 0.6
    assert (shares < 0.95).mean() > 0.05  # overlap occurs
    assert seen_of_squares(replace(UNTOUCHED, visible=0.2))[1].min() < 0.5


def test_categories_are_balanced():
    cutouts = [[disc(RED)] * 9, [bar(GREEN)]]  # a bar is placed more easily
    generated = [scene(number, cutouts) for number in range(300)]
    labels = np.concatenate([columns["box_label"][columns["box_weight"] > 0] for columns in generated])
    assert 0.46 < labels.mean() < 0.54


def test_cutouts_rotate_and_change_brightness_without_enlargement():
    small = [[disc(RED, length=24)]]
    boxes = np.concatenate([scene(number, small)["boxes"] for number in range(40)])
    assert max((boxes[:, 2:] - boxes[:, :2]).ravel()) <= 26
    bars = [scene(number, [[bar((100, 100, 100))]], Scenes(most=1)) for number in range(40)]
    ratios = [np.divide(*(columns["boxes"][0, 2:] - columns["boxes"][0, :2])) for columns in bars]
    assert max(ratios) - min(ratios) > 0.15
    values = [np.median(columns["image"][columns["mask"] > 0]) for columns in bars]
    assert min(values) < 85
    assert max(values) > 115


def test_trim_removes_the_transparent_margin():
    image = np.zeros((100, 200, 4), np.uint8)
    image[20:60, 50:150] = 255
    image[0, 0, 3] = 5  # an invisible pixel
    assert trim(Image.fromarray(image), 128).shape == (40, 100, 4)
    assert trim(Image.fromarray(image), 50).shape == (20, 50, 4)
    with pytest.raises(UserError, match="transparent"):
        trim(Image.new("RGBA", (4, 4)), 50)


def test_missing_or_small_inputs_are_errors():
    generator = np.random.default_rng(0)
    with pytest.raises(UserError, match="one background"):
        compose(CUTOUTS, [], generator)
    with pytest.raises(UserError, match="cut-out per category"):
        compose([[disc(RED)], []], [BLUE], generator)
    with pytest.raises(UserError, match="50 x 160 pixels is too small"):
        compose(CUTOUTS, [BLUE[:50]], generator)
    with pytest.raises(UserError, match="no cut-out has 60 opaque pixels"):
        compose([[disc(RED, length=6)]], [BLUE], generator)


@pytest.fixture(scope="module")
def builder_module():
    tensorflow_datasets()
    from jaxdl.data.builders import scenes

    return scenes


def test_the_splits_cover_all_categories_and_share_no_file(builder_module):
    entries = builder_module.read_table()
    assert len({entry.sha256 for entry in entries}) == len({entry.path for entry in entries}) == len(entries)
    assert {entry.category for entry in entries} == {*builder_module.CATEGORIES, "background"}
    for category in builder_module.CATEGORIES:
        splits = [entry.split for entry in entries if entry.category == category]
        assert len(splits) >= 25
        for split, share in {"train": 0.7, "validation": 0.1, "test": 0.2}.items():
            assert abs(splits.count(split) / len(splits) - share) < 0.04
    assert sum(entry.category == "background" for entry in entries) >= 20
    assert {builder_module.package_of(entry) for entry in entries} == set(builder_module.PACKAGES)


def test_the_builder_prepares_columns_with_class_names(builder_module, tmp_path, monkeypatch):
    """The real builder uses a small table of generated files instead of the packages."""
    folder, entries = tmp_path / "members", []
    for split in ("train", "validation", "test"):
        for category in (*builder_module.CATEGORIES, "background"):
            prefix = "usr/share/tuxpaint/" + ("templates" if category == "background" else "stamps")
            path = folder / f"{prefix}/{split} {category}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(BLUE if category == "background" else disc(RED)).save(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            entries.append(builder_module.Entry(digest, category, split, str(path.relative_to(folder))))
    counts = {"train": 6, "validation": 2, "test": 3}
    monkeypatch.setattr(builder_module, "read_table", lambda: entries)
    monkeypatch.setattr(builder_module, "COUNTS", counts)
    packages = {name: builder_module.PACKAGES[name] for name in ("tuxpaint-stamps-default", "tuxpaint-data")}
    monkeypatch.setattr(builder_module, "PACKAGES", packages)
    monkeypatch.setenv("JAXDL_SOURCES", str(folder))
    monkeypatch.setenv("JAXDL_DATA", str(tmp_path / "home"))
    prepared = prepare("scenes")
    assert dict(prepared.splits) == counts
    assert set(prepared.columns) == {"image", "mask", "instances", "boxes", "box_label", "box_weight"}
    source = Dataset("scenes", "train").load()
    assert source.names["box_label"] == builder_module.CATEGORIES
    assert source.names["mask"] == ("background", *builder_module.CATEGORIES)
    assert source.read(np.arange(6))["boxes"].shape == (6, 5, 4)
    fingerprint = prepared.fingerprint
    assert prepare("scenes", force=True).fingerprint == fingerprint
    # Splits have separate random numbers, even where their files are equal.
    test = Dataset("scenes", "test").load().read(np.arange(2))
    assert (test["image"] != source.read(np.arange(2))["image"]).any()


def test_class_names_of_a_missing_feature_are_refused(builder_module, tmp_path, monkeypatch):
    package = tmp_path / "own_names"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "wrong.py").write_text("""
import numpy as np
import tensorflow_datasets as tfds

class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    NAMES = {"maks": ("background", "cat")}

    def _info(self):
        features = tfds.features.FeaturesDict({"mask": tfds.features.Tensor(shape=(2,), dtype=np.uint8)})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"mask": np.zeros(2, np.uint8)}
""")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("JAXDL_DATA", str(tmp_path / "home"))
    with pytest.raises(UserError, match="NAMES has the feature 'maks'; did you mean 'mask'"):
        prepare("own_names.wrong")
