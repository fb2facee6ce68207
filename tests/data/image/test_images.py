import numpy as np
import pytest
from PIL import Image

from jaxdl.data.image.files import find_images, read_images
from jaxdl.errors import UserError


def paint(path, colour, size=(6, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_images_of_every_mode_are_converted_to_the_requested_shape(tmp_path):
    paint(tmp_path / "rgb.png", (200, 100, 50))
    paint(tmp_path / "grey.png", 77, mode="L")
    paint(tmp_path / "alpha.png", (0, 0, 0, 0), mode="RGBA")
    paint(tmp_path / "cmyk.jpg", (0, 0, 0, 0), mode="CMYK")
    Image.new("RGB", (6, 4), (10, 20, 30)).quantize().save(tmp_path / "palette.png")
    Image.fromarray(np.full((4, 6), 0x8080, np.uint16)).save(tmp_path / "deep.png")
    Image.new("1", (6, 4), 1).save(tmp_path / "bits.png")
    names = ["rgb.png", "grey.png", "alpha.png", "cmyk.jpg", "palette.png", "deep.png", "bits.png"]
    paths = [tmp_path / name for name in names]
    images = read_images(paths, (4, 4, 3))
    assert images.shape == (7, 4, 4, 3)
    assert images.dtype == np.uint8
    expected = [(200, 100, 50), (77,) * 3, (255,) * 3, (255,) * 3, (10, 20, 30), (128,) * 3, (255,) * 3]
    for number, colour in enumerate(expected):
        np.testing.assert_allclose(images[number, 2, 2], colour, atol=2, err_msg=names[number])
    grey = read_images(paths, (4, 4, 1))
    assert grey.shape == (7, 4, 4, 1)
    assert grey[1, 0, 0, 0] == 77
    assert read_images(paths, (4, 4, 4))[2, 0, 0, 3] == 0


def test_images_are_center_cropped_and_resized_with_antialiasing(tmp_path):
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16:2] = 255  # only the centre has stripes
    Image.fromarray(wide).save(tmp_path / "wide.png")
    image = read_images([tmp_path / "wide.png"], (2, 2, 1))
    np.testing.assert_allclose(image, 127, atol=25)
    exact = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(exact).save(tmp_path / "exact.png")
    np.testing.assert_array_equal(read_images([tmp_path / "exact.png"], (5, 7, 3))[0], exact)


def test_exif_orientation_is_applied(tmp_path):
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to look at it
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    upright = read_images([tmp_path / "turned.png"], (8, 4, 3))[0]
    assert upright[:4].mean() == 255
    assert upright[4:].mean() == 0


def test_invalid_image_files_are_reported(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("hello")
    for name in ("cut.png", "text.png", "missing.png"):
        with pytest.raises(UserError, match=name):
            read_images([tmp_path / name], (8, 8, 3))


def test_images_are_found_in_folders(tmp_path):
    paint(tmp_path / "b/2.PNG", 1)
    paint(tmp_path / "a/1.jpg", 1)
    (tmp_path / "a/notes.txt").write_text("no image")
    assert find_images([tmp_path]) == [tmp_path / "a/1.jpg", tmp_path / "b/2.PNG"]
    assert find_images([str(tmp_path / "b/2.PNG")]) == [tmp_path / "b/2.PNG"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no image"):
        find_images([tmp_path / "none"])
    with pytest.raises(UserError, match="does not exist"):
        find_images([tmp_path / "nowhere"])
