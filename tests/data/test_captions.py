import hashlib
import importlib
import json

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.dataset import Dataset
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import Debian, Npm, tree_digest
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
captions = importlib.import_module("jaxdl.data.builders.captions")

RED = (220, 30, 30, 255)


def paint(path, colour, size=(64, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", size, colour).save(path)
    return path


def test_an_image_is_reduced_and_centered_on_white(tmp_path):
    image = captions.picture(paint(tmp_path / "wide.png", RED, (256, 128)))
    assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
    assert (image[16:48] == RED[:3]).all()
    assert (image[:16] == 255).all()
    assert (image[48:] == 255).all()
    small = captions.picture(paint(tmp_path / "small.png", RED, (10, 20)))
    rows, columns = np.nonzero((small != 255).any(-1))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (22, 42, 27, 37)


def test_transparent_pixels_become_white(tmp_path):
    image = np.zeros((64, 64, 4), np.uint8)
    image[:32] = RED
    image[32:48] = (0, 0, 0, 51)
    Image.fromarray(image).save(tmp_path / "half.png")
    reduced = captions.picture(tmp_path / "half.png")
    assert (reduced[:32] == RED[:3]).all()
    assert (reduced[32:48] == 204).all()
    assert (reduced[48:] == 255).all()


def test_an_invalid_image_file_is_reported(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"bad\.png is not an image"):
        captions.picture(tmp_path / "bad.png")


def entry(number, name, category="Objects", **more):
    return {"name": name, "image": f"{number}.png", "category": category, "has_img_google": True} | more


def test_emoji_names_are_lower_case_without_skin_tones(tmp_path):
    listing = [
        entry(1, "WAVING HAND SIGN", skin_variations={"1F3FB": {"image": "1-tone.png", "has_img_google": True}}),
        entry(2, "EMOJI MODIFIER FITZPATRICK TYPE-3", category="Component"),
        entry(3, "Norway Flag"),
        entry(4, "MISSING", has_img_google=False),
    ]
    (tmp_path / "emoji.json").write_text(json.dumps(listing))
    entries = list(captions.emoji(tmp_path, "google"))
    assert [(image_entry.caption, image_entry.path.name, image_entry.kind) for image_entry in entries] == [
        ("waving hand sign", "1.png", "google"),
        ("norway flag", "3.png", "google"),
    ]


def test_stamps_have_their_english_caption(tmp_path):
    paint(tmp_path / "b/penguin.png", RED)
    (tmp_path / "b/penguin.txt").write_text("A Penguin. \nde.utf8=Ein Pinguin.\n", encoding="utf-8")
    paint(tmp_path / "b/penguin_mirror.png", RED)
    (tmp_path / "b/other.txt").write_text("A drawing.")
    paint(tmp_path / "a/owl.png", RED)
    (tmp_path / "a/owl.txt").write_text("An “owl”.\n", encoding="utf-8")
    captions_and_files = [(stamp.caption, stamp.path.name) for stamp in captions.stamps(tmp_path)]
    assert captions_and_files == [("an “owl”.", "owl.png"), ("a penguin.", "penguin.png")]


def names_in(part, count):
    names = (f"thing {number}" for number in range(10**6))
    return [name for name, _ in zip((name for name in names if part_of(name, 10, 10) == part), range(count))]


def test_no_caption_or_image_is_in_two_splits(tmp_path):
    (first, another), (validation,), (test,) = names_in("train", 2), names_in("validation", 1), names_in("test", 1)
    red, green, blue = (paint(tmp_path / f"{n}.png", colour) for n, colour in enumerate([RED, "green", "blue"]))
    white = paint(tmp_path / "white.png", (255, 255, 255, 255))
    entries = [
        captions.Captioned(path, caption, "google")
        for path, caption in [
            (red, test),  # also in training
            (red, first),
            (red, another),  # two captions of one part may share an image
            (green, validation),
            (green, test),
            (blue, test),
            (white, another),
        ]
    ]
    splits = captions.parts(entries)
    colours = {tuple(captions.picture(path)[0, 0]): path for path in (red, green, blue)}
    expected = {
        part: [(colours[tuple(row["image"][0, 0])], row["caption"]) for row in rows] for part, rows in splits.items()
    }
    assert expected == {
        "train": [(red, first), (red, another)],
        "validation": [(green, validation)],
        "test": [(blue, test)],
    }


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Puts emoji of two vendors and stamps into JAXDL_SOURCES, three of each per split."""
    folder = tmp_path / "offered"
    names = [name for part in PARTS for name in names_in(part, 3)]
    listing = [entry(n, name.upper(), has_img_twitter=True) for n, name in enumerate(names)]
    for kind, shade in (("google", 0), ("twitter", 100)):
        for number in range(len(names)):
            paint(folder / f"img/{kind}/64/{number}.png", (shade, 10 * number, 0, 255))
    for number, name in enumerate(names):
        paint(folder / f"{captions.STAMPS_FOLDER}/{number}.png", (200, 10 * number, 0, 255), (100, 50))
        (folder / f"{captions.STAMPS_FOLDER}/{number}.txt").write_text(name)
    (folder / captions.NAMES_FILE).write_text(json.dumps(listing))
    digest = hashlib.sha256((folder / captions.NAMES_FILE).read_bytes()).hexdigest()
    sources = {}
    for kind in ("google", "twitter"):
        pattern = f"img/{kind}/64/*.png"
        sources[kind] = Npm(kind, "1.0.0", {captions.NAMES_FILE: digest, pattern: tree_digest(folder, pattern)})
    patterns = [f"{captions.STAMPS_FOLDER}/*{suffix}" for suffix in (".png", ".txt")]
    stamps = Debian("stamps", {pattern: tree_digest(folder, pattern) for pattern in patterns})
    monkeypatch.setenv("JAXDL_SOURCES", str(folder))
    monkeypatch.setattr(captions, "EMOJI", sources)
    monkeypatch.setattr(captions, "STAMPS", stamps)
    return {part: names_in(part, 3) for part in PARTS}


def test_the_built_set_has_all_kinds_in_all_parts(packages):
    for split, names in packages.items():
        source = Dataset("captions", split).load()
        assert source.names["kind"] == ("google", "twitter", "stamp")
        examples = [{key: value[0] for key, value in source.read(np.array([n])).items()} for n in range(len(source))]
        assert [row["caption"].decode() for row in examples] == names * 3
        assert [int(row["kind"]) for row in examples] == [0] * 3 + [1] * 3 + [2] * 3
        assert {int(row["image"][32, 32, 0]) for row in examples} == {0, 100, 200}
        assert examples[0]["image"].shape == (64, 64, 3)
        assert (examples[-1]["image"][:16] == 255).all()
