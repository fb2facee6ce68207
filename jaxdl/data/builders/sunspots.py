"""Sunspots: yearly mean number of sunspots, 1700 to 2008.

309 years of one series, `sunspots.csv` of the PyPI package `statsmodels` 0.15.0 (BSD-3-Clause), from the US National
Geophysical Data Center (public domain). No value is missing.

The only split is `train`, in temporal order; `jaxdl.data.series.windows.Series` splits it in time. The usual training
set since Weigend, Huberman and Rumelhart ("Predicting the Future", 1990) is 1700 to 1920, rows 0 to 220.
"""

import csv
import io
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import FLOAT, INTEGER, ExamplesBuilder, classes
from jaxdl.data.store.packages import PyPI

MEMBER = "statsmodels/datasets/sunspots/sunspots.csv"
SOURCE = PyPI(
    "statsmodels", "0.15.0", members={MEMBER: "f67889b1d9002cd5227f0e0ef54e35b419cdd85a31279adef6f73fb41e5c0a9b"}
)


class Builder(ExamplesBuilder, skip_registration=True):
    """`series` class, always 0; `time` int32, year; `value` float32, number of sunspots."""

    name = "sunspots"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"series": classes("sunspots"), "time": INTEGER, "value": FLOAT}

    def examples(self) -> dict[str, Any]:
        rows = csv.DictReader(io.StringIO((SOURCE.fetch() / MEMBER).read_text()))
        return {"train": [{"series": 0, "time": int(row["YEAR"]), "value": float(row["SUNACTIVITY"])} for row in rows]}
