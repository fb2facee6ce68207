"""Time series in a CSV file with a header and one row per time step, in any order.

Columns: `time` (ISO 8601 dates or integers), `value`, `series` (the name of the series; optional for a single one), and
covariates (numbers, `true` or `false`). An empty cell is a missing value. For example:

  time,series,value,holiday
  2024-01-01,shop 1,17.5,true
  2024-01-02,shop 1,,false
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from jaxdl.data.formats.parts import open_parts
from jaxdl.data.source import ColumnSource, Source
from jaxdl.data.splits import Range
from jaxdl.data.store.prepared import digest, digest_of
from jaxdl.errors import UserError

_EPOCH = datetime(1970, 1, 1)
_WORDS = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Table:
    """Parsed CSV file, sorted by series (in order of appearance) and time.

    Attributes:
      columns: Arrays [rows]: `series`, `time` (see `read_csv`) and `line` (in the file), int32; `value` and the
        covariates, float32, NaN where a cell is empty.
      series: Names of the series.
    """

    columns: Mapping[str, np.ndarray]
    series: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """Unparsed rows of a CSV file.

    Attributes:
      header: Names of the columns.
      lines: Line numbers in the file, [rows], for error messages.
      cells: Text by column, [rows].
    """

    header: Sequence[str]
    lines: Sequence[int]
    cells: Sequence[Mapping[str, str]]


def open_csv(path: str, split: str) -> Source:
    """Opens a time-series CSV file as the columns of `Table`, with the series names.

    The only split is `train`; `jaxdl.data.series.windows.Series` splits series in time.

    Raises:
      UserError: The file or split does not exist, or the format is invalid.
    """
    file = Path(path).expanduser()
    table = read_csv(str(file))
    content = digest(file)

    def open_part(part: Range) -> Source:
        columns = {name: column[part.start : part.stop] for name, column in table.columns.items()}
        return ColumnSource(columns, digest_of([content, part.start, part.stop]), {"series": table.series})

    return open_parts(split, {"train": len(table.columns["time"])}, f"csv:{path}", open_part)


def read_csv(path: str) -> Table:
    """Parses a time-series CSV file.

    Integer times are kept. Dates become months since January 1970 if all share one day of the month at midnight and no
    series repeats a month; otherwise minutes since 1970-01-01 00:00 (UTC for dates with an offset).

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
    time = _times(path, rows, identity)
    columns = {"series": identity, "time": time, "line": np.array(rows.lines, np.int32)}
    for name in ["value", *(name for name in header if name not in ("series", "time", "value"))]:
        columns[name] = np.array([_number(path, rows, at, name) for at in range(len(names))], np.float32)
    order = np.lexsort((time, identity))
    repeated = np.flatnonzero((np.diff(identity[order]) == 0) & (np.diff(time[order]) == 0))
    if len(repeated):
        row, following = (int(order[repeated[0] + step]) for step in (0, 1))
        first, second = sorted((rows.lines[row], rows.lines[following]))
        raise UserError(
            f"{path}, lines {first} and {second}: series '{names[row]}' repeats the time "
            f"{rows.cells[row]['time']}; remove one of the two rows"
        )
    return Table({name: column[order] for name, column in columns.items()}, series)


def read_rows(path: str) -> Rows:
    """Reads a CSV file without parsing its cells.

    Raises:
      UserError: The file cannot be read, is not CSV, or repeats a column name.
    """
    lines, cells = [], []
    try:
        with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval=None, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            for row in reader:
                if "" in row or None in row.values():
                    raise UserError(f"{path}, line {reader.line_num}: expected {len(header)} cells, as in the header")
                lines.append(reader.line_num)
                cells.append(row)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; give a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a UTF-8 CSV file ({error}); convert it") from None
    repeated = next((name for name in header if header.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f"{path} has two columns '{repeated}'; rename one")
    return Rows(header, lines, cells)


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


def _times(path: str, rows: Rows, series: np.ndarray) -> np.ndarray:
    """Returns the times, int32 [rows]."""
    texts = [row["time"].strip() for row in rows.cells]
    try:
        times = np.array([int(text) for text in texts], np.int64)
    except ValueError:
        return _dates(path, rows, texts, series)
    if np.abs(times).max() > np.iinfo(np.int32).max:
        line = rows.lines[int(np.abs(times).argmax())]
        raise UserError(f"{path}, line {line}: the time exceeds 32 bits; count from a later origin, or use dates")
    return times.astype(np.int32)


def _dates(path: str, rows: Rows, texts: Sequence[str], series: np.ndarray) -> np.ndarray:
    dates = []
    for line, text in zip(rows.lines, texts):
        try:
            date = datetime.fromisoformat(text)
        except ValueError:
            raise UserError(
                f"{path}, line {line}: the time '{text}' is neither an ISO date (2024-01-31 or 2024-01-31 18:30) "
                "nor an integer; write all times in one of these forms"
            ) from None
        date = date if date.tzinfo is None else date.astimezone(UTC).replace(tzinfo=None)
        if date.second or date.microsecond:
            raise UserError(f"{path}, line {line}: the time '{text}' is finer than minutes; use integer times")
        dates.append(date)
    months = np.array([12 * (date.year - 1970) + date.month - 1 for date in dates], np.int32)
    days = {(date.day, date.hour, date.minute) for date in dates}
    distinct = len(set(zip(series.tolist(), months.tolist()))) == len(dates)
    if distinct and len(days) == 1 and next(iter(days))[1:] == (0, 0) and len(dates) > 1:
        return months
    return np.array([(date - _EPOCH).total_seconds() // 60 for date in dates]).astype(np.int32)


def _number(path: str, rows: Rows, at: int, name: str) -> float:
    text = rows.cells[at][name].strip()
    if not text:
        return math.nan
    try:
        number = _WORDS[text.lower()] if text.lower() in _WORDS else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"{path}, line {rows.lines[at]}: '{text}' in column '{name}' is not a number; correct it, leave it empty, "
            "or remove the column"
        )
    return number
