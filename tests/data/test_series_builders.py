"""Time-series builders on small fake packages, without network and pandas."""

import csv
import dataclasses
import hashlib
import importlib
import io
import lzma
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from jaxdl.data.dataset import Dataset
from jaxdl.data.store.tfds import tensorflow_datasets

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
elecdemand, walmart_sales, sunspots, stocks = (
    importlib.import_module(f"jaxdl.data.builders.{name}")
    for name in ("elecdemand", "walmart_sales", "sunspots", "stocks")
)


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """`offer(module, content)`: puts a package with `content` into JAXDL_SOURCES."""

    def make(module, content):
        members = {module.MEMBER: hashlib.sha256(content).hexdigest()}
        source = dataclasses.replace(module.SOURCE, members=members)
        folder = tmp_path / "offered"
        folder.mkdir()
        with zipfile.ZipFile(folder / f"{source.name}-{source.version}-py3-none-any.whl", "w") as file:
            file.writestr(module.MEMBER, content)
        monkeypatch.setenv("JAXDL_SOURCES", str(folder))
        monkeypatch.setattr(module, "SOURCE", source)

    return make


def written(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def loaded(name):
    source = Dataset(name, "train").load()
    return source, source.read(np.arange(len(source)))


def frame(monkeypatch, demand, working, temperature):
    """Pickles a DataFrame as pandas 2 does, with minimal fake modules."""
    modules = {}

    def stand_in(module, **members):
        modules[module] = types.ModuleType(module)
        for name, member in members.items():
            member.__module__, member.__qualname__ = module, name
            setattr(modules[module], name, member)
        monkeypatch.setitem(sys.modules, module, modules[module])

    class Called:
        """Object that is pickled as a call of `function`, with an optional state."""

        def __init__(self, function, arguments, state=None):
            self.call = (function, arguments, state) if state is not None else (function, arguments)

        def __reduce__(self):
            return self.call

    def _unpickle_block(*arguments): ...
    def _new_Index(*arguments): ...  # noqa: N802
    def _frombuffer(*arguments): ...
    def _reconstruct(*arguments): ...

    for module in ("pandas", "pandas.core", "pandas._libs", "pandas.core.internals", "pandas.core.indexes"):
        stand_in(module)
    stand_in("pandas.core.frame", DataFrame=type("DataFrame", (), {}))
    stand_in("pandas.core.internals.managers", BlockManager=type("BlockManager", (), {}))
    stand_in("pandas.core.indexes.base", Index=type("Index", (), {}), _new_Index=_new_Index)
    stand_in("pandas.core.indexes.range", RangeIndex=type("RangeIndex", (), {}))
    stand_in("pandas._libs.internals", _unpickle_block=_unpickle_block)
    stand_in("numpy.core.numeric", _frombuffer=_frombuffer)
    stand_in("numpy.core.multiarray", _reconstruct=_reconstruct)
    rows = len(demand)

    def array(values):
        return Called(_frombuffer, (bytearray(values.tobytes()), values.dtype, values.shape, "C"))

    blocks = (
        Called(_unpickle_block, (array(np.stack([demand, temperature])), slice(1, 5, 2), 2)),
        Called(_unpickle_block, (array(np.stack([np.arange(1, rows + 1), working])), slice(0, 4, 2), 2)),
    )
    index = modules["pandas.core.indexes.base"]
    state = (1, (4,), np.dtype(object), False, ["rownames", "Demand", "WorkDay", "Temperature"])
    names = Called(_reconstruct, (np.ndarray, (0,), b"b"), state)
    axes = [
        Called(_new_Index, (index.Index, {"data": names, "name": None})),
        Called(_new_Index, (modules["pandas.core.indexes.range"].RangeIndex, {"start": 0, "stop": rows, "step": 1})),
    ]
    manager = Called(modules["pandas.core.internals.managers"].BlockManager, (blocks, axes))
    return pickle.dumps(Called(modules["pandas.core.frame"].DataFrame, (), {"_mgr": manager, "attrs": {}}), protocol=5)


def test_electricity_is_read_without_pandas(offer, monkeypatch):
    demand, temperature = np.linspace(3, 5, 60), np.linspace(10, 40, 60)
    working = (np.arange(60) >= 48).astype(np.int64)
    with monkeypatch.context() as context:
        pickled = frame(context, demand, working, temperature)
    offer(elecdemand, lzma.compress(pickled))
    source, batch = loaded("elecdemand")
    assert source.names == {"series": ("Victoria",)}
    np.testing.assert_allclose(batch["value"], demand, rtol=1e-6)
    np.testing.assert_allclose(batch["temperature"], temperature, rtol=1e-6)
    np.testing.assert_array_equal(batch["working_day"], working)
    np.testing.assert_array_equal(np.diff(batch["time"]), 30)
    assert np.datetime64("1970-01-01T00:00", "m") + batch["time"][48] == np.datetime64("2014-01-02T00:00", "m")


@pytest.mark.parametrize("value", [print, pytest.raises, {"a": types.SimpleNamespace()}])
def test_a_pickle_with_other_objects_is_refused(value):
    with pytest.raises(pickle.UnpicklingError, match="not allowed in a pickled table"):
        elecdemand.read_frame(pickle.dumps(value))


def test_walmart_sales_are_ordered_and_typed(offer):
    rows = [
        {"id": f"1_{dept}", "Store": 1, "Dept": dept, "Date": date, "Weekly_Sales": 100 * dept + day}
        | {"IsHoliday": "TRUE" if day else "FALSE", "Temperature": 40.5, "Fuel_Price": 2.5, "MarkDown1": "NA"}
        | {"CPI": 211.0, "Unemployment": 8.1}
        for day, date in ((1, "2010-02-12"), (0, "2010-02-05"))
        for dept in (95, 1)
    ]
    offer(walmart_sales, written(rows))
    source, batch = loaded("walmart_sales")
    assert source.names["series"][0] == "department 1"
    assert len(source.names["series"]) == 7
    assert batch["series"].tolist() == [0, 0, 6, 6]
    assert batch["value"].tolist() == [100, 101, 9500, 9501]
    assert batch["holiday"].tolist() == [0, 1, 0, 1]
    assert batch["time"].tolist() == [14645, 14652] * 2
    assert set(batch) == {"series", "time", "value", "holiday", *walmart_sales.COVARIATES}
    assert {name: value.dtype.name for name, value in batch.items() if name in ("series", "time", "value")} == {
        "series": "int32",
        "time": "int32",
        "value": "float32",
    }


def test_sunspots_are_read(offer):
    offer(sunspots, written([{"YEAR": year, "SUNACTIVITY": year / 100} for year in range(1700, 1705)]))
    source, batch = loaded("sunspots")
    assert batch["time"].tolist() == [1700, 1701, 1702, 1703, 1704]
    np.testing.assert_allclose(batch["value"], [17, 17.01, 17.02, 17.03, 17.04], rtol=1e-6)
    assert batch["series"].tolist() == [0] * 5
    assert source.names == {"series": ("sunspots",)}


def test_stocks_have_the_adjusted_price_as_value(offer):
    rows = [
        {"symbol": symbol, "date": date, "open": 1, "high": 4, "low": 0.5, "close": 2, "volume": 1000, "adjusted": 1.5}
        for symbol in ("META", "AAPL")
        for date in ("2013-01-04", "2013-01-07")
    ]
    offer(stocks, written(rows))
    source, batch = loaded("stocks")
    assert [source.names["series"][number] for number in batch["series"]] == ["AAPL", "AAPL", "META", "META"]
    assert batch["value"].tolist() == [1.5] * 4
    assert batch["time"].tolist() == [15709, 15712] * 2
    assert batch["volume"].tolist() == [1000.0] * 4
