"""Splits and fingerprints of data sets in files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxdl.data.random import shuffled
from jaxdl.data.source import JoinedSource, Source
from jaxdl.data.splits import Range, parse_split
from jaxdl.data.store.prepared import DIGEST_LIMIT, digest, digest_of


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
