"""Rows of a table as vectors standardized by the training rows."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.formats.tables import Rows, read_rows
from jaxdl.data.random import Draws, split_draws
from jaxdl.data.source import Batch, ColumnSource, Loadable
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError, nearest

_MEAN, _STD = "features_mean", "features_deviation"  # keys in `names`, which fingerprints contain


@dataclass(frozen=True)
class Tabular:
    """Table rows as vectors: standardized numbers and one-hot categories.

    Features:
      features: float32 [rows, n], the `columns` in order; a category with k values has k entries, 0 or 1.
      label: int32 [rows], 0 (normal) where the column `label` is 0, its first class, else 1 (anomalous).

    `names["features"]` holds the columns, "COLUMN=VALUE" for categories; `names["features_mean"]` and
    `names["features_deviation"]` the mean and std as exact texts (0 and 1 for categories). A run keeps these names, so
    prediction scales as training did without the table. They are part of the fingerprint.

    Example: with mean 10 and std 2 of `size`, and kinds a and b, the row size 12, kind b becomes [1.0, 0.0, 1.0].

    Attributes:
      table: Rows. A column is a category if the table has class names for it, else a number.
      reference: Training rows. The normal ones define mean and std; constant columns are divided by 1.
      columns: Columns to load. There is no default, because it could include the label.
      label: Column that marks anomalous rows. "" treats all rows as normal.
    """

    table: Loadable
    reference: Loadable
    columns: tuple[str, ...]
    label: str = "label"

    def __post_init__(self):
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise UserError(f"Tabular.columns={tuple(self.columns)} must hold at least one column, each once")
        if self.label in self.columns:
            raise UserError(f"Tabular.columns contains the label '{self.label}'; remove it")

    def load(self) -> ColumnSource:
        """Reads and standardizes the table.

        Raises:
          UserError: A column is missing, a number is missing or not finite, the categories of the tables differ, or the
            reference has no normal row.
        """
        source, reference = self.table.load(), self.reference.load()
        table, reference_rows = (part.read(np.arange(len(part))) for part in (source, reference))
        for columns, where in ((table, "the table"), (reference_rows, "the reference")):
            self._check(columns, where)
        if any(source.names.get(name) != reference.names.get(name) for name in self.columns):
            raise UserError("Tabular: table and reference differ in categories; use two splits of one data set")
        normal = self._labels(reference_rows) == 0
        if not normal.any():
            raise UserError("Tabular: the reference has no normal rows, which define mean and std; use other rows")
        encoding = Encoding.of(
            self.columns, {name: reference_rows[name][normal] for name in self.columns}, source.names
        )
        settings = dataclasses.asdict(dataclasses.replace(self, table=None, reference=None))  # type: ignore
        fingerprint = digest_of([source.fingerprint, settings, encoding.names])
        columns = {"features": encoding.encode(table), "label": self._labels(table)}
        label = {"label": tuple(source.names[self.label])} if self.label in source.names else {}
        return ColumnSource(columns, fingerprint, {**encoding.names, **label})

    def read(self, files: Sequence[str], texts: Sequence[str], names: Mapping[str, Any]) -> list[tuple[str, Batch]]:
        """Reads CSV files with a header; other columns are ignored.

        Args:
          files: CSV files.
          texts: Must be empty.
          names: Names of the training data.

        Returns:
          Pairs ("FILE: line LINE", {`features` [n]}).

        Raises:
          UserError: A text was given, a file cannot be read, is empty or lacks a column, or a cell is invalid.
        """
        if texts:
            raise UserError(f"tabular data is read from CSV files with {', '.join(self.columns)}, not --text; pass one")
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
                raise UserError(f"Tabular: '{name}' of {where} has shape {list(columns[name].shape)}; expected [rows]")
            invalid = np.flatnonzero(~np.isfinite(columns[name].astype(np.float64)))
            if len(invalid):
                raise UserError(f"Tabular: row {invalid[0]} of {where}: '{name}' is missing or not finite; fill it in")

    def _labels(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns 1 for anomalous rows, else 0, int32 [rows]."""
        if not self.label:
            return np.zeros(len(columns[self.columns[0]]), np.int32)
        return (columns[self.label] != 0).astype(np.int32)


class Encoding(NamedTuple):
    """Mapping of columns to standardized vectors.

    Attributes:
      categories: Values of each column, () for numbers, in the order of the vector.
      mean: Subtrahend, [n].
      deviation: Std, the divisor, [n].
    """

    categories: Mapping[str, tuple[str, ...]]
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(
        cls, columns: Sequence[str], rows: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]]
    ) -> "Encoding":
        """Returns the encoding by mean and std of `rows` {column: [rows]}.

        `names` holds category values.
        """
        categories = {name: tuple(names.get(name, ())) for name in columns}
        mean, deviation = [], []
        for name, values in categories.items():
            column = rows[name].astype(np.float64)
            std = column.std()
            mean += [0.0] * len(values) or [column.mean()]
            deviation += [1.0] * len(values) or [std if std > 0 else 1.0]
        return cls(categories, np.array(mean), np.array(deviation))

    @classmethod
    def from_names(cls, columns: Sequence[str], names: Mapping[str, Any]) -> "Encoding":
        """Restores the encoding of a training run from the names of its data."""
        categories: dict[str, tuple[str, ...]] = dict.fromkeys(columns, ())
        for feature in names["features"]:
            column, equals, value = str(feature).partition("=")
            if equals and column in categories:
                categories[column] += (value,)
        mean, deviation = (np.array([float(text) for text in names[key]]) for key in (_MEAN, _STD))
        return cls(categories, mean, deviation)

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        features = [f"{name}={value}" for name, values in self.categories.items() for value in values or ("",)]
        return {
            "features": tuple(feature.removesuffix("=") for feature in features),
            _MEAN: tuple(repr(float(value)) for value in self.mean),
            _STD: tuple(repr(float(value)) for value in self.deviation),
        }

    def encode(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Encodes {column: [rows]}, with category indices, as float32 [rows, n]."""
        parts = []
        for name, values in self.categories.items():
            column = rows[name].astype(np.float64)
            parts.append(column[:, None] == np.arange(len(values)) if values else column[:, None])
        return ((np.concatenate(parts, axis=1) - self.mean) / self.deviation).astype(np.float32)


def _parsed(path: str, rows: Rows, encoding: Encoding) -> Batch:
    """Parses CSV cells to {column: float64 [rows]}, with category indices."""
    required = ", ".join(encoding.categories)
    if not rows.header:
        raise UserError(f"{path} is empty; expected a header ({required}) and one row per line")
    for name in encoding.categories:
        if name not in rows.header:
            raise UserError(f"{path} has no column '{name}'; {nearest(name, rows.header)}; required: {required}")
    if not rows.cells:
        raise UserError(f"{path} has a header but no rows; add one row per example")
    return {
        name: np.array([_number(path, rows, at, name, values) for at in range(len(rows.lines))])
        for name, values in encoding.categories.items()
    }


def _number(path: str, rows: Rows, at: int, name: str, values: tuple[str, ...]) -> float:
    text = rows.cells[at][name].strip()
    if values:
        if text not in values:
            line = rows.lines[at]
            raise UserError(f"{path}, line {line}: '{text}' in column '{name}' is unknown; {nearest(text, values)}")
        return float(values.index(text))
    remedy = "correct or remove the row"
    number = float(np.float32(rows.number(path, at, name, remedy)))  # the precision of the columns of training
    if math.isnan(number):
        raise UserError(f"{path}, line {rows.lines[at]}: '' in column '{name}' is not a number; {remedy}")
    return number


@dataclass(frozen=True)
class MockTable:
    """Generated rows near a plane, with anomalous rows off it, for tests.

    Columns: `x1` to `x6` float32 [rows], at different scales; `kind` int32 [rows], "a" or "b"; `label` int32 [rows],
    normal or anomalous.

    Attributes:
      rows: Number of rows.
      anomalous: Number of anomalous rows, the last ones.
      seed: Random seed. The plane depends on it alone.
      split: Name of the split; each has other rows.
    """

    rows: int = 64
    anomalous: int = 0
    seed: int = 0
    split: str = "train"

    def load(self) -> ColumnSource:
        draws = split_draws(self.seed, self.split, self.rows)
        plane = 2 * Draws(self.seed, np.arange(2)).fold(0).uniform(6) - 1
        label = (np.arange(self.rows) >= self.rows - self.anomalous).astype(np.int32)
        kind = draws.integers(0, 2)
        place, noise = 2 * draws.uniform(2) - 1, 2 * draws.uniform(6) - 1
        values = place @ plane + np.where(label[:, None] > 0, 1.0, 0.05) * noise
        values = 100 * np.arange(6) + 10 * values + 5 * kind[:, None]
        columns = {f"x{number + 1}": values[:, number].astype(np.float32) for number in range(6)}
        names = {"kind": ("a", "b"), "label": ("normal", "anomalous")}
        return ColumnSource({**columns, "kind": kind.astype(np.int32), "label": label}, digest_of(repr(self)), names)
