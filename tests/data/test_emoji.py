"""Emoji pairs and unpaired image domains."""

import dataclasses
import hashlib
import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.dataset import Dataset, origin, with_split
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.data.image.unpaired import (
    EachStyle,
    MockPairs,
    Styles,
    TwoStyles,
    area_mean,
)
from jaxdl.data.random import Draws
from jaxdl.data.source import ColumnSource
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import Npm, tree_digest
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.data.synthetic.images import MockImages
from jaxdl.errors import UserError

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
emoji = importlib.import_module("jaxdl.data.builders.emoji")
emoji_texts = importlib.import_module("jaxdl.data.builders.emoji_texts")


@pytest.mark.parametrize(
    ("unified", "key"),
    [
        ("1F373", "1F373"),
        ("1F469-200D-1F373", "1F373"),
        ("1F9D1-200D-1F373", "1F373"),
        ("1F3C3-200D-2642-FE0F-200D-27A1-FE0F", "1F3C3"),
        ("1F3C3", "1F3C3"),
        ("1F468-200D-1F469-200D-1F466", "people"),
        ("1F1E9-1F1EA", "1F1E9-1F1EA"),
    ],
)
def test_the_key_omits_person_and_gender(unified, key):
    assert emoji.key_of(unified) == key


def entry(number, unified, **more):
    return {
        "name": f"THING {number}",
        "unified": unified,
        "image": f"{number}.png",
        "has_img_google": True,
        "has_img_twitter": True,
    } | more


def keys_in(part, count):
    keys = (f"{number:04X}" for number in range(0x4000, 0x6000))
    return [key for key, _ in zip((key for key in keys if part_of(key, 10, 10) == part), range(count))]


def paint(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", (64, 64), colour).save(path)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Puts both packages into JAXDL_SOURCES: four emoji per split, the red channel is the style.

    The last test emoji equals the first training emoji in one style. The last but one is missing.
    """
    folder = tmp_path / "offered"
    keys = [key for part in PARTS for key in keys_in(part, 4)]
    keys[1] = f"1F469-200D-{keys[0]}"  # woman with the emoji of the first
    listing = [entry(number, key) for number, key in enumerate(keys)]
    listing[-2]["has_img_twitter"] = False
    for number in range(len(keys)):
        shade = 0 if number == len(keys) - 1 else 10 * number
        paint(folder / f"img/google/64/{number}.png", (0, shade, 0, 255))
        paint(folder / f"img/twitter/64/{number}.png", (100, 10 * number, 0, 255))
    (folder / emoji.NAMES_FILE).write_text(json.dumps(listing))
    digest = hashlib.sha256((folder / emoji.NAMES_FILE).read_bytes()).hexdigest()
    sources = {}
    for style in emoji.STYLES:
        pattern = f"img/{style}/64/*.png"
        sources[style] = Npm(style, "1.0.0", {emoji.NAMES_FILE: digest, pattern: tree_digest(folder, pattern)})
    monkeypatch.setenv("JAXDL_SOURCES", str(folder))
    monkeypatch.setattr(emoji, "EMOJI", sources)


def test_the_built_set_has_true_pairs_and_no_image_in_two_splits(packages):
    names_by_part = {}
    for part in PARTS:
        source = Dataset("emoji", part).load()
        rows = source.read(np.arange(len(source)))
        assert rows["google"].shape[1:] == rows["twitter"].shape[1:] == (64, 64, 3)
        np.testing.assert_array_equal(rows["google"][:, 0, 0, 1:], rows["twitter"][:, 0, 0, 1:])
        assert set(rows["google"][..., 0].ravel()) == {0}
        assert set(rows["twitter"][..., 0].ravel()) == {100}
        names_by_part[part] = [name.decode() for name in rows["name"]]
    expected = {part: {f"thing {4 * number + n}" for n in range(4)} for number, part in enumerate(PARTS)}
    expected["test"] -= {"thing 10", "thing 11"}
    assert {part: set(names) for part, names in names_by_part.items()} == expected
    assert all(names_by_part[part] != sorted(names_by_part[part]) for part in ("train", "validation"))
    assert sum(map(len, names_by_part.values())) == 10


def test_texts_and_categories_are_those_of_the_emoji_without_flags(packages, monkeypatch):
    folder = Path(os.environ["JAXDL_SOURCES"])
    listing = json.loads((folder / emoji.NAMES_FILE).read_text())
    for number, row in enumerate(listing):
        row["category"] = "Flags" if number == 2 else "Objects" if number % 2 else "Symbols"
        row["short_name"] = "big-thing" if number == 0 else f"thing_{number}"
    (folder / emoji.NAMES_FILE).write_text(json.dumps(listing))
    digest = hashlib.sha256((folder / emoji.NAMES_FILE).read_bytes()).hexdigest()
    sources = {
        style: dataclasses.replace(source, members={**source.members, emoji.NAMES_FILE: digest})
        for style, source in emoji.EMOJI.items()
    }
    monkeypatch.setattr(emoji_texts, "EMOJI", sources)
    source = Dataset("emoji_texts", "train").load()
    rows = source.read(np.arange(len(source)))
    categories = [source.names["category"][number] for number in rows["category"]]
    assert dict(zip([text.decode() for text in rows["text"]], categories)) == {
        "thing 0, big thing": "Symbols",
        "thing 1": "Objects",
        "thing 3": "Objects",
    }


def test_transparent_pixels_become_white(tmp_path):
    paint(tmp_path / "clear.png", (0, 0, 0, 51))
    assert np.all(emoji.picture(tmp_path / "clear.png") == 204)


class Numbered:
    """Pairs of 4x4 images, numbered by their first pixel."""

    def __init__(self, count=9):
        self.count = count

    def load(self):
        image = np.arange(self.count * 48).reshape(self.count, 4, 4, 3) % 251
        image[:, 0, 0, 0] = np.arange(self.count)
        image = image.astype(np.uint8)
        return ColumnSource({"one": image, "other": image[:, :, ::-1].copy()}, f"numbered {self.count}")


def numbers(batch):
    return batch["image_a"][:, 0, 0, 0].tolist(), batch["image_b"][:, 0, -1, 0].tolist()


def test_styles_are_classes():
    source = Styles(Numbered(), ("other", "one"), size=2).load()
    pairs = TwoStyles(Numbered(), "one", "other", paired=True, size=2).load().columns
    batch = source.read(np.arange(18))
    np.testing.assert_array_equal(batch["image"], np.concatenate([pairs["image_b"], pairs["image_a"]]))
    assert batch["label"].tolist() == [0] * 9 + [1] * 9
    assert source.names["label"] == ("other", "one")
    kinds = (Styles(Numbered(), ("one",)), Styles(Numbered(), ("one",), 2), Styles(Numbered(), ("other",)))
    assert len({kind.load().fingerprint for kind in kinds}) == 3
    with pytest.raises(UserError, match="third"):
        Styles(Numbered(), ("one", "third")).load()


def test_the_label_of_styles_may_be_a_feature_of_the_corpus():
    class Labelled(Numbered):
        def load(self):
            source = super().load()
            columns = {**source.columns, "kind": np.arange(self.count) % 2}
            return ColumnSource(columns, "labelled", {"kind": ("even", "odd")})

    source = Styles(Labelled(), ("one", "other"), label="kind").load()
    assert source.columns["label"].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0] * 2
    assert source.columns["label"].dtype == np.int32
    assert source.names == {"label": ("even", "odd")}
    assert source.fingerprint != Styles(Labelled(), ("one", "other")).load().fingerprint
    with pytest.raises(UserError, match="third"):
        Styles(Labelled(), ("one",), label="third").load()


def test_unpaired_images_have_no_counterpart_in_training():
    source = TwoStyles(Numbered(), "one", "other").load()
    a, b = numbers(source.columns)
    assert len(source) == len(set(a)) == len(set(b)) == 4
    assert not set(a) & set(b)
    assert a != sorted(a)
    assert numbers(TwoStyles(Numbered(), "one", "other", seed=1).load().columns) != (a, b)
    assert source.names["style"] == ("one", "other")


def test_paired_images_keep_their_order():
    a, b = numbers(TwoStyles(Numbered(), "one", "other", paired=True).load().columns)
    assert a == b == list(range(9))


def test_fingerprints_depend_on_all_settings():
    settings = [{}, {"paired": True}, {"seed": 1}, {"size": 2}, {"a": "other", "b": "one"}]
    fingerprints = [
        TwoStyles(Numbered(), **{"a": "one", "b": "other", **options}).load().fingerprint for options in settings
    ]
    assert len(set(fingerprints)) == len(fingerprints)


def test_downsampling_averages_squares():
    image = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 3), dtype=np.uint8)
    averaged = area_mean(image, 2)
    for row, column in np.ndindex(2, 2):
        square = image[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].astype(np.float64)
        np.testing.assert_allclose(averaged[:, row, column], square.mean((1, 2)), atol=0.5)
    np.testing.assert_array_equal(area_mean(image, 6), image)
    loaded = TwoStyles(Numbered(), "one", "other", paired=True, size=2).load().columns
    np.testing.assert_array_equal(loaded["image_a"], area_mean(Numbered().load().columns["one"], 2))
    with pytest.raises(UserError, match="size=4 does not divide the image side of 6"):
        area_mean(image, 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TwoStyles(Numbered(1), "one", "other"), "1 pairs cannot be divided"),
        (TwoStyles(Numbered(), "one", "third"), "third"),
        (TwoStyles(MockImages(shape=(4, 6, 3)), "image", "image"), "square images"),
        (TwoStyles(MockImages(shape=(4, 4, 1)), "image", "image"), "has 1 channels, not 3; use channels=1"),
    ],
)
def test_invalid_features_and_sizes_are_reported(data, message):
    with pytest.raises(UserError, match=message):
        data.load()


def test_an_image_file_is_read_as_both_styles(tmp_path):
    paint(tmp_path / "red.png", (200, 0, 0, 255))
    paint(tmp_path / "clear.png", (0, 0, 0, 0))
    data = TwoStyles(Numbered(), "one", "other", size=2)
    examples = dict(data.read([str(tmp_path)], [], {}))
    assert [path.rsplit("/", 1)[1] for path in examples] == ["clear.png", "red.png"]
    for example, colour in zip(examples.values(), (255, (200, 0, 0))):
        assert set(example) == {"image_a", "image_b"}
        assert example["image_a"].shape == (2, 2, 3)
        assert np.all(example["image_a"] == colour)
        assert np.all(example["image_b"] == colour)
    with pytest.raises(UserError, match="--text"):
        data.read([], ["hello"], {})


def test_an_image_file_is_converted_to_grey(tmp_path):
    paint(tmp_path / "clear.png", (0, 0, 0, 0))
    grey = MockPairs(MockImages(shape=(4, 4, 1), examples=5))
    ((_, example),) = TwoStyles(grey, "image", "negative", channels=1).read([str(tmp_path / "clear.png")], [], {})
    np.testing.assert_array_equal(example["image_a"], np.full((4, 4, 1), 255))


def test_with_split_changes_the_innermost_data_set():
    data = TwoStyles(Dataset("emoji", "train"), "google", "twitter", size=32)
    assert origin(data) == Dataset("emoji", "train")
    assert with_split(data, "test") == TwoStyles(Dataset("emoji", "test"), "google", "twitter", size=32)


def test_styles_are_transformed_independently():
    image = np.arange(64 * 2, dtype=np.uint8).reshape(64, 1, 2, 1)
    batch = {"image_a": image, "image_b": image, "index": np.arange(64)}
    flipped = EachStyle(RandomFlip())(batch, Draws(0, np.arange(64)))
    turned = [np.any(flipped[name] != image, (1, 2, 3)) for name in ("image_a", "image_b")]
    assert all(10 < mask.sum() < 54 for mask in turned)
    assert np.any(turned[0] != turned[1])
    for name, mask in zip(("image_a", "image_b"), turned):
        np.testing.assert_array_equal(flipped[name][mask], image[mask][:, :, ::-1])
    np.testing.assert_array_equal(flipped["index"], np.arange(64))


def test_styles_of_pairs_are_transformed_alike():
    image = np.arange(64 * 2, dtype=np.uint8).reshape(64, 1, 2, 1)
    flipped = EachStyle(RandomFlip(), paired=True)({"image_a": image, "image_b": image}, Draws(0, np.arange(64)))
    np.testing.assert_array_equal(flipped["image_a"], flipped["image_b"])
    assert 10 < np.any(flipped["image_a"] != image, (1, 2, 3)).sum() < 54


def test_mock_pairs_are_negatives():
    columns = MockPairs(MockImages(shape=(4, 4, 3), examples=5)).load().columns
    np.testing.assert_array_equal(columns["image"] + columns["negative"], 255)
