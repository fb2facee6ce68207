"""Text data sets in the user's files: running text, text pairs and labelled texts.

All files are UTF-8 and form one split, `train`. See `Dataset` for their names.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxdl.data.files import check_links, list_files, reasons
from jaxdl.data.formats.tables import Rows, is_quoted, lines_of, read_rows
from jaxdl.data.random import shuffled
from jaxdl.data.source import Batch, ColumnSource, text_column
from jaxdl.data.splits import Range, parse_split
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.files import own_lines, read_file
from jaxdl.errors import UserError
from jaxdl.remote import local


def open_text(path: str, split: str) -> ColumnSource:
    """Opens running text: a text file, or all *.txt files below a folder, as `text` (bytes).

    A file is one example, and its split counts characters: `train[:90%]` and `train[90%:]` meet at a line end. The
    split of a folder counts files, one example each.

    Raises:
      UserError: The path or split does not exist, or a file is empty or not UTF-8.
    """
    root, owner = local(path), f"text:{path}"
    if root.is_dir():
        listing = list_files(root, {".txt"})
        check_links(listing.broken)
        files = listing.files
        skipped = reasons(root, listing.skipped, "not a text file")
        if not files:
            raise UserError(f"{root} has no text files; expected names that end in .txt")
        texts = [_not_empty(file, read_file(file)) for file in files]
        ranges = parse_split(split, {"train": len(texts)}, owner)
        selected = [text for part in ranges for text in texts[part.start : part.stop]]
    else:
        text, skipped = _not_empty(root, read_file(root)), []
        ranges = parse_split(split, {"train": len(text)}, owner)
        selected = [text[_line_end(text, part.start) : _line_end(text, part.stop)] for part in ranges]
        if not all(selected):
            raise UserError(f"a part of '{split}' of {owner} contains no line end at which to split; make it larger")
    return _source({"text": text_column(selected)}, {}, skipped)


def open_pairs(path: str, split: str) -> ColumnSource:
    """Opens text pairs, one per line and tab-separated, as `source` and `target` (bytes).

    Empty lines are skipped. The order is random and depends on the number of pairs only, so a part of the split is a
    fair sample.

    Example: the line `good morning<TAB>guten Morgen` is `{"source": b"good morning", "target": b"guten Morgen"}`.

    Raises:
      UserError: The file or split does not exist, the file is not UTF-8, or a line is not a pair.
    """
    file = local(path)
    pairs = []
    for number, cells in lines_of(str(file)):
        sides = [side.strip() for side in cells]
        if len(sides) != 2 or not all(sides):
            got = "\t".join(cells)[:60]
            raise UserError(f"{file}, line {number}: expected two texts separated by one tab; got {got!r}")
        pairs.append(sides)
    rows = _rows(file, len(pairs), split, f"pairs:{path}")
    columns = {name: text_column([pairs[row][side] for row in rows]) for side, name in enumerate(("source", "target"))}
    return _source(columns, {})


def open_labelled(path: str, split: str) -> ColumnSource:
    """Opens a table of labelled texts as `text` (bytes) and `label` (int32).

    The first line names the columns. Files that end in .csv are CSV; all others are tab-separated. Classes are numbered
    in sorted order over the whole file, independently of the split. The order is that of `open_pairs`.

    Example: the rows `nice,good` and `poor,bad` load as `text` [b"nice", b"poor"] and `label` [1, 0].

    Raises:
      UserError: The file, split or a column does not exist, the file is not UTF-8, or a cell is empty.
    """
    file = local(path)
    examples = list(_table(file))
    classes = sorted({label for _, label in examples})
    rows = _rows(file, len(examples), split, f"labelled:{path}")
    labels = np.array([classes.index(examples[row][1]) for row in rows], np.int32)
    return _source(
        {"text": text_column([examples[row][0] for row in rows]), "label": labels}, {"label": tuple(classes)}
    )


def own_rows(files: Sequence[str], texts: Sequence[str], column: str) -> list[tuple[str, str]]:
    """Returns the user's texts as (name, text): the given texts, then those of each file, named FILE:LINE.

    Tables contribute their column `column`, read as by `open_labelled`; other files each non-empty line. A table ends
    in .csv or .tsv, or its first line names, separated by tabs, `column` and `label`.

    Raises:
      UserError: As `own_lines`, or a table lacks the column, has no rows or an empty cell in the column.
    """
    named = own_lines((), texts) if texts or not files else []
    for file in files:
        header = {name.strip() for name in read_file(file).split("\n", 1)[0].split("\t")}
        is_table = Path(file).suffix.lower() in (".csv", ".tsv") or {column, "label"} <= header
        named += _column(local(file), column) if is_table else own_lines([file], ())
    return named


def _column(file: Path, column: str) -> list[tuple[str, str]]:
    """Returns the cells of a column as (FILE:LINE, text)."""
    rows = _read(file)
    if column not in rows.header:
        raise UserError(
            f"{file} has no column '{column}' (line 1: {', '.join(rows.header)[:60]}); name the column of the texts "
            f"'{column}', or pass one text per line in a file that ends in .txt"
        )
    named = [(f"{file}:{line}", row[column].strip()) for line, row in zip(rows.lines, rows.cells)]
    empty = next((name for name, text in named if not text), None)
    if empty is not None or not named:
        raise UserError(f"{empty or file} has no text in the column '{column}'; add one, or remove the row")
    return named


def _read(file: Path) -> Rows:
    """Reads the rows of a table: CSV if it ends in .csv, otherwise tab-separated."""
    if file.suffix.lower() == ".csv":
        return read_rows(str(file))
    return read_rows(str(file), "\t", quoted=is_quoted(read_file(file)))


def _table(file: Path) -> Iterator[tuple[str, str]]:
    """Yields (text, label) of each row."""
    rows = _read(file)
    for name in ("text", "label"):
        if name not in rows.header:
            raise UserError(f"{file} has no column '{name}'; its first line must name the columns text and label")
    for line, row in zip(rows.lines, rows.cells):
        text, label = (row[name].strip() for name in ("text", "label"))
        if not text or not label:
            raise UserError(f"{file}, line {line}: expected a text and a label in the columns of line 1")
        yield text, label


def _rows(file: Path, count: int, split: str, owner: str) -> np.ndarray:
    """Returns the examples of a split, in a fixed random order of `count`."""
    if not count:
        raise UserError(f"{file} has no examples; see jaxdl.data.dataset.Dataset for the format")
    order = shuffled(np.arange(count), count, seed=0)
    ranges: tuple[Range, ...] = parse_split(split, {"train": count}, owner)
    return np.concatenate([order[part.start : part.stop] for part in ranges])


def _line_end(text: str, position: int) -> int:
    """Returns the first line start at or after `position`.

    Without one, the start of the last line, else `position`.
    """
    if position in (0, len(text)):
        return position
    last = len(text) - 1
    return text.find("\n", position - 1, last) + 1 or text.rfind("\n", 0, last) + 1 or position


def _not_empty(file: Path, text: str) -> str:
    if not text.strip():
        raise UserError(f"{file} is empty; remove it, or add text")
    return text


def _source(columns: Batch, names: Mapping[str, tuple[str, ...]], skipped: Sequence[str] = ()) -> ColumnSource:
    content = [
        [name, [value.decode() if isinstance(value, bytes) else int(value) for value in column]]
        for name, column in columns.items()
    ]
    fingerprint = digest_of([content, {name: list(values) for name, values in names.items()}])
    return ColumnSource(columns, fingerprint, names, skipped=tuple(skipped))
