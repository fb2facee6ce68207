"""Data sets on disk: where they lie, how they get there, and the proof that they are whole.

A prepared data set is one folder, `data_home()/NAME/VERSION`: the TFDS record files; for small sets of fixed shapes
also every feature of every split as a `.npy` column, which loads without TFDS; and `fingerprints.json` with the size
and SHA-256 of each of these files.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.source import ColumnSource, ExampleSource, JoinedSource, Source, narrow
from jaxdl.data.splits import Range, parse_split
from jaxdl.data.tfds import tensorflow_datasets
from jaxdl.errors import UserError, nearest

MANIFEST = "fingerprints.json"
DIGEST_LIMIT = 256 * 2**20  # bytes: a set up to this size is read and checked in full at every load
COLUMN_LIMIT = 2 * 2**30  # bytes: a set up to this size is also kept as columns


def data_home() -> Path:
    """The folder of all data: the environment variable JAXDL_DATA, else `~/.cache/jaxdl`."""
    return Path(os.environ.get("JAXDL_DATA") or "~/.cache/jaxdl").expanduser()


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of anything that JSON can write, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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
      builder: SHA-256 of the source file that made it; empty for TFDS's own.
    """

    name: str
    path: Path
    version: str
    splits: Mapping[str, int]
    columns: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]
    files: Mapping[str, Mapping[str, Any]]
    builder: str = ""

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
          UserError: a file is missing or damaged.
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
        raise UserError(
            f"{path} is damaged: expected {expected}, found {found}; get it again with: "
            f"python launch.py data --prepare {self.name}"
        )

    def open(self, split: str, features: tuple[str, ...] = ()) -> Source:
        """The examples of `split`, with the features named, or all of them.

        Raises:
          UserError: no such split or feature.
        """
        ranges = parse_split(split, self.splits, self.name)
        for feature in features:
            if self.columns and feature not in self.columns:
                raise UserError(f"{self.name} has no feature '{feature}'; {nearest(feature, self.columns)}")
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
    tfds = tensorflow_datasets()

    return tfds.builder_from_directory(path).as_data_source(split=split)


def find(name: str) -> list[Prepared]:
    """The prepared versions of a data set, newest first."""
    manifests = (data_home() / name).glob(f"*/{MANIFEST}")
    return [_read(path) for path in sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True)]


def _read(path: Path) -> Prepared:
    fields = json.loads(path.read_text())
    fields["columns"] = tuple(fields["columns"])
    fields["names"] = {feature: tuple(names) for feature, names in fields["names"].items()}
    return Prepared(path=path.parent, **fields)


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Holds all others that prepare the same data set; the processes of one machine make it only once."""
    path = data_home() / ".locks" / name.replace("/", "_")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(name: str, builder: Any, source_digest: str, existing: Path | None = None) -> Prepared:
    """Prepares a data set into `data_home()`, all or nothing.

    Args:
      name: the folder's name below `data_home()`.
      builder: `(data_dir) -> tfds.core.DatasetBuilder`.
      source_digest: SHA-256 of the builder's source file; empty for TFDS's own.
      existing: a folder with the records, if they exist already.
    """
    tfds = tensorflow_datasets()

    home = data_home()
    home.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    print(f"preparing {name}, once, into {home / name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".preparing-") as folder:
        if existing is None:
            records = _build(tfds, builder(folder))
        else:
            records = Path(shutil.copytree(existing, Path(folder) / "records"))
        prepared = _describe(name, tfds.builder_from_directory(records), records, source_digest)
        target = home / name / prepared.version
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            os.replace(target, Path(folder) / "replaced")
        os.replace(records, target)
    seconds = time.monotonic() - started
    print(f"prepared {name}: {dict(prepared.splits)} in {seconds:.0f} s", file=sys.stderr, flush=True)
    return _read(target / MANIFEST)


def _build(tfds: Any, builder: Any) -> Path:
    """Writes the records; says how far it is on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(try_download_gcs=False, compute_stats=tfds.download.ComputeStatsMode.SKIP)
    with contextlib.redirect_stdout(sys.stderr):
        builder.download_and_prepare(file_format="array_record", download_config=config)
    return Path(builder.data_dir)


def _describe(name: str, builder: Any, path: Path, source_digest: str) -> Prepared:
    """Writes the columns and `fingerprints.json` beside the records in `path`."""
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    names = {
        feature: tuple(value.names)
        for feature, value in builder.info.features.items()
        if type(value).__name__ == "ClassLabel" and value.names
    }
    columns = _column_shapes(builder, sum(counts.values()))
    for split, count in counts.items():
        _write_columns(path, split, builder.as_data_source(split=split), count, columns)
    files = {
        file.name: {"size": file.stat().st_size, "sha256": digest(file)}
        for file in sorted(path.iterdir())
        if file.is_file()
    }
    version = str(builder.info.version)
    fields = dict(name=name, version=version, splits=counts, columns=tuple(columns), names=names, files=files)
    fields["builder"] = source_digest
    (path / MANIFEST).write_text(json.dumps(fields, indent=1))
    return Prepared(path=path, **fields)


def _column_shapes(builder: Any, count: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each feature; empty if one has no fixed shape, is no number, or all are too large together."""
    specs = builder.info.features.get_tensor_info()
    if not isinstance(specs, Mapping) or any(isinstance(spec, Mapping) for spec in specs.values()):
        return {}
    shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    for feature, spec in specs.items():
        kind = np.dtype(spec.np_dtype).kind
        if kind not in "biuf" or any(size is None for size in spec.shape):
            return {}
        shapes[feature] = (tuple(spec.shape), np.dtype(spec.np_dtype))
    total = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes.values()) * count
    return shapes if total < COLUMN_LIMIT else {}


def _write_columns(path: Path, split: str, records: Any, count: int, shapes: Mapping[str, Any]) -> None:
    columns = {feature: np.empty((count, *shape), dtype) for feature, (shape, dtype) in shapes.items()}
    for start in range(0, count if columns else 0, 1024):
        block = records.__getitems__(list(range(start, min(start + 1024, count))))
        for offset, example in enumerate(block):
            for feature, column in columns.items():
                column[start + offset] = example[feature]
    for feature, column in columns.items():
        np.save(path / column_file(split, feature), narrow(feature, column))
