"""Several sequences of tokens in a row, where otherwise there would be padding.

What is packed together stays apart: a model is told of which sequence each token is, and lets none see another. It
learns the same, and spares the work on padding (arXiv:2107.02027).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.data.source import Batch, ColumnSource
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.examples import Examples, Names
from jaxdl.errors import UserError

_AT_ONCE = 4096  # examples that are packed among each other: the search for room grows with their square


@dataclass(frozen=True)
class Packed:
    """Examples of which as many as fit are one row, as long as the longest of them may be; to train on.

    Loads as each feature X int32 [rows, length] of `examples` that has a length, and instead of that `X_segments` int32
    [rows, length]: 1 where the row's first example is, 2 where the second, and so on, 0 on padding. An example has the
    same number in all features, such as source and target.

    Attributes:
      examples: sequences of tokens with their lengths, and nothing beside them, such as `jaxdl.data.text.pairs.Pairs`
        and `Sentences(label=None)`.
    """

    examples: Any

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: the examples have a feature that is not a sequence with its length.
        """
        loaded = self.examples.load()
        columns = loaded.read(np.arange(len(loaded)))
        features = sorted(name.removesuffix("_length") for name in columns if name.endswith("_length"))
        others = set(columns) - {*features, *(f"{name}_length" for name in features)}
        if others or not features:
            raise UserError(
                f"Packed: {type(self.examples).__name__} has {', '.join(sorted(others or columns))}, which is not a"
                " sequence with its length; only sequences can lie several in a row"
            )
        lengths = np.stack([columns[f"{name}_length"] for name in features], axis=1)
        rows = rows_of(lengths, [columns[name].shape[1] for name in features])
        made: Batch = {}
        for place, name in enumerate(features):
            made[name], made[f"{name}_segments"] = _laid(columns[name], lengths[:, place], rows)
        return ColumnSource(made, digest_of(["Packed", loaded.fingerprint]), loaded.names)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """The user's own, one a row, as `examples` reads them."""
        return self.examples.read(files, texts, names)


def rows_of(lengths: np.ndarray, room: Sequence[int]) -> np.ndarray:
    """Which row each example goes to: the longest first, each to the first row that has room for it.

    Args:
      lengths: int [examples, features], none above its `room`.
      room: tokens of a row, for each feature.

    Returns:
      int64 [examples], from 0 on without gaps.
    """
    found, begun = np.zeros(len(lengths), np.int64), 0
    for first in range(0, len(lengths), _AT_ONCE):
        part = lengths[first : first + _AT_ONCE]
        free, used = np.tile(np.asarray(room), (len(part), 1)), 0
        for number in np.argsort(-(part / np.asarray(room)).max(axis=1), kind="stable").tolist():
            fits = (free[: used + 1] >= part[number]).all(axis=1)
            row = int(fits.argmax())  # the one after all that are used has room
            free[row] -= part[number]
            found[first + number] = begun + row
            used = max(used, row + 1)
        begun += used
    return found


def _laid(tokens: np.ndarray, lengths: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sequences [examples, length] one after the other in their rows, and the number of each in its row."""
    order = np.argsort(rows, kind="stable")
    begins = np.searchsorted(rows[order], rows[order])  # where in the order the row's first one is
    before = np.cumsum(lengths[order]) - lengths[order]
    length = tokens.shape[1]
    starts = rows[order] * length + before - before[begins]
    number = np.arange(len(order)) - begins + 1
    real = np.arange(length) < lengths[order][:, None]
    places = (starts[:, None] + np.arange(length))[real]
    laid, segments = np.zeros((2, (int(rows.max(initial=-1)) + 1) * length), np.int32)
    laid[places], segments[places] = tokens[order][real], np.broadcast_to(number[:, None], real.shape)[real]
    return laid.reshape(-1, length), segments.reshape(-1, length)
