"""Fashion-MNIST: 70,000 grey 28x28 images of clothes (Xiao, Rasul and Vollgraf, 2017).

The original files in their original order (60,000 train, 10,000 test), from a Debian package. Elsewhere, put the
authors' four files into a folder and set the environment variable JAXDL_SOURCES to it. Licence: MIT.
"""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder, array, classes
from jaxdl.data.store.packages import Debian

FOLDER = "usr/share/datasets/fashion-mnist"
SOURCE = Debian(
    "dataset-fashion-mnist",
    members={
        f"{FOLDER}/train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        f"{FOLDER}/train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        f"{FOLDER}/t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        f"{FOLDER}/t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)
CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip


class Builder(ExamplesBuilder, skip_registration=True):
    """`image` uint8 [28, 28, 1], white on black, and `label`."""

    name = "fashion_mnist"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"image": array(28, 28, 1), "label": classes(*CLASSES)}

    def examples(self) -> dict[str, Any]:
        folder = SOURCE.fetch() / FOLDER
        return {"train": _examples(folder, "train"), "test": _examples(folder, "t10k")}


def _examples(folder: Path, prefix: str) -> Iterator[dict[str, Any]]:
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")[..., None]
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    for image, label in zip(images, labels, strict=True):
        yield {"image": image, "label": int(label)}


def read_idx(path: Path) -> np.ndarray:
    """Reads a gzipped IDX file (MNIST format) as uint8 of the stored shape."""
    with gzip.open(path) as file:
        data = file.read()
    dimensions = data[3]
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
