"""Shuttle: nine sensor readings of a space shuttle's radiators, for anomaly detection.

Statlog (Shuttle) of the UCI repository, 58,000 rows in random order, from the R package `mlbench` 2.1-3 in Debian
(r-cran-mlbench, GPL-2). The meaning of the integer readings is unpublished. Preparation needs the library `rdata`.

The state Rad.Flow is normal (45,586 rows). High (8,903 rows) is dropped as too frequent for an anomaly. The other five
states are anomalous: Bypass 3,267, Fpv.Open 171, Fpv.Close 50, Bpv.Open 13, Bpv.Close 10. This leaves 49,097 rows with
3,511 anomalies, as in benchmarks since Liu, Ting and Zhou ("Isolation Forest", 2008).

The split is by a hash of the readings, so equal rows are on one side: normal rows 50/25/25% train/validation/test,
anomalous rows 50/50% validation/test, where 13% of the rows are anomalous.

                 normal  anomalous
    train        22,942          0
    validation   11,397      1,739
    test         11,247      1,772
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import FLOAT, ExamplesBuilder, classes
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import Debian
from jaxdl.errors import from_extra

MEMBER = "usr/lib/R/site-library/mlbench/data/Shuttle.rda"
SOURCE = Debian("r-cran-mlbench", members={MEMBER: "5b1db218b76a47c83f575f1ff38d7a7d36e569b0e27d8bf4aa92eae6c0bcb826"})
NORMAL, DROPPED = "Rad.Flow", "High"
ANOMALOUS = ("Fpv.Close", "Fpv.Open", "Bypass", "Bpv.Close", "Bpv.Open")
READINGS = tuple(f"v{number}" for number in range(1, 10))


class Builder(ExamplesBuilder, skip_registration=True):
    """`v1` to `v9` float32, `label` (normal or anomalous) and `state`, one example per row."""

    name = "shuttle"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        **dict.fromkeys(READINGS, FLOAT),
        "label": classes("normal", "anomalous"),
        "state": classes(NORMAL, *ANOMALOUS),
    }

    def examples(self) -> dict[str, Any]:
        columns = read(SOURCE.fetch() / MEMBER)
        return {part: rows_of(columns, part) for part in PARTS}


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads the data frame `Shuttle`: columns V1 to V9 float64 and Class (texts), each [rows]."""
    with from_extra("rdata", "The data set shuttle"):
        import rdata

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unknown encoding")  # the file predates encodings; it is ASCII
        frame = rdata.read_rda(path)["Shuttle"]
    return {str(name): np.asarray(frame[name]) for name in frame}


def rows_of(columns: dict[str, np.ndarray], part: str) -> Iterator[dict[str, Any]]:
    """Yields the examples of a part."""
    readings = np.stack([columns[name.upper()] for name in READINGS], axis=1)
    for row, state in zip(readings, columns["Class"].tolist(), strict=True):
        if state == DROPPED:
            continue
        key = ",".join(f"{value:g}" for value in row)
        if part == (part_of(key, 25, 25) if state == NORMAL else part_of(key, 50, 50)):
            yield {**dict(zip(READINGS, row)), "label": int(state != NORMAL), "state": state}
