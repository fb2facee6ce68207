"""Images preprocessed for prediction as for evaluation."""

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.image.boxes_and_masks import Mask, Objects
from jaxdl.data.image.files import Picture
from jaxdl.data.image.preprocessing import ImagePreprocessing
from jaxdl.data.image.resize import RandomResizedCrop, RandomScale, RandomWindow, ResizeCrop, ResizePad
from jaxdl.data.image.transforms import RandomFlip, apply
from jaxdl.data.pipeline import Batches, eval_batches, transformed
from jaxdl.data.random import Draws
from jaxdl.data.source import ColumnSource
from jaxdl.errors import UserError


def images(height, width, channels=3, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def saved(image, path):
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)
    return path


@pytest.mark.parametrize("framing", ["crop", "pad", "keep"])
@pytest.mark.parametrize(
    ("size", "transforms", "trained"),
    [
        ((32, 96), (ResizePad(32, 32),), (32, 32)),
        ((20, 33), (ResizeCrop(18, 16),), (16, 16)),
        ((40, 30), (Objects(2), ResizeCrop(36, 24)), (16, 16)),  # evaluated at another size than trained
        ((28, 28), (), (28, 28)),
        ((28, 28), (RandomFlip(),), (28, 28)),
        ((33, 47), (), (16, 16)),  # trained on windows, evaluated on whole images
    ],
)
def test_a_file_becomes_the_image_that_evaluation_scores(tmp_path, size, transforms, trained, framing):
    image = images(*size)
    boxes = {"objects/bbox": np.zeros((2, 0, 4), np.float32), "objects/label": np.zeros((2, 0), np.int32)}
    source = ColumnSource({"image": image, **(boxes if Objects(2) in transforms else {})}, "")
    scored = next(eval_batches(source, 2, transforms))["image"]
    preprocess = ImagePreprocessing(transforms, (*trained, 3), framing, (scored.shape[1:],))
    for number in range(2):
        framed = preprocess(saved(image[number], tmp_path / "image.png"), number)
        np.testing.assert_array_equal(framed.image, scored[number])
        np.testing.assert_array_equal(framed.file, image[number])


def test_sizes_that_transforms_fix_are_known_without_evaluation():
    image = images(20, 33)[0]
    framed = ImagePreprocessing((ResizeCrop(36, 24),), (16, 16, 3), "crop")(image)
    assert framed.image.shape == (24, 24, 3)


def test_other_sizes_are_framed():
    preprocess = ImagePreprocessing((), (16, 16, 3), "crop", ((28, 28, 3),))
    assert preprocess(images(50, 40)[0]).image.shape == (16, 16, 3)


@pytest.mark.parametrize(
    "transforms", [(ResizePad(64, 64),), (ResizeCrop(72, 64),), (RandomFlip(), ResizePad(48, 80)), ()]
)
def test_boxes_and_maps_return_to_the_file(transforms):
    image = np.zeros((60, 90, 3), np.uint8)
    image[24:36, 36:60] = 255
    framed = ImagePreprocessing(transforms, (64, 64, 3), "pad")(image, 1)
    bright = framed.image[..., 0] > 127
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    box = np.array([[rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]], np.float32)
    np.testing.assert_allclose(np.sort(framed.boxes_of_file(box)), np.sort([[24, 36, 36, 60]]), atol=2.1)
    back, there = framed.map_of_file(bright.astype(np.int32)), image[..., 0] > 127
    assert (back & there).sum() / (back | there).sum() > 0.75


def test_a_transform_that_needs_labels_is_named():
    def by_label(batch, draws):
        return batch | {"image": batch["image"] + batch["label"][:, None, None, None]}

    with pytest.raises(UserError, match=r"eval_transforms\[1\] reads the feature 'label'.*only_labels"):
        ImagePreprocessing((Mask(), by_label), (8, 8, 3), "crop")(images(8, 8)[0])


def test_the_description_names_the_steps():
    describe = ImagePreprocessing((Objects(3), ResizeCrop(36, 32)), (32, 32, 3), "pad").describe()
    decoding = {"alpha": "white", "range": {"uint16": [0, 65535]}, "least_maximum": 4096}
    assert describe == {"channels": 3, "dtype": "uint8", **decoding, "steps": [{"resize_crop": [36, 32]}]}
    framing = ImagePreprocessing((), (28, 28, 1), "keep", ((28, 28, 1),)).describe()
    assert framing == {"channels": 1, "dtype": "uint8", **decoding, "steps": [{"keep": [28, 28]}]}
    scaled = ImagePreprocessing((), (28, 28, 4), "keep", scale=(0.0, 4095.0)).describe()
    assert scaled
    assert (scaled["alpha"], scaled["least_maximum"], scaled["range"]["uint16"]) == (None, None, [0.0, 4095.0])
    assert ImagePreprocessing((RandomWindow(8, 8),), (8, 8, 3), "crop").describe() is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of several sizes, modes and orientations, as two classes."""
    root, sizes = tmp_path_factory.mktemp("images"), ((40, 61), (52, 33), (30, 30), (45, 90))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    for number, (height, width) in enumerate(sizes):
        (root / "ab"[number % 2]).mkdir(exist_ok=True)
        image = Image.fromarray(images(height, width, count=1)[0]).convert(("RGB", "L", "RGB", "CMYK")[number])
        image.save(root / "ab"[number % 2] / f"{number}.jpg", exif=rotated if number == 0 else Image.Exif())
    return Dataset(f"folder:{root}", "train[:2]+train[2:]").load()


@pytest.mark.parametrize(
    "transforms",
    [
        (RandomResizedCrop(16), RandomFlip()),
        (ResizeCrop(18, 16),),
        (ResizePad(20, 16), RandomFlip()),
        (RandomFlip(), RandomScale(16, 20)),
    ],
)
def test_images_of_files_are_transformed_like_arrays(folder, transforms):
    data = Data(Dataset("folder:images", "train"), {}, 5, augment=transforms)
    batch = Batches(folder, data, seed=3).make(np.arange(5))
    arrays = [folder.read(batch["index"][row : row + 1]) for row in range(5)]
    draws = Draws(3, np.arange(5)).fold(0)
    expected = [apply(transforms, array, draws.rows(slice(row, row + 1))) for row, array in enumerate(arrays)]
    np.testing.assert_array_equal(batch["image"], np.concatenate([array["image"] for array in expected]))
    evaluated = next(iter(eval_batches(folder, 4, transforms)))
    for row in range(4):
        alone = transformed(transforms, folder.read(np.array([row])), np.array([row]))
        np.testing.assert_array_equal(evaluated["image"][row], alone["image"][0])
        assert evaluated["label"][row] == alone["label"][0]


def test_pictures_reach_only_transforms_that_take_them(folder):
    class Observed:
        def __init__(self, takes_pictures):
            self.takes_pictures, self.types = takes_pictures, set()

        def __call__(self, batch, draws):
            self.types.add(type(batch["image"]))
            return batch

    first, second = Observed(True), Observed(False)
    list(eval_batches(folder, 1, (first, second)))
    assert (first.types, second.types) == ({Picture}, {np.ndarray})
