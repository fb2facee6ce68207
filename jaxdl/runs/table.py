"""Text tables: aligned columns in files and pipes, rich tables on a terminal."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from jaxdl.errors import printable

if TYPE_CHECKING:
    from rich.table import Table


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of cells as lines with aligned columns, without a final line break."""
    rows = [list(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def rich_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    """Returns a rich table without borders, whose cells are not read as markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*names, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO | None = None) -> None:
    """Prints named columns, as a rich table on a terminal and as aligned lines elsewhere."""
    out = stream or sys.stdout
    if out.isatty():
        from rich.console import Console

        Console(file=out).print(rich_table(names, rows))
    else:
        print(aligned([names, *rows]), file=out)
