"""Nuclei: one fluorescence micrograph with 125 outlined cell nuclei, split spatially.

The 512x512 example image of StarDist (Schmidt, Weigert, Broaddus and Myers, 2018, arXiv:1806.03535), from its PyPI
package `stardist` 0.9.2. Licence: BSD-3-Clause.

The splits are column ranges at multiples of 16, for networks that downsample four times; 3 nuclei are cut at column
288 and 3 at column 368, and each side counts as an object. Train has 82 objects, validation 19, test 30, the smallest
of 25 pixels. Grey values are scaled to 0..255 between the 1st and 99.8th percentile of the training split and clipped.
"""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxdl.data.builders._base import ExamplesBuilder, array
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
COLUMNS = {"train": (0, 288), "validation": (288, 368), "test": (368, 512)}  # (start, stop)
PERCENTILES = (1.0, 99.8)
SMALLEST = 20  # pixels; smaller fragments of a cut nucleus are not objects


class Builder(ExamplesBuilder, skip_registration=True):
    """One example per split, 512 pixels high and 288, 80 or 144 wide.

    `image` uint8 [height, width, 1], bright on dark. `mask` uint8 [height, width], 0 background, 1 nucleus.
    `instances` int32 [height, width], 0 background, 1, 2, .. per nucleus. Fragments of less than 20 pixels are 1 in
    `mask` but 0 in `instances`.
    """

    name = "nuclei"
    NAMES = {"mask": ("background", "nucleus")}
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "image": array(HEIGHT, None, 1),
        "mask": array(HEIGHT, None),
        "instances": array(HEIGHT, None, dtype=np.int32),
    }

    def examples(self) -> dict[str, Any]:
        folder = SOURCE.fetch() / FOLDER
        image, instances = (np.asarray(Image.open(folder / name)) for name in ("img2d.tif", "mask2d.tif"))
        return {split: [example] for split, example in parts(image, instances).items()}


def parts(image: np.ndarray, instances: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Returns the example of each split; see `Builder`.

    Args:
      image: Grey values of any range, [512, 512].
      instances: 0 for background, else the number of a nucleus, [512, 512].
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
    """Renumbers objects of at least `smallest` pixels from 1, int32 [height, width].

    Smaller objects become background.
    """
    numbers, inverse, sizes = np.unique(instances, return_inverse=True, return_counts=True)
    kept = (numbers > 0) & (sizes >= smallest)
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[inverse].reshape(instances.shape)
