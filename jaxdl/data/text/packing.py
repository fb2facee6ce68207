"""Sequence packing: several sequences per row instead of padding.

Segment ids mask attention between packed sequences, so training is equivalent without computing on padding (Krell et
al., "Efficient Sequence Packing without Cross-contamination", arXiv:2107.02027).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.data.source import Batch, ColumnSource
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.examples import Examples, Names
from jaxdl.errors import UserError, nearest

_AT_ONCE = 4096  # examples packed together; the search is quadratic in their number


@dataclass(frozen=True)
class Packed:
    """Packed token sequences for training, with as many examples per row as fit.

    For each feature X of `examples` with a length: X int32 [rows, length], and `X_segments` int32 [rows, length]
    instead of the length: 1 for the first example of a row, 2 for the second, .., 0 for padding. An example has the
    same segment in all features. Features of `beside` are laid out as the first feature, and are 0 on padding.

    Example: [5, 6] and [7] of `length` 4 become [[5, 6, 7, <pad>]] with segments [[1, 1, 2, 0]].

    Attributes:
      examples: Token sequences with lengths, such as `jaxdl.data.text.pairs.Pairs` and `Sentences(label=None)`.
      beside: Features with one value per token, such as the `label` of `jaxdl.data.text.tagging.Tagged`. For examples
        with one sequence.
      dropped: Features that training does not use.
    """

    examples: Any
    beside: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def load(self) -> ColumnSource:
        """Packs the examples.

        Raises:
          UserError: A feature is not a sequence with a length, or one of `beside` has another shape.
        """
        loaded = self.examples.load()
        columns = loaded.read(np.arange(len(loaded)))
        features = sorted(name.removesuffix("_length") for name in columns if name.endswith("_length"))
        self._check(columns, features)
        lengths = np.stack([columns[f"{name}_length"] for name in features], axis=1)
        rows = rows_of(lengths, [columns[name].shape[1] for name in features])
        packed: Batch = {}
        for position, name in enumerate(features):
            packed[name], packed[f"{name}_segments"] = _laid(columns[name], lengths[:, position], rows)
        packed |= {name: _laid(columns[name], lengths[:, 0], rows)[0] for name in self.beside}
        names = {name: value for name, value in loaded.names.items() if name not in self.dropped}
        settings = [self.beside, self.dropped] if self.beside or self.dropped else []
        return ColumnSource(packed, digest_of(["Packed", *settings, loaded.fingerprint]), names)

    def _check(self, columns: Batch, features: Sequence[str]) -> None:
        kind = type(self.examples).__name__
        if unknown := [name for name in (*self.beside, *self.dropped) if name not in columns]:
            raise UserError(f"Packed: {kind} has no feature '{unknown[0]}'; {nearest(unknown[0], columns)}")
        others = set(columns) - {*features, *(f"{name}_length" for name in features), *self.beside, *self.dropped}
        if others or not features:
            raise UserError(
                f"Packed: {kind} has {', '.join(sorted(others or columns))}, which is not a sequence with a length;"
                " name it in `beside` if it has a value per token, in `dropped` if training does not use it, or use"
                " the examples unpacked"
            )
        for name in self.beside:
            if len(features) > 1 or columns[name].shape != columns[features[0]].shape:
                raise UserError(
                    f"Packed: {name} {list(columns[name].shape)} is not laid out as"
                    f" {' and '.join(f'{other} {list(columns[other].shape)}' for other in features)}; use the examples"
                    " unpacked"
                )

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Reads the user's examples unpacked, as `examples` does."""
        return self.examples.read(files, texts, names)


def rows_of(lengths: np.ndarray, room: Sequence[int]) -> np.ndarray:
    """Assigns examples to rows by first-fit decreasing.

    Args:
      lengths: Lengths in tokens, int [examples, features], at most `room`.
      room: Tokens per row for each feature.

    Returns:
      Row of each example, int64 [examples], consecutive from 0.
    """
    assigned, offset = np.zeros(len(lengths), np.int64), 0
    for first in range(0, len(lengths), _AT_ONCE):
        part = lengths[first : first + _AT_ONCE]
        free, used = np.tile(np.asarray(room), (len(part), 1)), 0
        for number in np.argsort(-(part / np.asarray(room)).max(axis=1), kind="stable").tolist():
            fits = (free[: used + 1] >= part[number]).all(axis=1)
            row = int(fits.argmax())  # the first unused row always fits
            free[row] -= part[number]
            assigned[first + number] = offset + row
            used = max(used, row + 1)
        offset += used
    return assigned


def _laid(tokens: np.ndarray, lengths: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lays out sequences in their rows, and returns tokens and segment numbers."""
    order = np.argsort(rows, kind="stable")
    begins = np.searchsorted(rows[order], rows[order])  # first position of the row in the order
    before = np.cumsum(lengths[order]) - lengths[order]
    length = tokens.shape[1]
    starts = rows[order] * length + before - before[begins]
    number = np.arange(len(order)) - begins + 1
    real = np.arange(length) < lengths[order][:, None]
    positions = (starts[:, None] + np.arange(length))[real]
    laid, segments = np.zeros((2, (int(rows.max(initial=-1)) + 1) * length), np.int32)
    laid[positions], segments[positions] = tokens[order][real], np.broadcast_to(number[:, None], real.shape)[real]
    return laid.reshape(-1, length), segments.reshape(-1, length)
