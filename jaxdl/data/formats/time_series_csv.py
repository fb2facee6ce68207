"""Time series in a CSV file with a header and one row per time step, in any order.

Columns: `time` (ISO 8601 dates, YYYYMMDD, months as 2024-01, quarters as 2024Q1, or integers), `value`, `series` (the
name of the series; optional for a single one), and covariates (numbers, `true` or `false`). An empty cell is a missing
value. For example:

  time,series,value,holiday
  2024-01-01,shop 1,17.5,true
  2024-01-02,shop 1,,false
"""

import re
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from jaxdl.data.formats.parts import open_parts
from jaxdl.data.formats.tables import Rows, read_rows
from jaxdl.data.source import ColumnSource, Source
from jaxdl.data.splits import Range
from jaxdl.data.store.prepared import digest, digest_of
from jaxdl.errors import UserError
from jaxdl.remote import local

_EPOCH = datetime(1970, 1, 1)
_PERIOD = re.compile(r"(?P<year>\d{4})(?:-(?P<month>\d{2})|-?[Qq](?P<quarter>[1-4]))")
_REMEDY = "correct it, leave it empty, or remove the column"


@dataclass(frozen=True)
class Table:
    """Parsed CSV file, sorted by series (in order of appearance) and time.

    Attributes:
      columns: Arrays [rows]: `series`, `time` (see `read_csv`) and `line` (in the file), int32; `value` and the
        covariates, float32, NaN where a cell is empty.
      series: Names of the series.
      unit: Unit of the time: "minutes" or "months" of dates, "" of integers.
    """

    columns: Mapping[str, np.ndarray]
    series: tuple[str, ...]
    unit: str = ""


def open_csv(path: str, split: str) -> Source:
    """Opens a time-series CSV file as the columns of `Table`, with the series names.

    The only split is `train`; `jaxdl.data.series.windows.Series` splits series in time.

    Raises:
      UserError: The file or split does not exist, or the format is invalid.
    """
    file = local(path)
    table = read_csv(str(file))
    content, names = digest(file), {"series": table.series, "time_unit": (table.unit,)}

    def open_part(part: Range) -> Source:
        columns = {name: column[part.start : part.stop] for name, column in table.columns.items()}
        return ColumnSource(columns, digest_of([content, part.start, part.stop]), names)

    return open_parts(split, {"train": len(table.columns["time"])}, f"csv:{path}", open_part)


def read_csv(path: str) -> Table:
    """Parses a time-series CSV file.

    Integer times are kept. Dates become months since January 1970 if all share one day of the month (or are the last of
    their months) at midnight and no series repeats a month; otherwise minutes since 1970-01-01 00:00 (UTC for dates
    with an offset).

    Raises:
      UserError: The file cannot be read, or a line is invalid.
    """
    header, rows = _read(path)
    names = [row.get("series", Path(path).stem).strip() for row in rows.cells]
    if "" in names:
        raise UserError(f"{path}, line {rows.lines[names.index('')]}: the cell of 'series' is empty; name the series")
    series = tuple(dict.fromkeys(names))
    number_of = {name: position for position, name in enumerate(series)}
    identity = np.array([number_of[name] for name in names], np.int32)
    time, unit = _times(path, rows, identity)
    columns = {"series": identity, "time": time, "line": np.array(rows.lines, np.int32)}
    for name in ["value", *(name for name in header if name not in ("series", "time", "value"))]:
        values = [rows.number(path, at, name, _REMEDY) for at in range(len(names))]
        columns[name] = np.array(values, np.float32)
    order = np.lexsort((time, identity))
    repeated = np.flatnonzero((np.diff(identity[order]) == 0) & (np.diff(time[order]) == 0))
    if len(repeated):
        row, following = (int(order[repeated[0] + step]) for step in (0, 1))
        first, second = sorted((rows.lines[row], rows.lines[following]))
        raise UserError(
            f"{path}, lines {first} and {second}: series '{names[row]}' repeats the time "
            f"{rows.cells[row]['time']}; remove one of the two rows"
        )
    return Table({name: column[order] for name, column in columns.items()}, series, unit)


def _read(path: str) -> tuple[Sequence[str], Rows]:
    rows = read_rows(path)
    for name in ("time", "value"):
        if name not in rows.header:
            columns = ", ".join(rows.header) or "none"
            raise UserError(f"{path} has no column '{name}' (columns: {columns}); time and value are required")
    if "line" in rows.header:
        raise UserError(f"{path} has a column 'line', which is reserved for line numbers; rename it")
    if not rows.cells:
        raise UserError(f"{path} has a header but no rows; add one row per time step")
    return rows.header, rows


def _times(path: str, rows: Rows, series: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns the times, int32 [rows], and their unit."""
    texts = [row["time"].strip() for row in rows.cells]
    dates = _compact_dates(texts) or _integers(texts)
    if not isinstance(dates, np.ndarray):
        return _dates(rows, dates or [_date(path, line, text) for line, text in zip(rows.lines, texts)], series)
    if np.abs(dates).max() > np.iinfo(np.int32).max:
        line = rows.lines[int(np.abs(dates).argmax())]
        raise UserError(f"{path}, line {line}: the time exceeds 32 bits; count from a later origin, or use dates")
    return dates.astype(np.int32), ""


def _integers(texts: Sequence[str]) -> np.ndarray | None:
    try:
        return np.array([int(text) for text in texts], np.int64)
    except ValueError:
        return None


def _compact_dates(texts: Sequence[str]) -> list[datetime] | None:
    """Parses dates as YYYYMMDD; None if a text is not one, as in a count of steps."""
    try:
        dates = [datetime.strptime(text, "%Y%m%d") for text in texts if len(text) == 8]
    except ValueError:
        return None
    years = [date.year for date in dates]
    return dates if len(dates) == len(texts) > 1 and 1800 <= min(years) <= max(years) <= 2200 else None


def _date(path: str, line: int, text: str) -> datetime:
    """Parses an ISO date, a month (2024-01) or a quarter (2024Q1, 2024-Q1), which begin on their first day."""
    try:
        if period := _PERIOD.fullmatch(text):
            month = int(period["month"]) if period["month"] else 3 * int(period["quarter"]) - 2
            return datetime(int(period["year"]), month, 1)
        date = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"{path}, line {line}: the time '{text}' is neither an ISO date (2024-01-31, 2024-01-31 18:30, 2024-01 or "
            "2024Q1) nor an integer; write all times in one of these forms"
        ) from None
    date = date if date.tzinfo is None else date.astimezone(UTC).replace(tzinfo=None)
    if date.second or date.microsecond:
        raise UserError(f"{path}, line {line}: the time '{text}' is finer than minutes; use integer times")
    return date


def _dates(rows: Rows, dates: Sequence[datetime], series: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns months since January 1970 for dates of months, else minutes."""
    months = np.array([12 * (date.year - 1970) + date.month - 1 for date in dates], np.int32)
    days = {date.day for date in dates}
    midnight = all((date.hour, date.minute) == (0, 0) for date in dates)
    ends = all(date.day == monthrange(date.year, date.month)[1] for date in dates)
    distinct = len(set(zip(series.tolist(), months.tolist()))) == len(dates)
    if distinct and midnight and (len(days) == 1 or ends) and len(dates) > 1:
        return months, "months"
    return np.array([(date - _EPOCH).total_seconds() // 60 for date in dates]).astype(np.int32), "minutes"
