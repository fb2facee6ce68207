"""Splits and fingerprints of data sets in files."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.random import shuffled
from jaxdl.data.source import JoinedSource, Source
from jaxdl.data.splits import Range, parse_split
from jaxdl.data.store.prepared import DIGEST_LIMIT, digest, digest_of
from jaxdl.errors import UserError, nearest

_ON_ERROR = ("raise", "skip")


@dataclass(frozen=True)
class Reading:
    """Treatment of the files of a data set.

    Attributes:
      scale: Values that become 0 and 255 in images of more than 8 bits; see `jaxdl.data.image.files.decode`.
      on_error: "raise" stops at the first damaged file. "skip" reads all examples at the start and drops damaged ones.
      skip_limit: Largest fraction of the files that "skip" may drop.
    """

    scale: tuple[float, float] | None = None
    on_error: str = "raise"
    skip_limit: float = 0.05

    def __post_init__(self):
        if self.on_error not in _ON_ERROR:
            raise UserError(f"Dataset.on_error='{self.on_error}' is unknown; {nearest(self.on_error, _ON_ERROR)}")
        if self.scale is not None and not (len(self.scale) == 2 and self.scale[0] < self.scale[1]):
            raise UserError(f"Dataset.scale={self.scale} must be (LOW, HIGH), the values of black and white")
        if not 0 <= self.skip_limit < 1:
            raise UserError(f"Dataset.skip_limit={self.skip_limit} must be a fraction from 0 to below 1")

    @property
    def settings(self) -> list[Any]:
        """Settings that change the examples, for fingerprints; empty by default."""
        return [] if self.scale is None else [list(map(float, self.scale))]

    def readable(self, owner: object, examples: Any, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Returns the examples that can be read, int64 [kept], and the names of the others.

        Args:
          owner: Data set, for error messages.
          examples: Examples, which raise UserError on access if they are damaged.
          names: Name of each example.

        Raises:
          UserError: More than `skip_limit` of the examples are damaged.
        """
        if self.on_error == "raise":
            return np.arange(len(examples)), []
        with ThreadPoolExecutor() as pool:
            faults = list(pool.map(lambda number: _fault(examples, number), range(len(examples))))
        damaged = [f"{name} (damaged)" for name, fault in zip(names, faults) if fault]
        if len(damaged) > self.skip_limit * len(faults):
            raise UserError(
                f"{owner}: {len(damaged)} of {len(faults)} files are damaged, more than "
                f"skip_limit={self.skip_limit:g}; the first: {next(filter(None, faults))}"
            )
        return np.flatnonzero([not fault for fault in faults]), damaged


def _fault(examples: Any, number: int) -> str | None:
    """Returns why an example cannot be read, or None."""
    try:
        examples[number]
    except UserError as error:
        return str(error)
    return None


def open_parts(split: str, counts: Mapping[str, int], owner: str, open_part: Callable[[Range], Source]) -> Source:
    """Opens the parts of a split, as `parse_split` returns them, and concatenates them."""
    parts = tuple(open_part(part) for part in parse_split(split, counts, owner))
    return parts[0] if len(parts) == 1 else JoinedSource(parts, digest_of([part.fingerprint for part in parts]))


def sample(part: Range, count: int) -> np.ndarray:
    """Returns the rows of a part in an order that is random and depends on `count` only, so a part is a fair sample."""
    return shuffled(np.arange(count), count, seed=0)[part.start : part.stop]


def identity(root: Path, files: Sequence[Path]) -> list:
    """Returns name and size of every file, with SHA-256 if the total size is small."""
    sizes = [file.stat().st_size for file in files]
    small = sum(sizes) <= DIGEST_LIMIT
    return [[str(file.relative_to(root)), size, digest(file) if small else None] for file, size in zip(files, sizes)]
