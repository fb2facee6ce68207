"""Boxes, masks and instances follow the pixels under every transform."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.dataset import Data
from jaxdl.data.image import geometry
from jaxdl.data.image.resize import (
    RandomResizedCrop,
    RandomScale,
    RandomWindow,
    ResizeCrop,
    ResizePad,
)
from jaxdl.data.image.transforms import (
    ColorJitter,
    Cutout,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomHue,
)
from jaxdl.data.pipeline import Batches
from jaxdl.data.random import Draws
from jaxdl.data.source import ColumnSource
from jaxdl.data.synthetic.scenes import MockScenes
from jaxdl.errors import UserError

UPRIGHT = [
    RandomFlip(),
    RandomCrop(5),
    RandomResizedCrop(24, scale=(0.3, 1.0)),
    ResizeCrop(24, 20),
    RandomWindow(17, 13),
    ResizePad(30, 44),
    ResizePad(15, 40),
    RandomScale(30, 26, scale=(0.5, 2.0)),
    RandomAffine(translate=6, scale=(0.7, 1.5)),
]
ALL = [
    *UPRIGHT,
    RandomAffine(degrees=30, translate=2, scale=(0.8, 1.2), shear=10),
    ColorJitter(0.4, 0.4, 0.4),
    RandomHue(),
]
COMPANIONS = ("image", "boxes", "box_label", "box_weight", "box_crowd", "mask", "instances")


def rectangles(corners, height=32, width=27):
    """Returns a batch with one white rectangle (top, left, bottom, right) per image.

    The batch has a mask, instances and boxes.
    """
    count = len(corners)
    image = np.zeros((count, height, width, 3), np.uint8)
    mask, instances = np.zeros((count, height, width), np.uint8), np.zeros((count, height, width), np.int32)
    boxes = np.zeros((count, 2, 4), np.float32)
    for row, (top, left, bottom, right) in enumerate(corners):
        image[row, top:bottom, left:right] = 255
        mask[row, top:bottom, left:right] = 7
        instances[row, top:bottom, left:right] = 70_000
        boxes[row, 0] = (top, left, bottom, right)
    weight = np.tile(np.array([1, 0], np.float32), (count, 1))
    batch = {"image": image, "boxes": boxes, "box_label": np.tile(np.array([3, 0], np.int32), (count, 1))}
    return batch | {"box_weight": weight, "box_crowd": 0 * weight, "mask": mask, "instances": instances}


def run(transform, batch, seed=0, first=0):
    positions = np.arange(first, first + len(batch["image"]))
    return transform(batch, Draws(seed, positions))


def hull(inside):
    """Computes the bounding box (top, left, bottom, right) of nonzero pixels [height, width]."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


@st.composite
def corners(draw, height=32, width=27):
    top, left = draw(st.integers(0, height - 6)), draw(st.integers(0, width - 6))
    return top, left, draw(st.integers(top + 6, height)), draw(st.integers(left + 6, width))


@pytest.mark.parametrize("transform", UPRIGHT, ids=repr)
@settings(max_examples=25, deadline=None)
@given(corner=corners(), seed=st.integers(0, 2**20))
def test_image_boxes_and_masks_move_together(transform, corner, seed):
    moved = run(transform, rectangles([corner] * 3), seed)
    for row in range(3):
        image, mask = moved["image"][row, :, :, 0], moved["mask"][row]
        np.testing.assert_array_equal(mask == 7, moved["instances"][row] == 70_000)
        # The image is interpolated: pixels at the rectangle's border may fall on either side.
        sure = ((image > 250) & (mask != 7)) | ((image < 5) & (mask == 7))
        grown = np.zeros_like(sure)
        if (mask == 7).any():
            top, left, bottom, right = hull(mask == 7)
            grown[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = True
            grown[top + 1 : bottom - 1, left + 1 : right - 1] = False
        assert not (sure & ~grown).any()
        if moved["box_weight"][row, 0]:
            assert moved["box_label"][row, 0] == 3
            box = moved["boxes"][row, 0]
            assert (box[2:] > box[:2]).all()
            assert (box >= 0).all()
            assert (box[2:] <= mask.shape).all()
            if (mask == 7).any():  # a box thinner than a pixel may not contain a pixel center
                assert abs(hull(mask == 7) - box).max() <= 0.51
        else:
            assert (moved["boxes"][row, 0] == 0).all()
            assert moved["box_label"][row, 0] == 0
        assert (moved["boxes"][row, 1] == 0).all()


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_boxes_and_masks_are_independent_of_the_batch_and_leave_the_image_unchanged(transform):
    batch = rectangles([(row % 20, row % 13, row % 20 + 9, row % 13 + 8) for row in range(24)])
    before = {name: value.copy() for name, value in batch.items()}
    together = run(transform, batch)
    singles = [run(transform, {n: v[row : row + 1] for n, v in batch.items()}, first=row) for row in range(24)]
    for name in COMPANIONS:
        np.testing.assert_array_equal(
            together[name], np.concatenate([single[name] for single in singles]), err_msg=name
        )
        assert together[name].dtype == batch[name].dtype
        np.testing.assert_array_equal(batch[name], before[name])
    np.testing.assert_array_equal(run(transform, {"image": batch["image"]})["image"], together["image"])
    for name in ("mask", "instances"):
        separate = run(transform, {"image": batch["image"], name: batch[name]})
        np.testing.assert_array_equal(separate[name], together[name])


@settings(max_examples=30, deadline=None)
@given(corner=corners(), width=st.integers(27, 40))
def test_mirroring_twice_is_the_identity(corner, width):
    class Always(Draws):
        def uniform(self, count=None):
            return np.zeros(len(self._key) if count is None else (len(self._key), count))

    batch: Any = rectangles([corner], width=width)
    mirrored = RandomFlip()(batch, Always(0, np.arange(1)))
    assert mirrored["boxes"][0, 0].tolist() == [corner[0], width - corner[3], corner[2], width - corner[1]]
    restored = RandomFlip()(mirrored, Always(0, np.arange(1)))
    for name in COMPANIONS:
        np.testing.assert_array_equal(restored[name], batch[name])


def test_a_rotated_box_encloses_its_corners():
    class Largest(Draws):
        def between(self, low, high):
            return np.full(len(self._key), high)

    batch = rectangles([(10, 12, 20, 16)], height=32, width=32)
    quarter = RandomAffine(degrees=90)(batch, Largest(0, np.arange(1)))
    np.testing.assert_allclose(quarter["boxes"][0, 0], hull(quarter["mask"][0] == 7), atol=1e-4)
    np.testing.assert_array_equal(quarter["image"][0, :, :, 0] > 128, quarter["mask"][0] == 7)
    eighth = RandomAffine(degrees=45)(batch, Largest(0, np.arange(1)))
    side = 14 / np.sqrt(2)  # of the square around a rectangle of 10 x 4 at 45 degrees
    box = eighth["boxes"][0, 0]
    np.testing.assert_allclose([box[2] - box[0], box[3] - box[1]], side, rtol=1e-5)
    assert abs(hull(eighth["mask"][0] == 7) - box).max() < 1.1
    assert (eighth["mask"][0, 0, 0], eighth["instances"][0, 0, 0]) == (255, 0)  # no image in the corner


def test_boxes_are_removed_by_their_remaining_area():
    batch = rectangles([(0, 0, 20, 20)] * 3, height=40, width=40)
    batch["boxes"][:, 1] = batch["boxes"][:, 0]
    batch["box_crowd"][:, 1] = 1
    windows = np.array([[0, 18, 20, 38], [0, 18.1, 20, 38.1], [20, 20, 40, 40]])
    cut = geometry.cut(batch, windows, 20, 20)
    assert cut["box_weight"][:, 0].tolist() == [1, 0, 0]  # a tenth, less than a tenth, zero
    assert cut["boxes"][0, 0].tolist() == [0, 0, 20, 2]
    assert cut["box_crowd"][:, 1].tolist() == [1, 1, 0]  # a crowd region is kept up to its last pixel
    assert (cut["boxes"][2] == 0).all()
    assert (cut["box_label"][2] == 0).all()


def test_padding_is_unlabelled():
    batch = rectangles([(0, 0, 32, 27)])
    padded = run(ResizePad(32, 64), batch)
    assert padded["boxes"][0, 0].tolist() == [0, 18, 32, 45]
    outside = np.ones((32, 64), bool)
    outside[:, 18:45] = False
    np.testing.assert_array_equal(padded["mask"][0], np.where(outside, 255, 7))
    np.testing.assert_array_equal(padded["instances"][0], np.where(outside, 0, 70_000))
    np.testing.assert_array_equal(padded["image"][0, :, :, 0], np.where(outside, 0, 255))


def test_reflected_objects_are_refused_but_masks_are_reflected():
    batch = rectangles([(0, 0, 10, 10)] * 8)
    with pytest.raises(UserError, match="constant"):
        run(RandomCrop(3, mode="reflect"), batch)
    only = run(RandomCrop(3, mode="reflect"), {name: batch[name] for name in ("image", "mask")})
    np.testing.assert_array_equal(only["image"][..., 0] == 255, only["mask"] == 7)


def test_mismatched_features_are_refused():
    batch = rectangles([(0, 0, 10, 10)])
    with pytest.raises(UserError, match="apply Objects"):
        run(RandomFlip(), batch | {"objects/bbox": np.zeros((1, 0, 4), np.float32)})
    with pytest.raises(UserError, match="apply Mask"):
        run(ResizePad(8, 8), {"image": batch["image"], "segmentation_mask": batch["mask"][..., None]})
    with pytest.raises(UserError, match="'mask' has shape"):
        run(RandomCrop(2), {"image": batch["image"], "mask": batch["mask"][:, :-1]})
    with pytest.raises(UserError, match="box_weight"):
        run(RandomFlip(), {"image": batch["image"], "boxes": batch["boxes"], "box_label": batch["box_label"]})


def test_random_windows_are_crops_of_the_image():
    image = np.arange(9 * 7, dtype=np.uint8).reshape(1, 9, 7, 1)
    offsets = set()
    for position in range(300):
        window = run(RandomWindow(8, 5), {"image": image}, first=position)["image"][0, :, :, 0]
        top, left = divmod(int(window[0, 0]), 7)
        np.testing.assert_array_equal(window, image[0, top : top + 8, left : left + 5, 0])
        offsets.add((top, left))
    assert len(offsets) == 2 * 3
    with pytest.raises(UserError, match="9 x 7"):
        run(RandomWindow(10, 5), {"image": image})
    with pytest.raises(UserError, match="at least 1"):
        RandomWindow(0, 5)


@pytest.mark.parametrize("in_memory", [True, False])
def test_one_large_image_gives_batches_of_windows(in_memory):
    large = rectangles([(5, 5, 20, 20)])
    source = ColumnSource({name: large[name] for name in ("image", "mask")}, "large", in_memory=in_memory)
    data = Data(train=MockScenes(), evals={}, batch_size=16, augment=(RandomWindow(8, 8), RandomFlip()))
    batch, next_batch = (Batches(source, data, seed=0).at(step) for step in (0, 1))
    assert batch["image"].shape == (16, 8, 8, 3)
    np.testing.assert_array_equal(batch["image"][..., 0] == 255, batch["mask"] == 7)
    assert len({window.tobytes() for window in batch["mask"]}) > 4
    assert (batch["image"] != next_batch["image"]).any()


def test_resize_pad_keeps_the_aspect_and_random_scale_changes_the_size():
    tall = np.full((1, 40, 10, 1), 200, np.uint8)
    boxed = run(ResizePad(20, 20), {"image": tall})["image"][0, :, :, 0]
    assert hull(boxed > 0).tolist() == [0, 7, 20, 12]
    assert set(boxed[boxed > 0].tolist()) == {200}
    np.testing.assert_array_equal(run(ResizePad(40, 10), {"image": tall})["image"], tall)
    sizes = [
        hull(run(RandomScale(20, 20, (0.5, 1.0)), {"image": tall}, first=number)["image"][0, :, :, 0])
        for number in range(60)
    ]
    heights = [bottom - top for top, _, bottom, _ in sizes]
    assert (min(heights), max(heights)) <= (12, 20)
    assert max(heights) >= 18
    assert len({tuple(size) for size in sizes}) > 30


@pytest.mark.parametrize("interval", [(0.0, 0.5), (0.5, 0.2), (-1.0, 1.0)])
@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (partial(RandomScale, 4, 4), "scale"),
        (partial(RandomResizedCrop, 4), "scale"),
        (partial(RandomResizedCrop, 4), "ratio"),
        (RandomAffine, "scale"),
        (RandomErasing, "area"),
        (RandomErasing, "ratio"),
    ],
)
def test_an_interval_without_a_positive_minimum_or_in_reverse_order_is_refused(transform, name, interval):
    with pytest.raises(UserError, match=rf"\w\.{name}=.* must be \(minimum, maximum\)"):
        transform(**{name: interval})
    assert transform(**{name: (0.2, 0.2)})


@pytest.mark.parametrize("size", [0, 25])
def test_a_center_crop_larger_than_the_resized_image_is_refused(size):
    with pytest.raises(UserError, match=r"ResizeCrop\(resize=24, size=.* must have 1 <= size <= resize"):
        ResizeCrop(24, size)


def test_photometric_transforms_leave_boxes_and_masks_unchanged():
    batch = rectangles([(3, 3, 12, 12)] * 8)
    for transform in (ColorJitter(0.5, 0.5, 0.5), Cutout(5)):
        transformed = run(transform, batch)
        assert (transformed["image"] != batch["image"]).any()
        assert all(transformed[name] is batch[name] for name in COMPANIONS[1:])


def fixed(value):
    class Fixed(Draws):
        def uniform(self, count=None):
            return np.full(len(self._key), value)

    return Fixed(0, np.arange(1))


def test_colour_jitter_applies_its_factors():
    image = np.array([[[[100, 50, 20], [60, 60, 60]]]], np.uint8)

    def jitter(value, **strengths):
        return ColorJitter(**strengths)({"image": image}, fixed(value))["image"]

    np.testing.assert_array_equal(jitter(0.5, brightness=1.0, contrast=1.0, saturation=1.0), image)  # factors of 1
    np.testing.assert_array_equal(jitter(0.75, brightness=1.0), [[[[150, 75, 30], [90, 90, 90]]]])
    np.testing.assert_array_equal(jitter(1.0, brightness=1.0)[0, 0, 0], [200, 100, 40])
    grey = 0.299 * 100 + 0.587 * 50 + 0.114 * 20
    np.testing.assert_array_equal(jitter(0.0, saturation=1.0)[0, 0], [[round(grey)] * 3, [60] * 3])
    assert len(set(jitter(0.0, contrast=1.0).ravel().tolist())) == 1
    assert jitter(0.0, contrast=1.0).ravel()[0] == round((grey + 60) / 2)
    np.testing.assert_array_equal(image.ravel()[:3], [100, 50, 20])
    channel = image[..., :1]
    np.testing.assert_array_equal(ColorJitter(saturation=1.0)({"image": channel}, fixed(0.0))["image"], channel)
    for invalid in (-0.1, 1.5):
        with pytest.raises(UserError, match="from 0 to 1"):
            ColorJitter(brightness=invalid)
    with pytest.raises(UserError, match="uint8"):
        ColorJitter(0.1)({"image": image.astype(np.float32)}, fixed(0.0))


def test_mock_scenes_have_exact_boxes_and_masks():
    scenes = MockScenes(examples=40, objects=4, classes=5)
    source = scenes.load()
    batch = source.read(np.arange(40))
    assert {name: (value.shape[1:], str(value.dtype)) for name, value in batch.items()} == {
        "image": ((48, 48, 3), "uint8"),
        "boxes": ((4, 4), "float32"),
        "box_label": ((4,), "int32"),
        "box_weight": ((4,), "float32"),
        "mask": ((48, 48), "uint8"),
        "instances": ((48, 48), "int32"),
    }
    assert source.names["mask"] == ("background", *source.names["box_label"])
    assert len(source.names["box_label"]) == 5
    for row in range(40):
        count = int(batch["box_weight"][row].sum())
        assert sorted(set(batch["instances"][row].ravel().tolist())) == list(range(count + 1))
        for number in range(count):
            inside = batch["instances"][row] == number + 1
            np.testing.assert_array_equal(hull(inside), batch["boxes"][row, number])
            assert set(batch["mask"][row][inside].tolist()) == {batch["box_label"][row, number] + 1}
        np.testing.assert_array_equal(batch["mask"][row] == 0, batch["instances"][row] == 0)
        assert (batch["boxes"][row, count:] == 0).all()
    assert set(batch["box_weight"].sum(1).tolist()) == {1, 2, 3, 4}
    # The mean colour of a class identifies its pixels in another split.
    test = MockScenes(examples=20, objects=4, classes=5, split="test").load().read(np.arange(20))
    means = np.stack([batch["image"][batch["mask"] == label].mean(0) for label in range(6)])
    guess = ((test["image"][..., None, :] - means) ** 2).sum(-1).argmin(-1)
    assert (guess == test["mask"]).mean() > 0.99
    # Additional examples do not change the first ones.
    prefix = MockScenes(examples=3, objects=4, classes=5).load().read(np.arange(3))
    for name, value in prefix.items():
        np.testing.assert_array_equal(value, batch[name][:3])


def test_mock_scenes_support_other_shapes():
    grey = MockScenes(shape=(16, 24, 1), classes=1, objects=1, examples=4).load()
    assert grey.columns["image"].shape == (4, 16, 24, 1)
    assert grey.fingerprint != MockScenes(shape=(16, 24, 1), classes=1, objects=1, examples=5).load().fingerprint
    with pytest.raises(UserError, match="do not fit"):
        MockScenes(shape=(8, 8, 3), objects=9)
    with pytest.raises(UserError, match="channels"):
        MockScenes(shape=(8, 8, 2))


def test_a_hue_rotation_by_120_degrees_permutes_primaries():
    image = np.array([[[[200, 0, 0], [90, 90, 90]]]], np.uint8)
    for value, expected in ((1.0, [0, 200, 0]), (0.5, [200, 0, 0]), (0.0, [0, 0, 200])):
        rotated = RandomHue(120.0)({"image": image}, fixed(value))["image"]
        np.testing.assert_array_equal(rotated[0, 0], [expected, [90, 90, 90]])
