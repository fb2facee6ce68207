"""LFW faces: 100 faces and 100 patches of background, 25x25 grey, from Labeled Faces in the Wild.

The file `lfw_subset.npy` of the package `scikit-image` 0.26.0, cut out of LFW (Huang, Mattar, Lee and Learned-Miller,
"Learning to Align from Scratch", 2012): faces taken at random, and patches of the backgrounds of the same photographs.
scikit-image is under BSD-3-Clause; the photographs are from the news, collected by LFW for research.

A shortcut: LFW's photographs are turned to be aligned, so 64 of the 100 patches, and no face, have 10 pixels or more of
the black around them. "No such corner, so a face" is right 82 times of 100: compare with `benchmarks/baselines.py`.

There is one split, for cross-validation (`jaxdl.data.splits.fold`): faces and backgrounds by turns, each class in a
fixed random order, so that a fifth of it holds 20 of each. Who is shown is not known, so a person can be on both sides.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.random import shuffled
from jaxdl.data.store.packages import PyPI

MEMBER = "skimage/data/lfw_subset.npy"
SOURCE = PyPI(
    "scikit-image",
    "0.26.0",
    members={MEMBER: "9560ec2f5edfac01973f63a8a99d00053fecd11e21877e18038fbe500f8e872c"},
)
CLASSES = ["not a face", "face"]


class Builder(ExamplesBuilder, skip_registration=True):
    """`image` uint8 [25, 25, 1] and `label`."""

    name = "lfw_faces"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(25, 25, 1), dtype=np.uint8, encoding="bytes"),
                "label": tfds.features.ClassLabel(names=CLASSES),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": _examples(*arranged(np.load(SOURCE.fetch() / MEMBER)))}


def arranged(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels in the order of the split, a face first.

    Args:
      values: [2 n, height, width] from 0 to 1: n faces, then n that are none.

    Returns:
      uint8 [2 n, height, width, 1], where 1 became 255, and int64 [2 n].
    """
    count = len(values) // 2
    faces = shuffled(np.arange(count), count, seed=0)
    others = count + shuffled(np.arange(count), count, seed=1)
    images = np.rint(255 * values).astype(np.uint8)[..., None]
    return images[np.stack([faces, others], axis=1).reshape(-1)], np.tile([1, 0], count)


def _examples(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield number, {"image": image, "label": int(label)}
