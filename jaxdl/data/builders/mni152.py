"""MNI152: axial slices of a brain template, T1-weighted MRI with grey and white matter, split by blocks of slices.

The symmetric ICBM 2009a template, the average of 152 registered brains (Fonov et al., 2011), without skull, at 1 mm, as
in the PyPI package `nilearn` 0.14.1 (BSD-3-Clause). Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging
Centre, Montreal Neurological Institute, McGill University. Use and distribution are permitted with this notice.

It is one brain: averaging blurs cortical folds and removes noise, lesions and most differences between people. The left
half mirrors the right one. Three periods of 51 slices from the cerebellum to the top each have 22 slices for training,
5 for validation and 7 for test. The gaps are 7 mm beside training slices and 3 mm between validation and test.
"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder, array
from jaxdl.data.store.packages import PyPI
from jaxdl.errors import UserError

FOLDER = "nilearn/datasets/data"
T1, GREY, WHITE = (f"{FOLDER}/mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz" for name in ("t1", "gm", "wm"))
SOURCE = PyPI(
    "nilearn",
    "0.14.1",
    members={
        T1: "eeb8a792a93948c83462305c71db783800e95eb3f6ce35975a4dd0f374f79bff",
        GREY: "9800242e730cec0d4ae97358d232904d09771bb0f10202ea4bf80eee50609b43",
        WHITE: "7c78a23ddd786979edbb50bdada52c86c405cf2986baee5df5791e0200d7ffeb",
    },
)
THRESHOLD = 127  # of the tissue maps, 0..255
FIRST, PERIOD = 2, 51  # first slice with tissue, and slices per period
BLOCKS = {"train": (0, 22), "validation": (29, 34), "test": (37, 44)}  # (start, stop) within a period
PERIODS = 3
WINDOW = ((18, 178), (22, 214))  # (start, stop) of left to right and back to front: contains the whole brain
_HEADER = 348  # bytes of a NIfTI-1 header


class Builder(ExamplesBuilder, skip_registration=True):
    """Slices of 192 x 160 mm, front at the top.

    `image` uint8 [192, 160, 1], 0 outside of the brain. `mask` uint8 [192, 160], 0 background (with cerebrospinal
    fluid), 1 grey matter, 2 white matter. `slice` is the height in mm above the lowest slice of the volume.
    """

    name = "mni152"
    NAMES = {"mask": ("background", "grey", "white")}
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "image": array(192, 160, 1, encoding="zlib"),
        "mask": array(192, 160, encoding="zlib"),
        "slice": tfds.features.Scalar(np.int32),
    }

    def examples(self) -> dict[str, Any]:
        folder = SOURCE.fetch()
        return parts(*(read_nifti(folder / name) for name in (T1, GREY, WHITE)))


def read_nifti(path: Path) -> np.ndarray:
    """Reads a compressed NIfTI-1 volume of bytes, uint8 [right, front, up].

    Raises:
      UserError: The file has another format or type.
    """
    content = gzip.decompress(path.read_bytes())
    header = np.frombuffer(content[:_HEADER], np.uint8)
    rank, *shape = (int(number) for number in header[40:56].view("<i2"))
    kind, start = int(header[70:72].view("<i2")[0]), int(header[108:112].view("<f4")[0])
    if content[344:347] != b"n+1" or rank != 3 or kind != 2:
        raise UserError(f"{path} is not a NIfTI-1 volume of bytes; remove the folder and prepare the data set again")
    return np.frombuffer(content, np.uint8, int(np.prod(shape[:3])), start).reshape(shape[:3], order="F")


def parts(image: np.ndarray, grey: np.ndarray, white: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """Returns the examples of each split, from bottom to top.

    Args:
      image, grey, white: Volumes uint8 [right, front, up].
    """
    tissue = np.where(grey > THRESHOLD, 1, np.where(white > THRESHOLD, 2, 0)).astype(np.uint8)
    image, tissue = (axial(volume) for volume in (image, tissue))
    return {
        split: [{"image": image[level, ..., None], "mask": tissue[level], "slice": level} for level in levels(split)]
        for split in BLOCKS
    }


def levels(split: str) -> list[int]:
    """Returns the slices of a split."""
    start, stop = BLOCKS[split]
    return [FIRST + period * PERIOD + level for period in range(PERIODS) for level in range(start, stop)]


def axial(volume: np.ndarray) -> np.ndarray:
    """Cuts the window: [right, front, up] -> [up, 192, 160] with the front at the top."""
    (left, right), (back, front) = WINDOW
    return np.ascontiguousarray(volume[left:right, back:front].transpose(2, 1, 0)[:, ::-1])
