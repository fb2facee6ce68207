"""Rows of metrics.jsonl, one JSON object per line."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.errors import UserError, write_errors
from jaxdl.runs.files import to_json, write_atomically


def parse(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """Returns the rows of a file as written, and whether it ends with a complete line.

    A file that does not exist has no rows.

    Raises:
      UserError: The file cannot be read, or a line that is not the last one is not a row.
    """
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], True
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; restore it from a copy or remove it") from error
    rows = _rows(lines)
    if rows is None:
        number = next(number for number, line in enumerate(lines, 1) if _row(line) is None)
        raise UserError(f"line {number} of {path} is not a row of metrics; delete that line")
    if last and (row := _row(last)) is not None:
        rows.append(row)  # complete except for its newline
    return rows, not last


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a row; a kill leaves it whole or as an incomplete last line. Raises WriteError."""
    with write_errors(path), open(path, "ab", buffering=0) as file:
        _write_all(file, _line(row).encode())


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replaces the rows atomically. Raises WriteError."""
    write_atomically(path, "".join(map(_line, rows)))


def scalar(name: str, value: Any) -> int | float:
    """Returns a figure as a number. Raises ValueError for more than one value."""
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"figure '{name}' has shape {list(array.shape)}; only scalars are written")
    return int(array.item()) if array.dtype.kind in "biu" else float(array.reshape(()).astype(np.float64))


def _line(row: Mapping[str, Any]) -> str:
    return to_json(row, indent=None) + "\n"


def _row(line: bytes) -> dict[str, Any] | None:
    rows = _rows([line])
    return rows[0] if rows else None


def _rows(lines: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """Parses all lines at once, in a third of the time of one by one; None if a line is not a row."""
    try:
        rows = json.loads(f"[{b','.join(lines).decode()}]")
    except ValueError:
        return None
    whole = len(rows) == len(lines) and all(isinstance(row, dict) and "step" in row and "split" in row for row in rows)
    return rows if whole else None


def _write_all(file: io.FileIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]
