"""Preparation of data sets: runs a TFDS builder, writes columns and digests."""

import contextlib
import io
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.source import narrow
from jaxdl.data.store.prepared import (
    MANIFEST,
    Prepared,
    check_features,
    column_file,
    digest,
    name_of,
    read_manifest,
    write_manifest,
)
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError, WriteError, install, limit_errors, nearest
from jaxdl.flock import exclusive
from jaxdl.home import data_home

COLUMN_LIMIT = 2 * 2**30  # bytes; smaller sets are also stored as columns


@contextlib.contextmanager
def lock(folder: str) -> Iterator[None]:
    """Locks a data set, so that concurrent processes of one machine prepare it once."""
    path = data_home() / ".locks" / folder.replace("/", "_")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(path))
        except WriteError as error:
            place = f"{data_home()} ({getattr(error.__cause__, 'strerror', error)})"
            raise UserError(
                f"cannot write to {place}; set the environment variable JAXDL_DATA to a writable folder"
            ) from None
        yield


def write(folder: str, builder: Callable[[Path], Any], existing: Path | None = None) -> Prepared:
    """Prepares a data set as `data_home()/folder/VERSION`, atomically, replacing an earlier one.

    The caller holds the `lock` of the folder.

    Args:
      folder: Folder of the data set below `data_home()`.
      builder: `(data directory) -> tfds.core.DatasetBuilder`. Its optional attribute NAMES holds the class names of
        features that are not ClassLabel: `{"mask": ("background", "cat")}`.
      existing: Folder with existing records to copy. None runs the builder.

    Raises:
      UserError: The data cannot be downloaded, or a library that the builder needs is not installed.
    """
    tfds = tensorflow_datasets()
    home = data_home()
    home.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    prefix = f".preparing-{folder.replace('/', '_')}-"
    for leftover in home.glob(f"{prefix}*"):  # from a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    with limit_errors(home / folder), tempfile.TemporaryDirectory(dir=home, prefix=prefix) as temporary:
        dataset_builder = builder(Path(temporary)) if existing is None else None
        print(f"preparing {folder} in {home / folder} ...", file=sys.stderr, flush=True)
        if dataset_builder is not None:
            _build(tfds, dataset_builder, folder)
            records = Path(dataset_builder.data_dir)
        else:
            records = _adopt(existing, Path(temporary) / "records")
        class_names_by_feature = getattr(dataset_builder, "NAMES", {})
        check_features(records)
        version, splits = _describe(folder, tfds.builder_from_directory(records), records, class_names_by_feature)
        target = home / folder / version
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            os.replace(target, Path(temporary) / "replaced")
        os.replace(records, target)
    print(f"prepared {folder}: {splits} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return read_manifest(target / MANIFEST)


def _adopt(existing: Any, target: Path) -> Path:
    """Copies the files of TFDS; records are immutable, so they are hard-linked where possible."""

    def copy(source: str, destination: str) -> None:
        try:
            if ".array_record" in source:
                os.link(source, destination)
                return
        except OSError:  # not on the same file system
            pass
        shutil.copyfile(source, destination)

    return Path(shutil.copytree(existing, target, ignore=shutil.ignore_patterns("*.npy", MANIFEST), copy_function=copy))


def _build(tfds: Any, builder: Any, folder: str) -> None:
    """Writes the records, with a progress bar if standard error is a terminal."""
    downloads = data_home() / "downloads"
    manual = downloads / "manual"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and not (manual.is_dir() and any(manual.iterdir())):
        steps = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        raise UserError(f"{folder} must be downloaded manually into {manual}: {steps}")
    _check_network(builder, folder)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(try_download_gcs=False, compute_stats=tfds.download.ComputeStatsMode.SKIP)
    # TFDS prints the size of the download; of jaxdl's own data sets it knows none.
    notes = sys.stderr if builder.info.download_size else io.StringIO()
    try:
        with contextlib.redirect_stdout(notes):
            builder.download_and_prepare(download_dir=downloads, file_format="array_record", download_config=config)
    except ImportError as error:
        library = _missing_library(error)
        if library is None:
            raise
        command = install("readers") if library == "tensorflow" else f"pip install {library}"
        raise UserError(f"preparing {folder} needs {library}: {command}") from error
    except OSError as error:
        if not _is_network(error):
            raise
        raise _unreachable(folder, f"{type(error).__name__}: {error}") from error


def _check_network(builder: Any, folder: str) -> None:
    """Resolves the download hosts, because TFDS retries for minutes before it fails."""
    hosts = {urllib.parse.urlparse(url).hostname for url in builder.url_infos or {}} - {None}
    fetched = any(path.suffix == ".INFO" for path in (data_home() / "downloads").glob("*"))
    if not hosts or fetched or urllib.request.getproxies():
        return
    for host in hosts:
        try:
            socket.getaddrinfo(host, 443)
            return
        except OSError:
            continue
    raise _unreachable(folder, f"no such host: {', '.join(sorted(map(str, hosts)))}")


def _unreachable(folder: str, reason: str) -> UserError:
    place = data_home() / folder
    return UserError(
        f"cannot download {folder} ({reason}); prepare it on a machine with a network and copy {place} here"
    )


def _is_network(error: OSError) -> bool:
    import urllib.error

    import requests

    return isinstance(error, (requests.RequestException, urllib.error.URLError, ConnectionError, TimeoutError))


def _missing_library(error: BaseException | None) -> str | None:
    """Returns the module whose absence caused the error; TFDS wraps it once per layer."""
    library = None
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            library = error.name.split(".")[0]
        error = error.__cause__ or error.__context__
    return library


def _describe(folder: str, builder: Any, path: Path, named: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, int]]:
    """Writes columns and `fingerprints.json`, and returns the version and split sizes.

    Args:
      folder: Folder of the data set below `data_home()`.
      builder: TFDS builder of the records.
      path: Folder of the records.
      named: Class names of features that hold classes but are not ClassLabel, such as a mask.
    """
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    names = class_names(builder.info.features)
    for feature, classes in named.items():
        if feature not in builder.info.features:
            raise UserError(f"{folder}: NAMES has the feature '{feature}'; {nearest(feature, builder.info.features)}")
        names[feature] = tuple(classes)
    columns = _column_shapes(builder, sum(counts.values()))
    for split, count in counts.items():
        _write_columns(path, split, builder.as_data_source(split=split), count, columns)
    files = {
        file.name: {"size": file.stat().st_size, "sha256": digest(file)}
        for file in sorted(path.iterdir())
        if file.is_file()
    }
    version = str(builder.info.version)
    name = name_of(folder)
    fields = {"name": name, "version": version, "splits": counts}
    fields |= {"columns": tuple(columns), "names": names, "files": files}
    write_manifest(path / MANIFEST, fields)
    return version, counts


def class_names(features: Any) -> dict[str, tuple[str, ...]]:
    """Returns class names by feature; those of detection objects also as `box_label`."""
    leaves = dict(features.items())
    objects = getattr(leaves.get("objects"), "feature", None)
    if objects is not None and "label" in objects:
        leaves["objects/label"] = leaves["box_label"] = objects["label"]
    labels = {name: value for name, value in leaves.items() if type(value).__name__ == "ClassLabel"}
    return {name: tuple(value.names) for name, value in labels.items() if value.names}


def _column_shapes(builder: Any, count: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Returns shape and dtype of each feature.

    Empty if one lacks a fixed numeric shape, or if all are too large together.
    """
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
        column = np.ascontiguousarray(narrow(feature, column))
        with open(path / column_file(split, feature), "wb") as file:  # `np.save` hides the cause of a failed write
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(column))
            file.write(column.data.cast("B") if column.size else b"")
