"""Prepared data sets on disk and their verification.

A prepared data set is a folder `data_home()/NAME/VERSION` with the TFDS record files and `fingerprints.json`, which
holds the splits, the class names, the size and SHA-256 of every file, and a SHA-256 over these entries. Small sets of
fixed shape also have a `.npy` column per feature and split, which loads without TFDS.
"""

import functools
import hashlib
import json
import os
import re
import sys
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
SEAL = "sha256"  # entry of the manifest: the digest of all others
DIGEST_LIMIT = 256 * 2**20  # bytes; smaller sets are read and verified in full at every load
SMALL_FILE = 2**20  # bytes; smaller files, such as class names, are verified in full in every set


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Returns the SHA-256 of a JSON-serializable value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Damaged(UserError):
    """Error for a prepared data set that cannot be read, or differs from its manifest."""


def _damaged(path: Path, name: str, problem: str) -> Damaged:
    return Damaged(f"{path} is damaged: {problem}; prepare it again: jaxdl data --prepare={name}")


@functools.cache
def digest_once(path: Path, modified: int) -> str:
    """Returns the digest, computed once per process until the file changes."""
    return digest(path)


@dataclass(frozen=True)
class _Records:
    """Decoded records of a split. Damage in sets above `DIGEST_LIMIT` is found by the checksums in the records."""

    examples: Any
    path: Path
    name: str

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.examples[index]
        except (RuntimeError, ValueError, LookupError, TypeError, OSError) as error:
            raise _damaged(self.path, self.name, f"record {index}: {' '.join(str(error).split())[:200]}") from error


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
        """Checks the size of every file, and its SHA-256 if it is small or `full` (default: if the set is small).

        Raises:
          Damaged: A file is missing, cannot be read, or differs.
        """
        full = self.size <= DIGEST_LIMIT if full is None else full
        for file, expected in self.files.items():
            path = self.path / file
            try:
                status = path.stat()
                actual, wanted = f"{status.st_size} bytes", f"{expected['size']} bytes"
                if actual == wanted and (full or status.st_size <= SMALL_FILE):
                    actual, wanted = digest_once(path, status.st_mtime_ns), expected["sha256"]
            except OSError as error:
                raise _damaged(path, self.name, str(error.strerror)) from error
            if actual != wanted:
                raise _damaged(path, self.name, f"expected {wanted}, got {actual}")

    def open(self, split: str, features: tuple[str, ...] = ()) -> Source:
        """Opens a split, with all features or those given.

        Raises:
          UserError: The split or a feature does not exist.
        """
        ranges = parse_split(split, self.splits, self.name)
        if features:
            available = self.columns or tuple(flatten(self._records(ranges[0].name)[0]))
            for feature in features:
                if feature not in available:
                    raise UserError(f"{self.name} has no feature '{feature}'; {nearest(feature, available)}")
        parts = tuple(self._part(part, features) for part in ranges)
        return parts[0] if len(parts) == 1 else JoinedSource(parts, self._fingerprint(ranges, features))

    def _part(self, part: Range, features: tuple[str, ...]) -> Source:
        fingerprint = self._fingerprint([part], features)
        if not self.columns:
            rows = range(part.start, part.stop)
            return ExampleSource(self._records(part.name), rows, fingerprint, self.names, features)
        columns = {}
        for feature in features or self.columns:
            mapped = np.load(self.path / column_file(part.name, feature), mmap_mode="r")[part.start : part.stop]
            columns[feature] = np.array(mapped) if self.size <= DIGEST_LIMIT else np.asarray(mapped)
        return ColumnSource(columns, fingerprint, self.names)

    def _records(self, split: str) -> _Records:
        examples = tensorflow_datasets().builder_from_directory(self.path).as_data_source(split=split)
        return _Records(examples, self.path, self.name)

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


def versions(name: str) -> list[str]:
    """Returns the prepared versions of a data set, the highest first, without verification."""
    names = [path.name for path in (data_home() / name).glob("*") if os.path.lexists(path / MANIFEST)]
    return sorted(names, key=lambda version: [int(part) for part in re.findall(r"\d+", version)], reverse=True)


def read_version(name: str, version: str) -> Prepared:
    """Reads the manifest of a prepared version. Raises Damaged like `read_manifest`."""
    return read_manifest(data_home() / name / version / MANIFEST)


def write_manifest(path: Path, fields: Mapping[str, Any]) -> None:
    """Writes a `fingerprints.json` with its own digest."""
    fields = json.loads(json.dumps(fields))
    path.write_text(json.dumps({**fields, SEAL: digest_of(fields)}, indent=1))


def check_features(path: Path) -> None:
    """Refuses a `features.json` with classes outside of TFDS, whose modules TFDS would import.

    Raises:
      UserError: Such a class, unless its module is imported, as after the import of a user's builder.
    """
    file, names = path / "features.json", list[str]()

    def collect(node: dict[str, Any]) -> None:
        names.extend(str(node.get(key, "")) for key in ("pythonClassName", "python_class_name", "type"))

    if file.is_file():
        json.loads(file.read_text(), object_hook=collect)
    for module in {name.rpartition(".")[0] for name in names} - {"", *sys.modules}:
        if not f"{module}.".startswith("tensorflow_datasets.core.features."):
            raise UserError(f"{file} names code in {module}, which is not of TFDS; import it first if you trust it")


def read_manifest(path: Path) -> Prepared:
    """Reads a `fingerprints.json`.

    Raises:
      Damaged: The file cannot be read, or does not have its digest.
    """
    try:
        fields = json.loads(path.read_bytes())
        if fields.pop(SEAL, None) != digest_of(fields):
            raise ValueError("it does not have its SHA-256, or was written by an older jaxdl")
        names = {feature: tuple(names) for feature, names in fields["names"].items()}
        columns = tuple(fields["columns"])
        name, version, splits, files = (fields[key] for key in ("name", "version", "splits", "files"))
        return Prepared(name, path.parent, version, splits, columns, names, files)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        name = name_of(path.parents[1].relative_to(data_home()).as_posix())
        raise _damaged(path, name, getattr(error, "strerror", None) or str(error)) from error


def folder_of(name: str) -> str:
    """Returns the folder of a data set below `data_home()`."""
    return name.replace("tfds:", "tfds/", 1) if name.startswith("tfds:") else name


def name_of(folder: str) -> str:
    """Inverts `folder_of`."""
    return folder.replace("tfds/", "tfds:", 1) if folder.startswith("tfds/") else folder
