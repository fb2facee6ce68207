"""Two views: independent draws, pairs, determinism."""

import numpy as np

from jaxdl.data.image.transforms import RandomCrop, RandomFlip
from jaxdl.data.image.views import TwoViews
from jaxdl.data.random import Draws

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
VIEWS = TwoViews((RandomFlip(), RandomCrop(2)))


def views(batch, rows=None):
    rows = np.arange(len(batch["image"])) if rows is None else rows
    batch = {name: value[rows] for name, value in batch.items()} | {"index": rows}
    return VIEWS(batch, Draws(3, rows))


def test_views_are_independent_transforms_of_one_image():
    batch = views({"image": IMAGES, "label": np.arange(40)})
    assert (batch["image"] != batch["positive"]).any((1, 2, 3)).mean() > 0.8
    flips = TwoViews((RandomFlip(),))({"image": IMAGES, "index": np.arange(40)}, Draws(0, np.arange(40)))
    for name in ("image", "positive"):
        same, flipped = ((flips[name] == image).all((1, 2, 3)) for image in (IMAGES, IMAGES[:, :, ::-1]))
        assert (same ^ flipped).all()
        assert 8 < same.sum() < 32
    np.testing.assert_array_equal(batch["label"], np.arange(40))


def test_a_pair_has_one_view_of_each_image():
    other = 255 - IMAGES
    batch = TwoViews(())({"image": IMAGES, "positive": other, "index": np.arange(40)}, Draws(0, np.arange(40)))
    np.testing.assert_array_equal(batch["image"], IMAGES)
    np.testing.assert_array_equal(batch["positive"], other)


def test_views_do_not_depend_on_the_batch():
    whole, part = views({"image": IMAGES}), views({"image": IMAGES}, np.array([7, 3]))
    for name in ("image", "positive"):
        np.testing.assert_array_equal(part[name], whole[name][[7, 3]])
