"""The user's own texts as data sets: running text, pairs of texts, texts with a label. Each is one split, `train`.

All files are UTF-8. See `Dataset` for the names under which they open.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxdl.data.random import shuffled
from jaxdl.data.source import Batch, ColumnSource, text_column
from jaxdl.data.splits import Range, parse_split
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.examples import read_file
from jaxdl.errors import UserError

_LONGEST = 2**31 - 1  # characters of a text in a table; the library's own limit is less than a long article


def open_text(path: str, split: str) -> ColumnSource:
    """Running text: `text`, bytes, from a text file or from the files *.txt in a folder, at any depth, in order.

    A file is one example, and its split is measured in characters: `train[:90%]` and `train[90%:]` are cut at the same
    end of a line, the first one from there on. The split of a folder is measured in files, an example each.

    Raises:
      UserError: no such file or folder, a file that is empty or no UTF-8, no such split.
    """
    root, owner = Path(path).expanduser(), f"text:{path}"
    if root.is_dir():
        files = sorted(file for file in root.rglob("*.txt") if file.is_file())
        if not files:
            raise UserError(f"no text in {root}: expected files with names that end in .txt")
        texts = [_not_empty(file, read_file(file)) for file in files]
        ranges = parse_split(split, {"train": len(texts)}, owner)
        chosen = [text for part in ranges for text in texts[part.start : part.stop]]
    else:
        text = _not_empty(root, read_file(root))
        ranges = parse_split(split, {"train": len(text)}, owner)
        chosen = [text[_line_end(text, part.start) : _line_end(text, part.stop)] for part in ranges]
        if not all(chosen):
            raise UserError(
                f"a part of '{split}' of {owner} holds no end of a line, where it could be cut; make it larger"
            )
    return _source({"text": text_column(chosen)}, {})


def open_pairs(path: str, split: str) -> ColumnSource:
    """Pairs of texts: `source` and `target`, bytes, from a file with a pair a line and a tab between the two.

    Pairs are in a random order that depends on their number alone, so that part of a split is a fair sample. Empty
    lines are left out.

    Raises:
      UserError: no such file, no UTF-8, a line that is no pair, no such split.
    """
    file = Path(path).expanduser()
    pairs = []
    for number, line in enumerate(read_file(file).split("\n"), 1):
        if not line.strip():
            continue
        sides = [side.strip() for side in line.split("\t")]
        if len(sides) != 2 or not all(sides):
            raise UserError(f"{file}, line {number}: expected a text, one tab and another text, not {line[:60]!r}")
        pairs.append(sides)
    rows = _rows(file, len(pairs), split, f"pairs:{path}")
    columns = {name: text_column([pairs[row][side] for row in rows]) for side, name in enumerate(("source", "target"))}
    return _source(columns, {})


def open_labelled(path: str, split: str) -> ColumnSource:
    """Texts with a class: `text`, bytes, and `label`, int32, from a table with the columns `text` and `label`.

    The file is CSV if its name ends in .csv, else a tab stands between the columns; its first line names them. Classes
    are numbered in the order of their sorted names, those of the whole file whatever the split. The order is as that
    of `open_pairs`.

    Raises:
      UserError: no such file, no UTF-8, no such columns, a row without text or label, no such split.
    """
    file = Path(path).expanduser()
    examples = list(_table(file))
    classes = sorted({label for _, label in examples})
    rows = _rows(file, len(examples), split, f"labelled:{path}")
    labels = np.array([classes.index(examples[row][1]) for row in rows], np.int32)
    return _source(
        {"text": text_column([examples[row][0] for row in rows]), "label": labels}, {"label": tuple(classes)}
    )


def _table(file: Path) -> Iterator[tuple[str, str]]:
    """(text, label) of each row."""
    content = io.StringIO(read_file(file), newline="")
    csv.field_size_limit(_LONGEST)
    if file.suffix.lower() == ".csv":
        reader = csv.DictReader(content, strict=True)
    else:
        reader = csv.DictReader(content, delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        for name in ("text", "label"):
            if name not in (reader.fieldnames or ()):
                raise UserError(f"{file} has no column '{name}'; its first line must name the columns text and label")
        for row in reader:
            text, label = ((row[name] or "").strip() for name in ("text", "label"))
            if not text or not label or None in row:
                raise UserError(
                    f"{file}, line {reader.line_num}: expected a text and a label under the names of line 1"
                )
            yield text, label
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.reader.line_num}: {error}; correct the file") from None


def _rows(file: Path, count: int, split: str, owner: str) -> np.ndarray:
    """Which of `count` examples a split holds, in a fixed random order."""
    if not count:
        raise UserError(f"{file} has no examples; see jaxdl.data.dataset.Dataset for what must be in it")
    order = shuffled(np.arange(count), count, seed=0)
    ranges: tuple[Range, ...] = parse_split(split, {"train": count}, owner)
    return np.concatenate([order[part.start : part.stop] for part in ranges])


def _line_end(text: str, position: int) -> int:
    """The first start of a line at or after `position`, else of the last line; in a text of one line `position`."""
    if position in (0, len(text)):
        return position
    last = len(text) - 1
    return text.find("\n", position - 1, last) + 1 or text.rfind("\n", 0, last) + 1 or position


def _not_empty(file: Path, text: str) -> str:
    if not text.strip():
        raise UserError(f"{file} is empty; take it away, or put text into it")
    return text


def _source(columns: Batch, names: Mapping[str, tuple[str, ...]]) -> ColumnSource:
    content = [
        [name, [each.decode() if isinstance(each, bytes) else int(each) for each in column]]
        for name, column in columns.items()
    ]
    return ColumnSource(columns, digest_of([content, {name: list(each) for name, each in names.items()}]), names)
