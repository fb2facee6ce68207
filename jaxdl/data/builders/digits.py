"""Digits: 1,797 handwritten digits, 8x8, 10 classes, from scikit-learn without a download.

The test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998), scaled from 0..16 to 0..255 by
`round(value * 255 / 16)`. The split is drawn here: 36 random digits per class (360) for test, 1,437 for training. A
writer may be in both.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.random import shuffled

TEST_PER_CLASS = 36


class Builder(ExamplesBuilder, skip_registration=True):
    """`image` uint8 [8, 8, 1], white on black, and `label`."""

    name = "digits"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8, encoding="bytes"),
                "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        from sklearn.datasets import load_digits

        values, labels = load_digits(return_X_y=True)
        images = np.rint(np.asarray(values) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        labels = np.asarray(labels)
        order = shuffled(np.arange(len(labels)), len(labels), seed=0)
        # Number of earlier digits of the same class in this order.
        rank = np.array([np.sum(labels[order[:position]] == labels[row]) for position, row in enumerate(order)])
        test = rank < TEST_PER_CLASS
        return {
            "train": _examples(images, labels, order[~test]),
            "test": _examples(images, labels, order[test]),
        }


def _examples(images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(rows):
        yield number, {"image": images[row], "label": int(labels[row])}
