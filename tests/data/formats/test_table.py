"""Tests of time-series CSV files."""

import dataclasses

import numpy as np
import pytest

from jaxdl.data.formats.time_series_csv import open_csv, read_csv
from jaxdl.data.series.windows import Series
from jaxdl.errors import UserError


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_rows_are_sorted_and_typed(tmp_path):
    path = write(
        tmp_path / "sales.csv",
        "series,time,value,open",
        "shop,2024-01-02,3,TRUE",
        "kiosk,2024-01-01,7.5,false",
        "shop,2024-01-01,2,",
    )
    source = open_csv(path, "train")
    batch = source.read(np.arange(3))
    assert source.names == {"series": ("shop", "kiosk"), "time_unit": ("minutes",)}
    assert batch["series"].tolist() == [0, 0, 1]
    assert batch["value"].tolist() == [2, 3, 7.5]
    np.testing.assert_array_equal(batch["open"], [np.nan, 1, 0])
    minutes = batch["time"].astype("timedelta64[m]") + np.datetime64("1970-01-01")
    assert [str(date)[:10] for date in minutes] == ["2024-01-01", "2024-01-02", "2024-01-01"]
    assert {batch[name].dtype.name for name in ("series", "time", "line")} == {"int32"}
    assert len(open_csv(path, "train[:2]")) == 2
    assert open_csv(path, "train[:2]").fingerprint != source.fingerprint
    with pytest.raises(UserError, match="no split 'test'"):
        open_csv(path, "test")


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (("1999", "2000"), [1999, 2000]),
        (("2024-01-31T18:30", "2024-01-31 19:00"), [28445430, 28445460]),
        (("2024-01-31T19:30+01:00", "2024-01-31T19:00Z"), [28445430, 28445460]),
        (("2023-12-01", "2024-01-01"), [647, 648]),
        (("2024-01-01", "2024-01-02"), [28401120, 28402560]),
    ],
)
def test_times_are_integers_or_dates(tmp_path, times, expected):
    path = write(tmp_path / "a.csv", "time,value", *(f"{time},1" for time in times))
    assert read_csv(path).columns["time"].tolist() == expected
    assert read_csv(path).series == ("a",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["time,sales", "1,2"], r"no column 'value' \(columns: time, sales\)"),
        (["time,value"], "a header but no rows"),
        ([""], "no column 'time'"),
        (["time,value,value", "1,2,3"], "two columns 'value'"),
        (["time,value,line", "1,2,3"], "column 'line'"),
        (["time,value", "1,2", "2,3,4"], "line 3: expected 2 cells"),
        (["time,value", "1"], "line 2: expected 2 cells"),
        (["time,value", "1,2", "yesterday,3"], "line 3: the time 'yesterday'|line 2: the time '1'"),
        (["time,value", "2024-01-01 00:00:30,2", "2024-01-01 00:01:00,2"], "line 2: .* finer than minutes"),
        (["time,value", "1,2", "99999999999,3"], "line 3: the time exceeds 32 bits"),
        (["time,value", "1,2", "2,three"], "line 3: 'three' in column 'value' is not a number"),
        (["time,value", "1,inf"], "line 2: 'inf' in column 'value'"),
        (["time,value,town", "1,2,Rome"], "'Rome' in column 'town' is not a number.*remove the column"),
        (["time,value", "2,2", "1,2", "2,4"], "lines 2 and 4: series 'a' repeats the time 2"),
        (["series,time,value", ",2,2"], "line 2: the cell of 'series' is empty"),
    ],
)
def test_invalid_tables_are_refused(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        read_csv(write(tmp_path / "a.csv", *lines))


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv does not exist"):
        read_csv(str(tmp_path / "none.csv"))
    (tmp_path / "b.csv").write_bytes(b"time,value\n1,\xff\xfe\n")
    with pytest.raises(UserError, match=r"is not UTF-8 \(byte 13\)"):
        read_csv(str(tmp_path / "b.csv"))


def test_a_gap_in_time_is_reported_with_its_line(tmp_path):
    path = write(tmp_path / "a.csv", "time,value", *(f"2024-01-{day:02},{day}" for day in range(1, 20) if day != 9))

    @dataclasses.dataclass(frozen=True)
    class Csv:
        def load(self):
            return open_csv(path, "train")

    with pytest.raises(UserError, match="line 10: a step of 2880 in 'time', not 1440"):
        Series(Csv(), 4, 1).load()
