import importlib
import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import ImageFont

from benchmarks import baselines
from jaxdl.data.dataset import Dataset
from jaxdl.data.store.packages import content_digest
from jaxdl.data.store.tfds import tensorflow_datasets

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
glyphs = importlib.import_module("jaxdl.data.builders.glyphs")

FONTS = {style: Path(matplotlib.get_data_path(), "fonts/ttf", file) for style, file in glyphs.FILES.items()}


@pytest.fixture(scope="module")
def built():
    """Returns the splits of Latin-1, Latin Extended-A, Greek and Cyrillic, in matplotlib's copies of the fonts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glyphs, "HIGHEST", 0x430)
        return glyphs.parts(FONTS)


def test_the_prepared_set_has_the_features(monkeypatch):
    monkeypatch.setattr(glyphs, "HIGHEST", 0x60)
    monkeypatch.setenv("JAXDL_SOURCES", str(FONTS["sans"].parent))
    monkeypatch.setattr(
        glyphs,
        "SOURCE",
        glyphs.Debian("fonts", {f"{glyphs.FOLDER}/{path.name}": content_digest(path) for path in FONTS.values()}),
    )
    source = Dataset("glyphs", "all").load()
    batch = source.read(np.arange(len(source)))
    assert {batch[style].shape for style in FONTS} == {(36, 32, 32, 1)}  # digits and capitals
    row = [bytes(text).decode() if isinstance(text, bytes) else str(text) for text in batch["character"]].index("I")
    assert np.median(batch["sans"][row]) == 255
    bold, light = ((255.0 - batch[style][row]).sum() for style in ("serif_bold", "sans"))
    assert bold > 1.5 * light


def test_characters_of_a_family_are_in_one_split(built):
    parts = {row["character"]: part for part, rows in built.items() for row in rows}
    assert set(built) == {"train", "validation", "test"}
    for family in ("eEéÊęё", "aAÄΑα", "hĦĥΗη"):  # with Greek capitals and Cyrillic io
        known = [parts[character] for character in family if character in parts]
        assert len(known) > 3
        assert len(set(known)) == 1
    letters = {
        part: {unicodedata.normalize("NFKD", row["character"])[0] for row in rows} for part, rows in built.items()
    }
    assert not letters["train"] & (letters["validation"] | letters["test"])


def test_no_glyph_is_in_two_splits_and_no_pair_occurs_twice(built):
    for style in FONTS:
        images = {part: {row[style].tobytes() for row in rows} for part, rows in built.items()}
        assert not images["train"] & images["validation"]
        assert not images["train"] & images["test"]
        assert not images["validation"] & images["test"]
    rows = [row for part in built.values() for row in part]
    assert len({tuple(row[style].tobytes() for style in FONTS) for row in rows}) == len(rows)
    assert len({row["character"] for row in rows}) == len(rows) > 300


def test_glyphs_stand_on_one_baseline_in_the_middle():
    for path in FONTS.values():
        font = ImageFont.truetype(str(path), round(glyphs.EM * glyphs.SIZE * glyphs.SCALE))
        ink = 255.0 - glyphs.glyph(font, "H")[..., 0]
        rows, columns = np.flatnonzero(ink.sum(1)), np.flatnonzero(ink.sum(0))
        assert abs(rows[-1] + 1 - glyphs.BASELINE * 32) < 1
        assert abs((columns[0] + columns[-1] + 1) / 2 - 16) < 1


def test_images_without_ink_or_with_ink_at_the_border_are_omitted():
    image = np.full((32, 32, 1), 255, np.uint8)
    assert not glyphs.complete(image)
    image[10, 10] = 0
    assert glyphs.complete(image)
    for row, column in ((0, 5), (31, 5), (5, 0), (5, 31)):
        cut = image.copy()
        cut[row, column] = 254
        assert not glyphs.complete(cut)


def test_families_are_connected_components():
    assert glyphs.families([["a"], ["b"], ["b", "c"], ["d"], ["c", "a"]]) == [0, 0, 0, 3, 0]


def test_the_dilation_has_the_ink_of_the_target():
    ink = np.zeros((2, 9, 9), np.float32)
    ink[:, 4, 2:7] = 1
    for mean in (0.5 * ink.mean(), 1.5 * ink.mean()):
        apply = baselines.dilation(ink, float(mean), 0.7)
        assert apply(ink).mean() == pytest.approx(mean, rel=1e-4)
        np.testing.assert_array_equal(apply(ink[:1]), apply(ink)[:1])


def test_neighbours_are_the_pixels_around_each_pixel():
    ink = np.random.default_rng(0).random((2, 5, 6)).astype(np.float32)
    patches = baselines.neighbours(ink, 1).reshape(2, 5, 6, 3, 3)
    np.testing.assert_array_equal(patches[1, 2, 3], ink[1, 1:4, 2:5])
    assert patches[0, 0, 0, 0].tolist() == [0, 0, 0]
