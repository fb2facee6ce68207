"""Local mirrors of objects, updated by size and tag."""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from jaxdl.errors import UserError, write_errors
from jaxdl.flock import exclusive
from jaxdl.home import data_home
from jaxdl.remote.store import Object, Store

THREADS = 16
_ROUNDS = 5  # listings of a store that changes
_STALE = 86_400.0  # seconds after which a part of a file counts as that of a killed process
_LAST = "seal.json"  # accepts the present and the last content of each file of a run

Index = dict[str, list]  # {name: [size and tag in the store, modification time of the local file in ns]}


def state_path(kind: str, name: str) -> Path:
    """Returns a path, without suffix, of the files that describe a mirror or a staging folder."""
    return data_home().absolute() / f".{kind}" / hashlib.sha256(name.encode()).hexdigest()[:32]


def mirror(url: str, place: Path, select: Callable[[Collection[str]], set[str]] = set, partial: bool = False) -> Path:
    """Brings the mirror of a URL up to date and returns its path.

    Each file is replaced atomically, and files without an object are removed.

    Args:
      url: URL of an object, or of a folder.
      place: Path of the mirror.
      select: Returns the names to mirror of all names.
      partial: Whether files that are not selected stay as they are; otherwise they are removed.

    Raises:
      UserError: Nothing exists at the URL, the store cannot be read, or the disk is full.
    """
    store, state = Store(url), state_path("objects", url)
    with exclusive(state.with_suffix(".lock")):
        index = read_index(state.with_suffix(".json"))
        for _ in range(_ROUNDS):
            objects = store.list()
            if not objects:
                raise UserError(f"{url} does not exist: no object has this name or lies below it; check the URL")
            if "" in objects:  # one file
                objects = {"": objects[""]}
            else:
                remove_others(place, objects if partial else select(objects))
            missing = outdated(place, {name: objects[name] for name in select(objects)}, index)
            if not missing:
                break
            index = {name: entry for name, entry in index.items() if name in objects}
            index |= download(store, place, missing)
            write_index(state.with_suffix(".json"), index)
    return place


def outdated(place: Path, objects: Mapping[str, Object], index: Index) -> dict[str, Object]:
    """Returns the objects whose local file is not the one that was downloaded, or of another size or tag."""
    return {name: one for name, one in objects.items() if not _is_current(place / name, one, index.get(name))}


def _is_current(path: Path, one: Object, known: list | None) -> bool:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return known == [one.size, one.tag, status.st_mtime_ns] and status.st_size == one.size


def download(store: Store, place: Path, objects: Mapping[str, Object]) -> Index:
    """Downloads objects, the seal of a run last; one that has gone since is left out.

    Returns:
      Their entries in the index.
    """
    index: Index = {}

    def fetch(name: str) -> None:
        path = place / name
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                store.get(name, part)
                if (modified := objects[name].modified) is not None:
                    os.utime(part, ns=(modified, modified))
                status = part.stat()
                os.replace(part, path)
                index[name] = [objects[name].size, objects[name].tag, status.st_mtime_ns]
            except FileNotFoundError:
                part.unlink(missing_ok=True)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fetch, [name for name in objects if Path(name).name != _LAST]))
    for name in objects:
        if Path(name).name == _LAST:
            fetch(name)
    return index


def remove_others(place: Path, names: Collection[str]) -> None:
    """Removes the files of a folder that are not named, and folders that become empty."""
    kept = {str(place / name) for name in names}
    for folder, _, files in os.walk(place, topdown=False):
        for file in files:
            path = os.path.join(folder, file)
            if path not in kept and not (_is_part(file) and time.time() - os.stat(path).st_mtime < _STALE):
                os.unlink(path)
        with suppress(OSError):  # not empty
            os.rmdir(folder)


def _is_part(file: str) -> bool:
    return file.startswith(".") and file.endswith(".part")


def read_index(path: Path) -> Index:
    """Returns the content of an index, {} if there is none; one that is damaged counts as none."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


def write_index(path: Path, index: Index) -> None:
    """Writes an index atomically."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(index))
        os.replace(part, path)
