"""Tabular: rows of a table as vectors of numbers, in units of the training rows' deviation."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.formats.time_series_csv import Rows, read_rows
from jaxdl.data.random import Draws
from jaxdl.data.source import Batch, ColumnSource, Loadable
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError, nearest

_MEAN, _DEVIATION = "features_mean", "features_deviation"


@dataclass(frozen=True)
class Tabular:
    """Rows as vectors: numbers less the mean of `reference`, over its standard deviation; categories one-hot.

    Loads as
      features: float32 [rows, n], the `columns` in their order; a category with k values is k numbers, 0 or 1.
      label: int32 [rows], 0 where the column `label` is 0, its first class, for normal; else 1, for anomalous.
    `names` say what they are: `features` the columns, "COLUMN=VALUE" for a category's; `features_mean` and
    `features_deviation` what is subtracted and divided by (0 and 1 for a category's), as texts that give back the exact
    numbers. A run keeps the names of its data, so a prediction scales as the training did without the table at hand;
    mean and deviation are in the fingerprint, too, so a run is not resumed on others.

    Attributes:
      table: the rows; a feature is a category if the table names its classes, else a number.
      reference: the training rows; of these, those that are normal say mean and deviation. A column that is constant
        there is divided by 1.
      columns: to look at. There is no default: what tells an anomaly would slip in.
      label: the column that says which rows are anomalous; "" if there is none, and all are normal.
    """

    table: Loadable
    reference: Loadable
    columns: tuple[str, ...]
    label: str = "label"

    def __post_init__(self):
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise UserError(f"Tabular: columns={tuple(self.columns)}: name one or more, each once")
        if self.label in self.columns:
            raise UserError(f"Tabular: '{self.label}' is the label; leave it out of columns")

    def load(self) -> ColumnSource:
        """Reads both tables.

        Raises:
          UserError: a table without one of the columns; a number that is missing or not finite; categories that
            differ between the two; a reference without a normal row.
        """
        source, reference = self.table.load(), self.reference.load()
        table, known = (part.read(np.arange(len(part))) for part in (source, reference))
        for columns, where in ((table, "the table"), (known, "the reference")):
            self._check(columns, where)
        if any(source.names.get(name) != reference.names.get(name) for name in self.columns):
            raise UserError("Tabular: table and reference name other categories; take two splits of one data set")
        normal = self._labels(known) == 0
        if not normal.any():
            raise UserError("Tabular: the reference has no normal row to take mean and deviation of")
        encoding = Encoding.of(self.columns, {name: known[name][normal] for name in self.columns}, source.names)
        settings = dataclasses.asdict(dataclasses.replace(self, table=None, reference=None))  # type: ignore
        fingerprint = digest_of([source.fingerprint, settings, encoding.names])
        columns = {"features": encoding.encode(table), "label": self._labels(table)}
        label = {"label": tuple(source.names[self.label])} if self.label in source.names else {}
        return ColumnSource(columns, fingerprint, {**encoding.names, **label})

    def read(self, files: Sequence[str], texts: Sequence[str], names: Mapping[str, Any]) -> list[tuple[str, Batch]]:
        """The rows of the user's CSV files: a header, then a row a line; columns that are not asked for are passed by.

        Args:
          files: CSV files.
          texts: none.
          names: of the training data.

        Returns:
          [("FILE: line LINE", {`features` [n]})].

        Raises:
          UserError: a text; a file that cannot be read, has no rows or lacks a column; a cell that is no number, or no
            value that its category had in training.
        """
        if texts:
            raise UserError(f"a table is read from a CSV file with the columns {', '.join(self.columns)}, not --text")
        encoding = Encoding.from_names(self.columns, names)
        examples = []
        for file in files:
            rows = read_rows(file)
            features = encoding.encode(_parsed(file, rows, encoding))
            examples += [(f"{file}: line {line}", {"features": row}) for line, row in zip(rows.lines, features)]
        return examples

    def _check(self, columns: Mapping[str, np.ndarray], where: str) -> None:
        for name in (*self.columns, *([self.label] if self.label else [])):
            if name not in columns:
                raise UserError(f"Tabular: {where} has no column '{name}'; {nearest(name, columns)}")
            if columns[name].ndim != 1:
                raise UserError(f"Tabular: '{name}' of {where} has shape {list(columns[name].shape)}, not [rows]")
            wrong = np.flatnonzero(~np.isfinite(columns[name].astype(np.float64)))
            if len(wrong):
                raise UserError(f"Tabular: row {wrong[0]} of {where}: '{name}' is missing or not finite; fill it in")

    def _labels(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """int32 [rows]."""
        if not self.label:
            return np.zeros(len(columns[self.columns[0]]), np.int32)
        return (columns[self.label] != 0).astype(np.int32)


class Encoding(NamedTuple):
    """How columns become vectors.

    Attributes:
      categories: {column: its values}, () for a column of numbers; in the order of the vector.
      mean: [n] subtracted.
      deviation: [n] divided by.
    """

    categories: Mapping[str, tuple[str, ...]]
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(
        cls, columns: Sequence[str], rows: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]]
    ) -> "Encoding":
        """The encoding with mean and deviation of `rows` {column: [rows]}; `names` hold the values of categories."""
        categories = {name: tuple(names.get(name, ())) for name in columns}
        mean, deviation = [], []
        for name, values in categories.items():
            column = rows[name].astype(np.float64)
            spread = column.std()
            mean += [0.0] * len(values) or [column.mean()]
            deviation += [1.0] * len(values) or [spread if spread > 0 else 1.0]
        return cls(categories, np.array(mean), np.array(deviation))

    @classmethod
    def from_names(cls, columns: Sequence[str], names: Mapping[str, Any]) -> "Encoding":
        """The encoding that a run was trained with, of the names that it kept of its data."""
        categories: dict[str, tuple[str, ...]] = dict.fromkeys(columns, ())
        for feature in names["features"]:
            column, equals, value = str(feature).partition("=")
            if equals and column in categories:
                categories[column] += (value,)
        mean, deviation = (np.array([float(text) for text in names[key]]) for key in (_MEAN, _DEVIATION))
        return cls(categories, mean, deviation)

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        features = [f"{name}={value}" for name, values in self.categories.items() for value in values or ("",)]
        return {
            "features": tuple(feature.removesuffix("=") for feature in features),
            _MEAN: tuple(repr(float(value)) for value in self.mean),
            _DEVIATION: tuple(repr(float(value)) for value in self.deviation),
        }

    def encode(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [rows, n] of {column: [rows]}, categories as the position of their value."""
        parts = []
        for name, values in self.categories.items():
            column = rows[name].astype(np.float64)
            parts.append(column[:, None] == np.arange(len(values)) if values else column[:, None])
        return ((np.concatenate(parts, axis=1) - self.mean) / self.deviation).astype(np.float32)


def _parsed(path: str, rows: Rows, encoding: Encoding) -> Batch:
    """{column: float64 [rows]} of a CSV file's texts, categories as the position of their value."""
    needed = ", ".join(encoding.categories)
    if not rows.header:
        raise UserError(f"{path} is empty; give a header ({needed}) and a row a line")
    for name in encoding.categories:
        if name not in rows.header:
            raise UserError(f"{path} has no column '{name}'; {nearest(name, rows.header)}; it needs {needed}")
    if not rows.cells:
        raise UserError(f"{path} has a header and no rows; add a row for each example")
    return {
        name: np.array([_number(path, line, name, cells[name].strip(), values) for line, cells in _numbered(rows)])
        for name, values in encoding.categories.items()
    }


def _numbered(rows: Rows) -> list[tuple[int, Mapping[str, str]]]:
    return list(zip(rows.lines, rows.cells))


def _number(path: str, line: int, name: str, text: str, values: tuple[str, ...]) -> float:
    if values:
        if text not in values:
            raise UserError(f"{path}, line {line}: '{text}' in column '{name}' is unknown; {nearest(text, values)}")
        return float(values.index(text))
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{path}, line {line}: '{text}' in column '{name}' is no number; mend it, or leave out the row")
    return number


@dataclass(frozen=True)
class MockTable:
    """Made-up rows near a plane, some of them off it; no download. For tests and tiny runs.

    Loads as columns `x1` to `x6` float32 [rows], in units of their own; `kind` int32, "a" or "b"; `label` int32, normal
    or anomalous.

    Attributes:
      rows: how many.
      anomalous: how many of these, the last ones, are off the plane.
      seed: of everything that is drawn; the plane depends on nothing else.
      split: other splits have other rows.
    """

    rows: int = 64
    anomalous: int = 0
    seed: int = 0
    split: str = "train"

    def load(self) -> ColumnSource:
        stream = int.from_bytes(self.split.encode()[:6].ljust(6, b"\0"), "little")
        draws = Draws(self.seed, np.arange(self.rows)).fold(stream)
        plane = 2 * Draws(self.seed, np.arange(2)).fold(0).uniform(6) - 1
        label = (np.arange(self.rows) >= self.rows - self.anomalous).astype(np.int32)
        kind = draws.integers(0, 2)
        place, noise = 2 * draws.uniform(2) - 1, 2 * draws.uniform(6) - 1
        values = place @ plane + np.where(label[:, None] > 0, 1.0, 0.05) * noise
        values = 100 * np.arange(6) + 10 * values + 5 * kind[:, None]
        columns = {f"x{number + 1}": values[:, number].astype(np.float32) for number in range(6)}
        names = {"kind": ("a", "b"), "label": ("normal", "anomalous")}
        return ColumnSource({**columns, "kind": kind.astype(np.int32), "label": label}, digest_of(repr(self)), names)
