"""Data sets on disk: where they lie, how they get there, and the proof that they are whole.

A prepared data set is one folder, `data_home()/NAME/VERSION`: the TFDS record files; for small sets of fixed shapes
also every feature of every split as a `.npy` column, which loads without TFDS; and `fingerprints.json` with the size
and SHA-256 of each of these files.
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
DIGEST_LIMIT = 256 * 2**20  # bytes: a set up to this size is read and checked in full at every load


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of anything that JSON can write, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Damaged(UserError):
    """A prepared file is not what it was."""


@functools.cache
def _digest_once(path: Path, modified: int) -> str:
    """The digest, computed once a process for as long as the file does not change."""
    return digest(path)


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: its folder and what `fingerprints.json` says.

    Attributes:
      splits: how many examples each split has.
      columns: the features kept as columns; empty: records only.
      names: class names by feature.
      files: name -> size in bytes and SHA-256 of every file.
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
        """Bytes on disk."""
        return sum(file["size"] for file in self.files.values())

    @property
    def fingerprint(self) -> str:
        return self._fingerprint([Range(name, 0, count) for name, count in self.splits.items()], ())

    def verify(self, full: bool | None = None) -> None:
        """Checks every file's size, and its SHA-256 too if `full` (default: when the set is small).

        Raises:
          Damaged: a file is missing or not what it was.
        """
        full = self.size <= DIGEST_LIMIT if full is None else full
        for file, expected in self.files.items():
            path = self.path / file
            if not path.exists():
                self._damaged(path, f"{expected['size']} bytes", "no file")
            status = path.stat()
            if status.st_size != expected["size"]:
                self._damaged(path, f"{expected['size']} bytes", f"{status.st_size}")
            if full and (found := _digest_once(path, status.st_mtime_ns)) != expected["sha256"]:
                self._damaged(path, f"SHA-256 {expected['sha256']}", found)

    def _damaged(self, path: Path, expected: str, found: str) -> None:
        raise Damaged(
            f"{path} is damaged: expected {expected}, found {found}; get it again with: "
            f"python launch.py data --prepare {self.name}"
        )

    def open(self, split: str, features: tuple[str, ...] = ()) -> Source:
        """The examples of `split`, with the features named, or all of them.

        Raises:
          UserError: no such split or feature.
        """
        ranges = parse_split(split, self.splits, self.name)
        if features:
            known = self.columns or tuple(flatten(_records(self.path, ranges[0].name)[0]))
            for feature in features:
                if feature not in known:
                    raise UserError(f"{self.name} has no feature '{feature}'; {nearest(feature, known)}")
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
        # Columns are plain arrays, the same wherever they were written; records are compressed, so only second best.
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
    """The prepared versions of a data set, newest first."""
    manifests = (data_home() / name).glob(f"*/{MANIFEST}")
    return [read_manifest(path) for path in sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True)]


def read_manifest(path: Path) -> Prepared:
    """The data set that a `fingerprints.json` describes.

    Raises:
      Damaged: it does not describe one.
    """
    try:
        fields = json.loads(path.read_text())
        names = {feature: tuple(names) for feature, names in fields["names"].items()}
        columns = tuple(fields["columns"])
        name, version, splits, files = (fields[key] for key in ("name", "version", "splits", "files"))
        return Prepared(name, path.parent, version, splits, columns, names, files)
    except (ValueError, KeyError, TypeError) as error:
        name = name_of(str(path.parent.parent.relative_to(data_home())))
        raise Damaged(f"{path} is damaged; get it again with: python launch.py data --prepare {name}") from error


def folder_of(name: str) -> str:
    """Where a data set lies below `data_home()`."""
    return name.replace("tfds:", "tfds/", 1) if name.startswith("tfds:") else name


def name_of(folder: str) -> str:
    """The inverse of `folder_of`."""
    return folder.replace("tfds/", "tfds:", 1) if folder.startswith("tfds/") else folder
