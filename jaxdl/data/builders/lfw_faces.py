"""LFW faces: 100 faces and 100 background patches, 25x25 grey.

`lfw_subset.npy` of the PyPI package `scikit-image` 0.26.0 (BSD-3-Clause), from LFW (Huang, Mattar, Lee and
Learned-Miller, "Learning to Align from Scratch", 2012): random faces and background patches of the same photographs,
which are press photographs collected for research.

A shortcut exists: LFW rotates photographs for alignment, so 64 of 100 patches and no face have at least 10 black
pixels. The rule "no black corner means face" has an accuracy of 82%; see `benchmarks/baselines.py`.

The only split is `train`, for cross-validation (`jaxdl.data.splits.fold`): faces and patches alternate, each in a fixed
random order, so a fifth holds 20 of each. Identities are unknown, so a person may be on both sides.
"""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder, array, classes
from jaxdl.data.random import shuffled
from jaxdl.data.store.packages import PyPI

MEMBER = "skimage/data/lfw_subset.npy"
SOURCE = PyPI(
    "scikit-image",
    "0.26.0",
    members={MEMBER: "9560ec2f5edfac01973f63a8a99d00053fecd11e21877e18038fbe500f8e872c"},
)


class Builder(ExamplesBuilder, skip_registration=True):
    """`image` uint8 [25, 25, 1] and `label`."""

    name = "lfw_faces"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"image": array(25, 25, 1), "label": classes("not a face", "face")}

    def examples(self) -> dict[str, Any]:
        images, labels = interleave(np.load(SOURCE.fetch() / MEMBER))
        return {"train": [{"image": image, "label": int(label)} for image, label in zip(images, labels, strict=True)]}


def interleave(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels in the order of the split, alternating from a face.

    Args:
      values: n faces, then n patches, [2 n, height, width] from 0 to 1.

    Returns:
      uint8 [2 n, height, width, 1], scaled to 255, and int64 [2 n].
    """
    count = len(values) // 2
    faces = shuffled(np.arange(count), count, seed=0)
    others = count + shuffled(np.arange(count), count, seed=1)
    images = np.rint(255 * values).astype(np.uint8)[..., None]
    return images[np.stack([faces, others], axis=1).reshape(-1)], np.tile([1, 0], count)
