"""Copy of a run folder in an object store, brought up to date so that each of its states is that of a killed run.

A local run can be killed at any moment, because its files change in an order: metrics before the checkpoint that
follows them, result.json last, each file together with its digest in seal.json. A store has neither appends nor
renames, and an upload can end anywhere. So a copy is updated in this order:

    1. result.json is deleted if the run is no longer finished.
    2. seal.json accepts both the stored and the new content of each file.
    3. All files except checkpoints and result.json.
    4. New checkpoints; `_CHECKPOINT_METADATA`, without which readers ignore a checkpoint, is the last object of each.
    5. result.json, then seal.json as it is.
    6. Deletions, of a checkpoint `_CHECKPOINT_METADATA` first.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError
from jaxdl.remote.mirror import THREADS, download, outdated, read_index, remove_others, state_path, write_index
from jaxdl.remote.names import MARKER, OWNER, checkpoint_of, complete
from jaxdl.remote.store import Object, Store
from jaxdl.runs.seal import NAME as SEAL
from jaxdl.runs.seal import accepting

_RESULT = "result.json"
_SEALED = ("config.json", "config.txt", "manifest.json", "metrics.jsonl", _RESULT)
_FIRST = {"config.json", "manifest.json", SEAL}  # a run has one of them from its first upload
_TRIES, _PAUSE = 100, 0.02  # readings of files that change together, and seconds between them
_UNKNOWN = (-1, 0, 0)

Signature = tuple[int, int, int]  # size, modification time in ns and inode of a file


@dataclass
class _State:
    """Content of the store at the end of the last update.

    Attributes:
      writer: Id of the attempt that made it, see `jaxdl.runs.owner`.
      objects: Objects by name.
      uploaded: Signature of the local file of each object; without one, it is another content.
      pending: Names that an update which did not end may have changed.
    """

    writer: str = ""
    objects: dict[str, Object] = field(default_factory=dict)
    uploaded: dict[str, Signature] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)


class Replica:
    """Copy of a run folder in a store.

    Args:
      store: Store.
      folder: Run folder, on this machine.
      writer: Id of this attempt.
      guard: Called before each part of an update; raises UserError if another process has taken the run over.
    """

    def __init__(self, store: Store, folder: Path, writer: str, guard: Callable[[], None] = lambda: None):
        self._store, self.folder, self._guard = store, folder, guard
        self._index = state_path("staging", store.url).with_suffix(".json")
        self._held = state_path("staging", store.url).with_suffix(".checkpoint")
        self._state = _load(read_index(self._index))
        self._writer = writer
        self._contents: dict[str, bytes] = {}  # of sealed files, in the store

    def check(self) -> None:
        """Raises UserError if the URL is that of other files than a run, which are not downloaded."""
        objects = self._objects()
        if objects and not _FIRST & objects.keys():
            names = sorted({name.partition("/")[0] for name in objects})
            listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise UserError(
                f"{self._store.url} is not a run and contains other files ({listed}); use a new or empty folder"
            )

    def fetch(self, last_writer: str) -> None:
        """Makes the folder that of the run in the store.

        The store has the truth, with one exception: if this folder is that of the last attempt, whose upload did not
        end, and the store has not changed since, then the folder is ahead and is kept.

        Args:
          last_writer: Id of the last attempt in the store.
        """
        objects = self._objects()
        own = bool(last_writer) and last_writer == self._state.writer and self.folder.is_dir()
        if not (own and self._is_ahead(objects)):
            self._download(objects)
        self._state.objects, self._state.writer, self._state.pending = objects, self._writer, []
        kept = self._state.uploaded.items()
        self._state.uploaded = {name: signature for name, signature in kept if name in objects}
        self._save()
        for name in filter(_is_sealed, objects):
            if (content := self._store.read(name)) is not None:
                self._contents[name] = content

    @property
    def is_run(self) -> bool:
        """Whether training has begun to write the folder."""
        return (self.folder / SEAL).is_file()

    def changed(self) -> bool:
        """Returns whether the folder and the store differ."""
        files = self._files()
        same = files.keys() == self._state.objects.keys()
        return not same or any(self._state.uploaded.get(name) != one for name, one in files.items() if name != SEAL)

    def has_new_checkpoint(self) -> bool:
        """Returns whether the folder has a checkpoint that the store lacks."""
        return any(
            name.endswith(f"/{MARKER}") and self._state.uploaded.get(name) != signature
            for name, signature in self._files().items()
        )

    def update(self) -> None:
        """Uploads and deletes what has changed, in the order of the module's description.

        Raises:
          UserError: The store cannot be written.
        """
        files, seal, contents = self._read_folder()
        new = [name for name, signature in files.items() if self._state.uploaded.get(name) != signature]
        gone = sorted(self._state.objects.keys() - files.keys() - {SEAL})
        self._state.pending = [*new, *gone, SEAL]
        self._save()
        self._guard()
        if _RESULT in gone:
            self._store.remove([_RESULT])
        self._store.write(SEAL, accepting(seal, self._contents))
        self._write({name: contents[name] for name in new if name in contents and name != _RESULT})
        others = [name for name in new if name not in contents and checkpoint_of(name) is None]
        done = {*contents, *self._put(others)}
        for checkpoint in sorted({one for name in new if (one := checkpoint_of(name))}, key=_step):
            done |= self._put_checkpoint(checkpoint, [name for name in files if checkpoint_of(name) == checkpoint])
        self._write({name: contents[name] for name in new if name == _RESULT})
        self._guard()
        self._store.write(SEAL, seal)
        self._remove(gone)
        self._finish({name: files[name] for name in new if name in done})

    def _finish(self, signatures: Mapping[str, Signature]) -> None:
        """Records the content of the store after an update."""
        uploaded = {**self._state.uploaded, **signatures}
        known = {SEAL, *uploaded, *self._state.objects}  # others were added by hand and are left alone
        self._state.objects = {name: one for name, one in self._objects().items() if name in known}
        self._state.uploaded = {name: one for name, one in uploaded.items() if name in self._state.objects}
        self._state.pending = []
        self._save()

    def _read_folder(self) -> tuple[dict[str, Signature], bytes, dict[str, bytes]]:
        """Reads the folder as it could be after a kill, while the training thread writes.

        Returns:
          The files but the seal, the content of the seal, and those of the files that are sealed.
        """
        first = self._files()
        seal, contents = self._read_sealed()
        if _RESULT not in first:  # of a checkpoint that may not be in `first`
            contents.pop(_RESULT, None)
        sealed = {name: first.get(name, _UNKNOWN) for name in contents}
        checkpoints = {name: one for name, one in first.items() if checkpoint_of(name)}
        # Now, so that metrics and pictures up to the newest checkpoint are among them.
        others = {name: one for name, one in self._files().items() if not (checkpoint_of(name) or _is_sealed(name))}
        return {**others, **sealed, **checkpoints}, seal, contents

    def _read_sealed(self) -> tuple[bytes, dict[str, bytes]]:
        """Reads the seal and the files that it seals, of one moment."""
        for _ in range(_TRIES):
            before = _read(self.folder / SEAL)
            names = [*_SEALED, *(f"tokenizers/{path.name}" for path in (self.folder / "tokenizers").glob("*.json"))]
            contents = {name: content for name in names if (content := _read(self.folder / name)) is not None}
            if before is not None and _read(self.folder / SEAL) == before:
                return before, contents
            time.sleep(_PAUSE)
        raise UserError(f"{self.folder / SEAL} is missing or changes all the time; run the command again")

    def _write(self, contents: Mapping[str, bytes]) -> None:
        self._guard()
        for name, content in contents.items():
            self._store.write(name, content)
            self._contents[name] = content

    def _put(self, names: Iterable[str], folder: Path | None = None) -> list[str]:
        """Uploads files and returns their names, without those that were deleted in the meantime."""

        def put(name: str) -> list[str]:
            try:
                self._store.put((folder or self.folder) / name, name)
            except FileNotFoundError:
                return []
            return [name]

        with ThreadPoolExecutor(THREADS) as pool:
            return [name for part in pool.map(put, names) for name in part]

    def _put_checkpoint(self, checkpoint: str, names: list[str]) -> set[str]:
        """Uploads a checkpoint, also one that training deletes in the meantime; returns the names of its objects."""
        held = self._held
        shutil.rmtree(held, ignore_errors=True)
        try:
            for name in names:
                (held / name).parent.mkdir(parents=True, exist_ok=True)
                _link(self.folder / name, held / name)
        except FileNotFoundError:
            return set()  # deleted already
        marker = f"{checkpoint}/{MARKER}"
        before = [name for name in self._state.objects if checkpoint_of(name) == checkpoint]
        self._remove(before)  # one of this step that was damaged
        self._put([name for name in names if name != marker], held)
        self._guard()
        self._put([marker], held)
        shutil.rmtree(held, ignore_errors=True)
        return set(names)

    def _remove(self, names: Iterable[str]) -> None:
        """Deletes objects, the markers of checkpoints first."""
        names = sorted(names, key=lambda name: not name.endswith(f"/{MARKER}"))
        markers = [name for name in names if name.endswith(f"/{MARKER}")]
        self._store.remove(markers)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda name: self._store.remove([name]), names[len(markers) :]))

    def _download(self, objects: Mapping[str, Object]) -> None:
        wanted = {name: objects[name] for name in complete(objects)}
        index = {
            name: [*self._state.objects[name][:2], signature[1]]
            for name, signature in self._state.uploaded.items()
            if name in self._state.objects and _signature(self.folder / name) == signature
        }
        remove_others(self.folder, {*wanted, OWNER})
        missing = outdated(self.folder, wanted, index)
        fetched = download(self._store, self.folder, missing)
        if lost := missing.keys() - fetched.keys():
            raise UserError(f"{self._store.url}/{min(lost)} was deleted during the download; run the command again")
        files = {name: one for name in wanted if (one := _signature(self.folder / name)) is not None}
        self._state.uploaded = files

    def _is_ahead(self, objects: Mapping[str, Object]) -> bool:
        """Returns whether the store has the content that this folder's last update left."""
        pending = set(self._state.pending)
        for name in {*objects, *self._state.objects} - pending:
            if objects.get(name) is None or self._state.objects.get(name) is None:
                return False
            if objects[name][:2] != self._state.objects[name][:2]:
                return False
        for name in pending:
            self._state.uploaded.pop(name, None)
        return True

    def _objects(self) -> dict[str, Object]:
        return {name: one for name, one in self._store.list().items() if name != OWNER}

    def _files(self) -> dict[str, Signature]:
        """Returns the files of the run, without the lock, parts of files and checkpoints that are being written."""
        files = {}
        for folder, subfolders, names in os.walk(self.folder):
            place = Path(folder).relative_to(self.folder)
            if place == Path("checkpoints"):
                subfolders[:] = [name for name in subfolders if name.isdecimal()]
            for file in names:
                name = (place / file).as_posix()
                unfinished = file.startswith(".") and file.endswith(".part")
                if name != OWNER and not unfinished and (signature := _signature(self.folder / name)) is not None:
                    files[name] = signature
        return {name: files[name] for name in complete(files)}

    def _save(self) -> None:
        state = self._state
        objects: dict[str, Any] = {name: list(one) for name, one in state.objects.items()}
        values = {"writer": state.writer, "objects": objects, "uploaded": state.uploaded, "pending": state.pending}
        write_index(self._index, values)


def _load(values: Mapping[str, Any]) -> _State:
    if not values:
        return _State()
    objects = {name: Object(*one) for name, one in values["objects"].items()}
    uploaded = {name: tuple(one) for name, one in values["uploaded"].items()}
    return _State(values["writer"], objects, uploaded, values["pending"])


def _is_sealed(name: str) -> bool:
    return name in (*_SEALED, SEAL) or name.startswith("tokenizers/")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _signature(path: Path) -> Signature | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _step(checkpoint: str) -> int:
    return int(checkpoint.rpartition("/")[2])
