"""Makes prepared data sets: runs a TFDS builder, writes the columns, and digests every file."""

import contextlib
import fcntl
import json
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
    column_file,
    digest,
    name_of,
    read_manifest,
)
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError, nearest
from jaxdl.home import data_home

COLUMN_LIMIT = 2 * 2**30  # bytes: a set up to this size is also kept as columns


@contextlib.contextmanager
def lock(folder: str) -> Iterator[None]:
    """Holds all others that prepare the same data set; the processes of one machine make it only once."""
    path = data_home() / ".locks" / folder.replace("/", "_")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        place = f"{data_home()} ({error.strerror})"
        raise UserError(
            f"cannot write to {place}; name another folder in the environment variable JAXDL_DATA"
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(folder: str, builder: Callable[[Path], Any], existing: Path | None = None) -> Prepared:
    """Prepares a data set as `data_home()/folder/VERSION`, all or nothing, in place of what was there.

    To be called with the `lock` of the folder held.

    Args:
      builder: `(data directory) -> tfds.core.DatasetBuilder`; its attribute NAMES, if it has one, gives the class
        names of features that are no ClassLabel: `{"mask": ("background", "cat")}`.
      existing: a folder with the records, if they exist already.

    Raises:
      UserError: the data cannot be downloaded, or a library that the builder needs is missing.
    """
    tfds = tensorflow_datasets()
    home = data_home()
    home.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    prefix = f".preparing-{folder.replace('/', '_')}-"
    for leftover in home.glob(f"{prefix}*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=prefix) as temporary:
        made = builder(Path(temporary)) if existing is None else None
        print(f"preparing {folder}, once, into {home / folder} ...", file=sys.stderr, flush=True)
        if made is not None:
            _build(tfds, made, folder)
            records = Path(made.data_dir)
        else:
            records = _adopt(existing, Path(temporary) / "records")
        named = getattr(made, "NAMES", {})
        version, splits = _describe(folder, tfds.builder_from_directory(records), records, named)
        target = home / folder / version
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            os.replace(target, Path(temporary) / "replaced")
        os.replace(records, target)
    print(f"prepared {folder}: {splits} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return read_manifest(target / MANIFEST)


def _adopt(existing: Any, target: Path) -> Path:
    """Copies the files of TFDS; records are never changed, so the two folders share them where they can."""

    def copy(source: str, place: str) -> None:
        try:
            if ".array_record" in source:
                os.link(source, place)
                return
        except OSError:  # not on the same file system
            pass
        shutil.copyfile(source, place)

    return Path(shutil.copytree(existing, target, ignore=shutil.ignore_patterns("*.npy", MANIFEST), copy_function=copy))


def _build(tfds: Any, builder: Any, folder: str) -> None:
    """Writes the records; says how far it is on standard error, if that is a terminal."""
    downloads = data_home() / "downloads"
    by_hand = downloads / "manual"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and not (by_hand.is_dir() and any(by_hand.iterdir())):
        steps = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        raise UserError(f"{folder} must be downloaded by hand into {by_hand}: {steps}")
    _check_network(builder, folder)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(try_download_gcs=False, compute_stats=tfds.download.ComputeStatsMode.SKIP)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare(download_dir=downloads, file_format="array_record", download_config=config)
    except ImportError as error:
        library = _missing_library(error)
        if library is None:
            raise
        package = "'jaxdl[readers]'" if library == "tensorflow" else library
        raise UserError(f"preparing {folder} needs {library}, which is not installed: pip install {package}") from error
    except OSError as error:
        if not _is_network(error):
            raise
        raise _unreachable(folder, f"{type(error).__name__}: {error}") from error


def _check_network(builder: Any, folder: str) -> None:
    """Looks up the hosts to download from: TFDS itself would try for minutes before it gives up."""
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
    return UserError(f"cannot download {folder} ({reason}); prepare it where there is a network and copy {place} here")


def _is_network(error: OSError) -> bool:
    import urllib.error

    import requests

    return isinstance(error, (requests.RequestException, urllib.error.URLError, ConnectionError, TimeoutError))


def _missing_library(error: BaseException | None) -> str | None:
    """The module whose absence started it all; TFDS wraps the error once a layer."""
    found = None
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            found = error.name.split(".")[0]
        error = error.__cause__ or error.__context__
    return found


def _describe(folder: str, builder: Any, path: Path, named: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, int]]:
    """Writes the columns and `fingerprints.json` beside the records in `path`; gives version and sizes of splits.

    Args:
      named: class names by feature, for features that are no ClassLabel but hold classes, such as a mask's.
    """
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    names = class_names(builder.info.features)
    for feature, classes in named.items():
        if feature not in builder.info.features:
            raise UserError(f"{folder} names classes of '{feature}'; {nearest(feature, builder.info.features)}")
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
    (path / MANIFEST).write_text(json.dumps(fields, indent=1))
    return version, counts


def class_names(features: Any) -> dict[str, tuple[str, ...]]:
    """Class names by feature of a TFDS FeaturesDict; those of a TFDS detection set's objects also as `box_label`."""
    found = dict(features.items())
    objects = getattr(found.get("objects"), "feature", None)
    if objects is not None and "label" in objects:
        found["objects/label"] = found["box_label"] = objects["label"]
    labels = {name: value for name, value in found.items() if type(value).__name__ == "ClassLabel"}
    return {name: tuple(value.names) for name, value in labels.items() if value.names}


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
