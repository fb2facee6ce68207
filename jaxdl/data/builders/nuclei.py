"""Nuclei: one fluorescence micrograph with 125 outlined cell nuclei, cut in space into train, validation and test.

The 512x512 example image of StarDist (Schmidt, Weigert, Broaddus and Myers, 2018, arXiv:1806.03535), from its package
`stardist` 0.9.2. Licence: BSD-3-Clause.

The parts are whole columns, so no pixel is in two of them. The borders lie where they cut few nuclei, at multiples of
16 for networks that halve the image four times: 3 nuclei are cut at column 288 and 3 at column 368. Each side of a cut
nucleus is an object of its part: train has 82, validation 19 and test 30, the smallest of 25 pixels. Grey values are
spread over 0 to 255 between the 1st and the 99.8th percentile of the TRAINING part, for all parts, and cut off outside.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.store.packages import PyPI

FOLDER = "stardist/data/images"
SOURCE = PyPI(
    "stardist",
    "0.9.2",
    members={
        f"{FOLDER}/img2d.tif": "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750",
        f"{FOLDER}/mask2d.tif": "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f",
    },
)
HEIGHT = 512
COLUMNS = {"train": (0, 288), "validation": (288, 368), "test": (368, 512)}  # first, and one after the last
PERCENTILES = (1.0, 99.8)
SMALLEST = 20  # pixels: less of a nucleus than this, left at a border by the cut, is no object


class Builder(ExamplesBuilder, skip_registration=True):
    """One example a split, 512 high and 288, 80 or 144 wide.

    `image` uint8 [height, width, 1], bright on dark. `mask` uint8 [height, width]: 0 background, 1 nucleus.
    `instances` int32 [height, width]: 0 background, 1, 2, ... one number a nucleus; what is left of a cut nucleus
    is 0 there, though 1 in `mask`, if it is under 20 pixels.
    """

    name = "nuclei"
    NAMES = {"mask": ("background", "nucleus")}
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(HEIGHT, None, 1), dtype=np.uint8, encoding="bytes"),
                "mask": tfds.features.Tensor(shape=(HEIGHT, None), dtype=np.uint8, encoding="bytes"),
                "instances": tfds.features.Tensor(shape=(HEIGHT, None), dtype=np.int32, encoding="bytes"),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        folder = SOURCE.fetch() / FOLDER
        image, instances = (np.asarray(Image.open(folder / name)) for name in ("img2d.tif", "mask2d.tif"))
        return {split: _examples(part) for split, part in parts(image, instances).items()}


def _examples(example: Mapping[str, np.ndarray]) -> Iterator[tuple[int, Mapping[str, np.ndarray]]]:
    yield 0, example


def parts(image: np.ndarray, instances: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """The examples of each split, as the builder describes them.

    Args:
      image: [512, 512] grey values of any range.
      instances: [512, 512] 0 background, else a nucleus's number.
    """
    first, last = COLUMNS["train"]
    low, high = np.percentile(image[:, first:last], PERCENTILES)
    grey = np.rint(255 * np.clip((image - low) / (high - low), 0, 1)).astype(np.uint8)
    return {
        split: {
            "image": grey[:, start:stop, None],
            "mask": (instances[:, start:stop] > 0).astype(np.uint8),
            "instances": relabelled(instances[:, start:stop]),
        }
        for split, (start, stop) in COLUMNS.items()
    }


def relabelled(instances: np.ndarray, smallest: int = SMALLEST) -> np.ndarray:
    """`instances` [height, width] with its objects of `smallest` pixels or more numbered 1, 2, ... and int32."""
    numbers, where, sizes = np.unique(instances, return_inverse=True, return_counts=True)
    kept = (numbers > 0) & (sizes >= smallest)
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[where].reshape(instances.shape)
