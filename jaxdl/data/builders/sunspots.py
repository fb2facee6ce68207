"""Sunspots: yearly mean number of sunspots, 1700 to 2008.

309 years of one series, `sunspots.csv` of the PyPI package `statsmodels` 0.15.0 (BSD-3-Clause), from the US National
Geophysical Data Center (public domain). No value is missing.

The only split is `train`, in temporal order; `jaxdl.data.series.windows.Series` splits it in time. The usual training
set since Weigend, Huberman and Rumelhart ("Predicting the Future", 1990) is 1700 to 1920, rows 0 to 220.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.store.packages import PyPI

MEMBER = "statsmodels/datasets/sunspots/sunspots.csv"
SOURCE = PyPI(
    "statsmodels", "0.15.0", members={MEMBER: "f67889b1d9002cd5227f0e0ef54e35b419cdd85a31279adef6f73fb41e5c0a9b"}
)


class Builder(ExamplesBuilder, skip_registration=True):
    """`series` class, always 0; `time` int32, year; `value` float32, number of sunspots."""

    name = "sunspots"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "series": tfds.features.ClassLabel(names=["sunspots"]),
                "time": tfds.features.Scalar(np.int32),
                "value": tfds.features.Scalar(np.float32),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": _examples((SOURCE.fetch() / MEMBER).read_text())}


def _examples(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(csv.DictReader(io.StringIO(text))):
        yield number, {"series": 0, "time": int(row["YEAR"]), "value": float(row["SUNACTIVITY"])}
