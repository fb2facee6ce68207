"""Tests of the range of pixel values: depth of the file, scale and alpha."""

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.image.files import decode
from jaxdl.data.image.preprocessing import ImagePreprocessing
from jaxdl.errors import UserError


def values(path, channels=1, **settings):
    return np.asarray(decode(path, channels, **settings)).reshape(-1).tolist()


@pytest.mark.parametrize(
    ("name", "pixels", "scale", "expected"),
    [
        ("a.png", np.array([[0, 32768, 65535]], np.uint16), None, [0, 128, 255]),
        ("a.tif", np.array([[0, 32768, 65535]], np.uint16), None, [0, 128, 255]),
        ("a.png", np.array([[0, 2048, 4095]], np.uint16), (0, 4095), [0, 128, 255]),
        ("a.tif", np.array([[0, 0.5, 1]], np.float32), (0, 1), [0, 128, 255]),
        ("a.tif", np.array([[-1, 0, 1]], np.float32), (-1, 1), [0, 128, 255]),
        ("a.tif", np.array([[0, 100, 300]], np.int32), (0, 255), [0, 100, 255]),
        ("a.png", np.array([[0, 7, 255]], np.uint8), (0, 4095), [0, 7, 255]),
    ],
)
def test_values_are_scaled_by_the_depth_of_the_file_or_by_scale(tmp_path, name, pixels, scale, expected):
    Image.fromarray(pixels).save(tmp_path / name)
    assert values(tmp_path / name, scale=scale) == expected
    framed = ImagePreprocessing((), (*pixels.shape, 1), "crop", scale=scale)(tmp_path / name)
    assert framed.image.reshape(-1).tolist() == expected


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        ("a.tif", np.array([[0, 1]], np.float32), "has float pixels, whose range is unknown; set scale"),
        ("a.tif", np.array([[0, 255]], np.int32), "has 32 bit pixels, whose range is unknown; set scale"),
        ("a.png", np.array([[0, 4095]], np.uint16), r"uses at most 12 of 16 bits \(maximum 4095\)"),
    ],
)
def test_an_unknown_range_is_refused(tmp_path, name, pixels, message):
    Image.fromarray(pixels).save(tmp_path / name)
    with pytest.raises(UserError, match=message):
        decode(tmp_path / name, 1)


def test_pixels_that_are_not_finite_are_refused(tmp_path):
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="pixels that are not finite"):
        decode(tmp_path / "a.tif", 1, scale=(0, 1))


def test_a_black_image_of_16_bits_is_read(tmp_path):
    Image.fromarray(np.zeros((1, 2), np.uint16)).save(tmp_path / "a.png")
    assert values(tmp_path / "a.png") == [0, 0]


def test_alpha_is_composited_over_white(tmp_path):
    Image.fromarray(np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)).save(tmp_path / "a.png")
    assert values(tmp_path / "a.png", 3) == [200, 0, 0, 255, 255, 255, 204, 204, 204]
    assert values(tmp_path / "a.png", 4)[-4:] == [0, 0, 0, 51]


def test_an_image_is_kept_as_stored_only_at_the_given_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(np.array([[0, 50, 100]], np.uint8)).save(tmp_path / "a.png", exif=exif)
    assert values(tmp_path / "a.png") == [100, 50, 0]
    assert values(tmp_path / "a.png", stored_size=(1, 3)) == [0, 50, 100]
    assert values(tmp_path / "a.png", stored_size=(3, 1)) == [100, 50, 0]
