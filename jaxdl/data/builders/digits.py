"""Digits: 1,797 handwritten digits, 8x8, 10 classes, from scikit-learn without a download.

The test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998), scaled from 0..16 to 0..255 by
`round(value * 255 / 16)`. The split is drawn here: 36 random digits per class (360) for test, 1,437 for training. A
writer may be in both.
"""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder, array, classes
from jaxdl.data.random import shuffled

TEST_PER_CLASS = 36


class Builder(ExamplesBuilder, skip_registration=True):
    """`image` uint8 [8, 8, 1], white on black, and `label`."""

    name = "digits"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"image": array(8, 8, 1), "label": classes(*map(str, range(10)))}

    def examples(self) -> dict[str, Any]:
        from sklearn.datasets import load_digits

        values, labels = load_digits(return_X_y=True)
        images = np.rint(np.asarray(values) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        labels = np.asarray(labels)
        order = shuffled(np.arange(len(labels)), len(labels), seed=0)
        # Number of earlier digits of the same class in this order.
        rank = np.array([np.sum(labels[order[:position]] == labels[row]) for position, row in enumerate(order)])
        test = rank < TEST_PER_CLASS
        rows_by_split = {"train": order[~test], "test": order[test]}
        return {
            split: [{"image": images[row], "label": int(labels[row])} for row in rows]
            for split, rows in rows_by_split.items()
        }
