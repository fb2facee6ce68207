"""Framing of images for a model, and mapping of outputs back to the file."""

import numpy as np
import pytest
from PIL import Image

from jaxdl.commands.predict import check_finite, table
from jaxdl.data.image.files import frame
from jaxdl.errors import UserError
from jaxdl.runs.files import write_png


@pytest.fixture
def photograph(tmp_path):
    image = np.zeros((60, 90, 3), np.uint8)
    image[10:20, 30:60] = 255
    Image.fromarray(image).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize(("framing", "shape"), [("crop", (30, 30, 3)), ("pad", (30, 30, 3)), ("keep", (32, 32, 3))])
def test_boxes_and_maps_are_mapped_back_to_the_file(photograph, framing, shape):
    framed = frame(photograph, shape, framing)
    assert framed.file.shape == (60, 90, 3)
    bright = framed.image[..., 0] > 127
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    box = np.array([[rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]], np.float32)
    np.testing.assert_allclose(framed.boxes_of_file(box), [[10, 30, 20, 60]], atol=2.1)
    back = framed.map_of_file(bright.astype(np.int32))
    assert back.shape == (60, 90)
    expected = framed.file[..., 0] > 127
    assert (back & expected).sum() / (back | expected).sum() > (0.99 if framing == "keep" else 0.75)


def test_an_image_of_unchanged_size_is_padded_to_multiples(photograph):
    framed = frame(photograph, (32, 32, 3), "keep")
    assert framed.image.shape == (64, 96, 3)
    np.testing.assert_array_equal(framed.image[:60, :90], framed.file)
    assert not framed.image[60:].any()


def test_integer_maps_are_written_exactly(tmp_path):
    for top in (200, 40_000):
        values = np.random.default_rng(0).integers(0, top, (7, 9))
        write_png(tmp_path / "values.png", values)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "values.png")), values)


def test_a_prediction_that_is_not_finite_is_refused():
    check_finite("a.csv", {"forecast": np.ones(3, np.float32), "label": np.array(3), "texts": np.array(["nan"])})
    with pytest.raises(UserError, match=r"a\.csv: the prediction 'forecast' is not finite"):
        check_finite("a.csv", {"forecast": np.array([1.0, np.nan], np.float32)})


def test_the_table_has_arrays_only_if_there_are_no_other_outputs():
    names, rows = table([{"file": "a.png", "label": "cat", "probability": 0.5, "scores": [0.5, 0.25]}])
    assert (names, rows) == (["file", "label", "probability"], [["a.png", "cat", "0.5000"]])
    names, rows = table([{"file": "a.png", "probability": [0.5, 0.25]}, {"file": "b.png", "probability": {"cat": 1.0}}])
    assert (names, rows) == (["file", "probability"], [["a.png", "0.5, 0.25"], ["b.png", "cat 1"]])
    _, ((_, text),) = table([{"file": "a.png", "codes": [list(range(6)), list(range(6))]}])
    assert text == "0, 1, 2, 3, 4, 5, 0, 1, ... (12 values; --format=json prints all)"
