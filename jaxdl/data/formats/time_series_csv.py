"""Tables of time series: a CSV file of the user's own.

A header, then a row a time step, in any order: a column `time` (ISO 8601 dates, or whole numbers), a column `value`,
and if there is more than one series a column `series` that says which. All other columns are covariates: numbers, or
true and false. A cell may be empty where nothing is known.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from jaxdl.data.source import ColumnSource, JoinedSource, Source
from jaxdl.data.splits import parse_split
from jaxdl.data.store.prepared import digest, digest_of
from jaxdl.errors import UserError

_EPOCH = datetime(1970, 1, 1)
_WORDS = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Table:
    """What a CSV file holds, ordered by series, in the order in which they begin in the file, then by time.

    Attributes:
      columns: `series` int32, `time` int32 (see `read_csv`), `line` int32 in the file, `value` and the covariates
        float32, NaN where a cell is empty; each [rows].
      series: the series' names.
    """

    columns: Mapping[str, np.ndarray]
    series: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """A file's rows as texts still to be read.

    Attributes:
      header: the columns' names.
      lines: [rows] in the file, for messages.
      cells: [rows] text by column.
    """

    header: Sequence[str]
    lines: Sequence[int]
    cells: Sequence[Mapping[str, str]]


def open_csv(path: str, split: str) -> Source:
    """The rows of a CSV file, as this file's docstring describes it: a `Table`'s columns, the series' names as `names`.

    The one split is `train`; `jaxdl.data.series.windows.Series` cuts series in time.

    Raises:
      UserError: no such file or split; a file that is no such table.
    """
    file = Path(path).expanduser()
    table = read_csv(str(file))
    content = digest(file)
    parts = []
    for part in parse_split(split, {"train": len(table.columns["time"])}, f"csv:{path}"):
        columns = {name: column[part.start : part.stop] for name, column in table.columns.items()}
        fingerprint = digest_of([content, part.start, part.stop])
        parts.append(ColumnSource(columns, fingerprint, {"series": table.series}))
    return parts[0] if len(parts) == 1 else JoinedSource(tuple(parts), digest_of([p.fingerprint for p in parts]))


def read_csv(path: str) -> Table:
    """Reads a CSV file.

    Whole numbers in the column `time` are kept. Dates become months since January 1970 if all are of one day of the
    month, midnight, and no two of a series in one month; else minutes since 1 January 1970, 00:00 (in UTC, where a
    date says how far it is from it).

    Raises:
      UserError: it cannot be read, or is no such table; with the line.
    """
    header, rows = _read(path)
    names = [row.get("series", Path(path).stem).strip() for row in rows.cells]
    if "" in names:
        raise UserError(f"{path}, line {rows.lines[names.index('')]}: the cell of 'series' is empty; say which it is")
    series = tuple(dict.fromkeys(names))
    number = {name: position for position, name in enumerate(series)}
    identity = np.array([number[name] for name in names], np.int32)
    time = _times(path, rows, identity)
    columns = {"series": identity, "time": time, "line": np.array(rows.lines, np.int32)}
    for name in ["value", *(name for name in header if name not in ("series", "time", "value"))]:
        columns[name] = np.array([_number(path, rows, at, name) for at in range(len(names))], np.float32)
    order = np.lexsort((time, identity))
    again = np.flatnonzero((np.diff(identity[order]) == 0) & (np.diff(time[order]) == 0))
    if len(again):
        row, following = (int(order[again[0] + step]) for step in (0, 1))
        first, second = sorted((rows.lines[row], rows.lines[following]))
        raise UserError(
            f"{path}, lines {first} and {second}: series '{names[row]}' has the time "
            f"{rows.cells[row]['time']} twice; keep one of the two rows"
        )
    return Table({name: column[order] for name, column in columns.items()}, series)


def read_rows(path: str) -> Rows:
    """Reads a CSV file as texts.

    Raises:
      UserError: it cannot be read, is no CSV file, or has two columns of one name.
    """
    lines, cells = [], []
    try:
        with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval=None, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            for row in reader:
                if "" in row or None in row.values():
                    raise UserError(f"{path}, line {reader.line_num}: not {len(header)} cells, as the header has")
                lines.append(reader.line_num)
                cells.append(row)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; give a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV file in UTF-8 ({error})") from None
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} has two columns '{twice}'; rename one")
    return Rows(header, lines, cells)


def _read(path: str) -> tuple[Sequence[str], Rows]:
    rows = read_rows(path)
    for name in ("time", "value"):
        if name not in rows.header:
            found = ", ".join(rows.header) or "none"
            raise UserError(f"{path} has no column '{name}' (its columns: {found}); it needs time and value")
    if "line" in rows.header:
        raise UserError(f"{path} has a column 'line', which is the name for the lines of the file; rename it")
    if not rows.cells:
        raise UserError(f"{path} has a header and no rows; add a row for each time step")
    return rows.header, rows


def _times(path: str, rows: Rows, series: np.ndarray) -> np.ndarray:
    """int32 [rows]."""
    texts = [row["time"].strip() for row in rows.cells]
    try:
        whole = np.array([int(text) for text in texts], np.int64)
    except ValueError:
        return _dates(path, rows, texts, series)
    if np.abs(whole).max() > np.iinfo(np.int32).max:
        line = rows.lines[int(np.abs(whole).argmax())]
        raise UserError(f"{path}, line {line}: a time must fit into 32 bits; count from a later time, or write dates")
    return whole.astype(np.int32)


def _dates(path: str, rows: Rows, texts: Sequence[str], series: np.ndarray) -> np.ndarray:
    dates = []
    for line, text in zip(rows.lines, texts):
        try:
            date = datetime.fromisoformat(text)
        except ValueError:
            raise UserError(
                f"{path}, line {line}: the time '{text}' is neither an ISO date, as 2024-01-31 or 2024-01-31 18:30, "
                "nor (like every time in the file) a whole number"
            ) from None
        date = date if date.tzinfo is None else date.astimezone(UTC).replace(tzinfo=None)
        if date.second or date.microsecond:
            raise UserError(f"{path}, line {line}: '{text}' is finer than minutes; write times as whole numbers")
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
            f"{path}, line {rows.lines[at]}: '{text}' in column '{name}' is no number; mend it, leave it empty, or "
            "remove the column"
        )
    return number
