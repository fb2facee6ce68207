"""Items: pairs of pictures, labels by name over splits, errors."""

from dataclasses import dataclass

import numpy as np
import pytest

from jaxdl.data.bank import WithBank
from jaxdl.data.image.items import ItemPairs, Items
from jaxdl.data.source import ColumnSource
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Named:
    """Items with pictures in two styles, of one gray level each."""

    items: tuple[str, ...]
    levels: tuple[int, ...]

    def load(self):
        photo = np.broadcast_to(np.array(self.levels, np.uint8)[:, None, None, None], (len(self.items), 4, 4, 3))
        names = np.array(self.items, dtype=object)
        return ColumnSource({"photo": photo, "sketch": 255 - photo, "name": names}, repr(self))


class Ramp:
    """Two images that differ from their mirror images."""

    def load(self):
        image = np.arange(2 * 16, dtype=np.uint8).reshape(2, 4, 4, 1)
        return ColumnSource({"image": image, "negative": 255 - image}, "ramp")


ALL = Named(("cup", "hat", "key"), (10, 20, 30))


def test_pairs_are_two_pictures_of_one_item():
    batch = ItemPairs(ALL, "photo", "sketch", size=2).load().read(np.array([2, 0]))
    assert set(batch) == {"image", "positive"}
    assert batch["image"].shape == (2, 2, 2, 3)
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], [30, 10])
    np.testing.assert_array_equal(batch["positive"][:, 0, 0, 0], [225, 245])


def test_mirrored_pairs_are_further_items():
    pairs = ItemPairs(Ramp(), "image", "negative", mirrored=True).load().read(np.arange(4))
    np.testing.assert_array_equal(pairs["image"][:2], Ramp().load().columns["image"])
    for name in ("image", "positive"):
        np.testing.assert_array_equal(pairs[name][2:], pairs[name][:2, :, ::-1])
        assert (pairs[name][2:] != pairs[name][:2]).any()


def test_items_of_a_split_have_the_labels_of_the_catalogue():
    queries = Items(Named(("key", "cup"), (31, 11)), ALL, "photo")
    source = WithBank(queries, Items(ALL, ALL, "sketch")).load()
    assert source.names["label"] == ("cup", "hat", "key")
    batch = source.read(np.arange(5))
    np.testing.assert_array_equal(batch["label"], [2, 0, 0, 1, 2])
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], [31, 11, 245, 235, 225])


def test_items_of_one_name_have_one_label():
    twice = Named(("cup", "hat", "cup"), (1, 2, 3))
    source = Items(twice, twice, "photo").load()
    assert source.names["label"] == ("cup", "hat")
    np.testing.assert_array_equal(source.columns["label"], [0, 1, 0])


def test_an_item_outside_the_catalogue_is_refused():
    with pytest.raises(UserError, match="'pen' is not in the catalogue"):
        Items(Named(("pen",), (1,)), ALL, "photo").load()
