"""Delimited tables with a header: CSV, semicolon-separated and tab-separated files.

The delimiter is that of the header: a tab, a semicolon or a comma, whichever occurs most. Files with another delimiter
than the comma may have decimal commas. A first column without a name that counts the rows, as pandas writes it, is
dropped.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jaxdl.data.text.files import read_file
from jaxdl.errors import UserError

_LONGEST = 2**31 - 1  # characters per field; the default limit of 131,072 rejects long articles
_LARGEST = 3.4028234e38  # of float32, the type of columns
_WORDS = {"true": 1.0, "false": 0.0}
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


@dataclass(frozen=True)
class Rows:
    """Unparsed rows of a table.

    Attributes:
      header: Names of the columns.
      lines: Line numbers in the file, [rows], for error messages.
      cells: Text by column, [rows].
      decimal: Decimal separator of numbers, "." or ",".
    """

    header: Sequence[str]
    lines: Sequence[int]
    cells: Sequence[Mapping[str, str]]
    decimal: str = "."

    def number(self, path: str, at: int, name: str, remedy: str) -> float:
        """Parses a cell; NaN if it is empty.

        Raises:
          UserError: The cell is not a finite float32; `remedy` ends the message.
        """
        text = self.cells[at][name].strip()
        if not text:
            return math.nan
        mixed = self.decimal == "," and "." in text
        try:
            number = _WORDS[text.lower()] if text.lower() in _WORDS else float(text.replace(self.decimal, "."))
        except ValueError:
            number = math.nan
        if mixed or not abs(number) <= _LARGEST:
            fault = "is not a number" + " (the file has decimal commas)" * mixed
            raise UserError(f"{path}, line {self.lines[at]}: '{text}' in column '{name}' {fault}; {remedy}")
        return number


def read_rows(path: str, delimiter: str | None = None, quoted: bool = True) -> Rows:
    """Reads a table without parsing its cells.

    Args:
      path: Table.
      delimiter: Delimiter. None takes the most frequent of tab, semicolon and comma in the header.
      quoted: Whether cells may be enclosed in double quotes. Otherwise quotes are text.

    Raises:
      UserError: The file cannot be read, is not a table, repeats a column name or has columns without a name.
    """
    content = read_file(path)
    header_line = content.split("\n", 1)[0]
    delimiter = delimiter or max(",;\t", key=header_line.count)
    lines, cells = [], []
    csv.field_size_limit(_LONGEST)
    try:
        quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        repeated = next((name for name in header if name and header.count(name) > 1), None)
        if repeated is not None:
            raise UserError(f"{path} has two columns '{repeated}'; rename one")
        if "" in header[1:]:
            raise UserError(f"{path}: column {2 + header[1:].index('')} has no name in line 1; name or remove it")
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"{path}, line {reader.line_num}: expected {len(header)} cells, as in the header")
            lines.append(reader.line_num)
            cells.append(row)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.reader.line_num}: {error}; correct the file") from None
    if header[:1] == [""]:
        header = _without_index(path, header, cells)
    return Rows(header, lines, cells, "." if delimiter == "," else _decimal(path, lines, cells))


def _without_index(path: str, header: list[str], cells: Sequence[dict[str, str]]) -> list[str]:
    """Drops a first column without a name that counts the rows from 0 or 1; refuses others."""
    index = [row.pop("") for row in cells]
    start = index[0].strip() if index else "0"
    if start not in ("0", "1") or index != [str(number) for number in range(int(start), int(start) + len(index))]:
        raise UserError(
            f"{path}: the first column has no name in line 1 and does not count the rows (it begins with "
            f"'{index[0] if index else ''}'); name it, such as time, or write the table without an index"
        )
    return header[1:]


def _decimal(path: str, lines: Sequence[int], cells: Sequence[Mapping[str, str]]) -> str:
    """Returns the decimal separator of a file whose delimiter is not the comma."""
    texts = [(line, text.strip()) for line, row in zip(lines, cells) for text in row.values() if "," in text]
    commas = [(line, text) for line, text in texts if _DECIMAL_COMMA.fullmatch(text)]
    if commas and all(_THOUSANDS.fullmatch(text) for _, text in commas):
        line, text = commas[0]
        raise UserError(
            f"{path}, line {line}: '{text}' may be a decimal or a thousands comma; write numbers with a decimal point"
        )
    return "," if commas else "."


def lines_of(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of each line of a tab-separated file without a header, without empty lines.

    Raises:
      UserError: The file cannot be read, or its quotes are invalid.
    """
    content = read_file(path)
    if not is_quoted(content):
        yield from ((at, line.split("\t")) for at, line in enumerate(content.split("\n"), 1) if line.strip())
        return
    reader = csv.reader(io.StringIO(content, newline=""), delimiter="\t", strict=True)
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}; correct the quotes") from None


def is_quoted(content: str) -> bool:
    """Returns whether a tab-separated text has CSV quotes: a cell with doubled quotes, or quotes around all cells."""
    cells = [cell for line in content.split("\n") for cell in line.split("\t") if cell.strip()]
    quoted = [cell[1:-1] for cell in cells if len(cell) > 1 and cell[0] == cell[-1] == '"']
    balanced = [inner for inner in quoted if '"' not in inner.replace('""', "")]
    return any('""' in inner for inner in balanced) or (bool(cells) and len(balanced) == len(cells))
