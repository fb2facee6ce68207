"""Prepared data sets on disk and their verification.

A prepared data set is a folder `data_home()/NAME/VERSION` with the TFDS record files and `fingerprints.json`, which
holds the size and SHA-256 of every file. Small sets of fixed shape also have a `.npy` column per feature and split,
which loads without TFDS.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.source import ColumnSource, ExampleSource, JoinedSource, Source, flatten
from jaxdl.data.splits import Range, parse_split
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError, nearest
from jaxdl.home import data_home

MANIFEST = "fingerprints.json"
DIGEST_LIMIT = 256 * 2**20  # bytes; smaller sets are read and verified in full at every load


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Returns the SHA-256 of a JSON-serializable value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Damaged(UserError):
    """Error for a prepared file that differs from its manifest."""


@functools.cache
def _digest_once(path: Path, modified: int) -> str:
    """Returns the digest, computed once per process until the file changes."""
    return digest(path)


@dataclass(frozen=True)
class Prepared:
    """Prepared data set, as described by `fingerprints.json`.

    Attributes:
      splits: Number of examples per split.
      columns: Features stored as columns. Empty for records only.
      names: Class names by feature.
      files: Size in bytes and SHA-256 by file name.
    """

    name: str
    path: Path
    version: str
    splits: Mapping[str, int]
    columns: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]
    files: Mapping[str, Mapping[str, Any]]

    @property
    def size(self) -> int:
        """Size on disk in bytes."""
        return sum(file["size"] for file in self.files.values())

    @property
    def fingerprint(self) -> str:
        return self._fingerprint([Range(name, 0, count) for name, count in self.splits.items()], ())

    def verify(self, full: bool | None = None) -> None:
        """Checks the size of every file, and its SHA-256 if `full` (default: if the set is small).

        Raises:
          Damaged: A file is missing or differs.
        """
        full = self.size <= DIGEST_LIMIT if full is None else full
        for file, expected in self.files.items():
            path = self.path / file
            if not path.exists():
                self._damaged(path, f"{expected['size']} bytes", "no file")
            status = path.stat()
            if status.st_size != expected["size"]:
                self._damaged(path, f"{expected['size']} bytes", f"{status.st_size}")
            if full and (actual := _digest_once(path, status.st_mtime_ns)) != expected["sha256"]:
                self._damaged(path, f"SHA-256 {expected['sha256']}", actual)

    def _damaged(self, path: Path, expected: str, actual: str) -> None:
        raise Damaged(
            f"{path} is damaged: expected {expected}, got {actual}; prepare it again: jaxdl data --prepare {self.name}"
        )

    def open(self, split: str, features: tuple[str, ...] = ()) -> Source:
        """Opens a split, with all features or those given.

        Raises:
          UserError: The split or a feature does not exist.
        """
        ranges = parse_split(split, self.splits, self.name)
        if features:
            available = self.columns or tuple(flatten(_records(self.path, ranges[0].name)[0]))
            for feature in features:
                if feature not in available:
                    raise UserError(f"{self.name} has no feature '{feature}'; {nearest(feature, available)}")
        parts = tuple(self._part(part, features) for part in ranges)
        return parts[0] if len(parts) == 1 else JoinedSource(parts, self._fingerprint(ranges, features))

    def _part(self, part: Range, features: tuple[str, ...]) -> Source:
        fingerprint = self._fingerprint([part], features)
        if not self.columns:
            rows = range(part.start, part.stop)
            return ExampleSource(_records(self.path, part.name), rows, fingerprint, self.names, features)
        columns = {}
        for feature in features or self.columns:
            mapped = np.load(self.path / column_file(part.name, feature), mmap_mode="r")[part.start : part.stop]
            columns[feature] = np.array(mapped) if self.size <= DIGEST_LIMIT else np.asarray(mapped)
        return ColumnSource(columns, fingerprint, self.names)

    def _fingerprint(self, ranges: Any, features: tuple[str, ...]) -> str:
        # Columns are bitwise reproducible; compressed records depend on the library that wrote them.
        content = {
            name: file["sha256"]
            for name, file in self.files.items()
            if (name.endswith(".npy") if self.columns else ".array_record" in name)
        }
        return digest_of([content, self.version, [list(part) for part in ranges], list(features)])


def column_file(split: str, feature: str) -> str:
    return f"{split}.{feature.replace('/', '.')}.npy"


def _records(path: Path, split: str) -> Any:
    return tensorflow_datasets().builder_from_directory(path).as_data_source(split=split)


def find(name: str) -> list[Prepared]:
    """Returns the prepared versions of a data set, newest first."""
    manifests = (data_home() / name).glob(f"*/{MANIFEST}")
    return [read_manifest(path) for path in sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True)]


def read_manifest(path: Path) -> Prepared:
    """Reads a `fingerprints.json`.

    Raises:
      Damaged: The file is invalid.
    """
    try:
        fields = json.loads(path.read_text())
        names = {feature: tuple(names) for feature, names in fields["names"].items()}
        columns = tuple(fields["columns"])
        name, version, splits, files = (fields[key] for key in ("name", "version", "splits", "files"))
        return Prepared(name, path.parent, version, splits, columns, names, files)
    except (ValueError, KeyError, TypeError) as error:
        name = name_of(str(path.parent.parent.relative_to(data_home())))
        raise Damaged(f"{path} is damaged; prepare it again: jaxdl data --prepare {name}") from error


def folder_of(name: str) -> str:
    """Returns the folder of a data set below `data_home()`."""
    return name.replace("tfds:", "tfds/", 1) if name.startswith("tfds:") else name


def name_of(folder: str) -> str:
    """Inverts `folder_of`."""
    return folder.replace("tfds/", "tfds:", 1) if folder.startswith("tfds/") else folder
