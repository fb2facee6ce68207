"""The run folder: what a run leaves behind, written so that a kill at any moment leaves it readable.

    config.json, config.txt   the resolved recipe, to load and to read
    manifest.json             where, when and with what it ran (`jaxdl.runs.manifest`)
    metrics.jsonl             a JSON object a line: "step", "split", figures; one line for one (step, split)
    tensorboard/              the same figures as scalars `split/name`, and the pictures
    pictures/                 <step>_<name>.png
    tokenizers/               <feature>.json, where the data are text
    checkpoints/              `jaxdl.training.checkpoint`
    result.json               last and atomically: a run that has one is finished
    .lock                     held by the process that trains here

Numbers that are not finite are written as null, because JSON has no other word for them.
"""

import contextlib
import errno
import fcntl
import io
import json
import logging
import math
import os
import re
import socket
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxdl.errors import UserError
from jaxdl.runs.files import telling, to_json, write_atomically, write_png
from jaxdl.runs.tensorboard import EventFile

_OURS = {"config.json", "config.txt", "manifest.json", "metrics.jsonl", "result.json"}
_OURS |= {"tensorboard", "tokenizers", "pictures", "checkpoints"}
_LOGS = (".log", ".out", ".err")  # what shells and schedulers put beside a run
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def default_name(recipe: Path, fingerprint: str) -> str:
    """What the folder of a run is called, so that a configuration finds its run again: of the recipe's file, and of the
    configuration's fingerprint."""
    return f"{recipe.stem}-{fingerprint[:8]}"


def is_run(path: str | os.PathLike) -> bool:
    """Whether `path` is a run folder: it holds config.json or manifest.json."""
    return (Path(path) / "config.json").is_file() or (Path(path) / "manifest.json").is_file()


def find_runs(root: str | os.PathLike, depth: float = 3) -> list[Path]:
    """Lists the run folders at or below a folder, sorted by name.

    Hidden folders, folders that cannot be read, and the content of run folders are skipped.

    Args:
      root: Folder to search. A folder that does not exist has no runs.
      depth: Levels below `root`; `math.inf` for all.
    """
    return _find_runs(Path(root), depth, set())


def _find_runs(root: Path, depth: float, seen: set[Path]) -> list[Path]:
    if is_run(root):
        return [root]
    if depth == 0 or root.resolve() in seen or not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
        return []
    seen.add(root.resolve())  # symbolic links may form cycles
    children = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    return [run for child in children for run in _find_runs(child, depth - 1, seen)]


class RunFolder:
    """A run folder, open for training in it (`mode="write"`).

    Args:
      path: the folder; made where it does not exist.
      mode: "write" locks the folder for this process. "read" makes and locks nothing, and writing raises RuntimeError.
        "silent" is for all but the first process of a distributed run: writing does nothing.

    Raises:
      UserError: the path cannot be made or written, holds files that are not a run's, or another process trains in it.
    """

    def __init__(self, path: str | os.PathLike, *, mode: Literal["write", "read", "silent"] = "write"):
        self.path = Path(path)
        self._mode = mode
        self._metrics = self.path / "metrics.jsonl"
        self._events = EventFile(self.path / "tensorboard")
        self._lock: int | None = None
        self._written: set[tuple[int, str]] = set()
        if mode == "write":
            self._claim()

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunFolder":
        """Opens an existing run for reading only, also while another process trains in it.

        Raises:
          UserError: `path` holds no run; the line names the run folders near it.
        """
        if is_run(path):
            return cls(path, mode="read")
        what = "holds no run (no config.json, no manifest.json)" if Path(path).exists() else "does not exist"
        near = runs_near(path)
        hint = f"runs near it: {', '.join(map(str, near))}" if near else "there is no run near it"
        raise UserError(f"{path} {what}; {hint}")

    @property
    def writes(self) -> bool:
        """Whether this process writes here; False on all but the first process of a distributed run."""
        return self._mode == "write"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def has_checkpoint(self) -> bool:
        """Whether a checkpoint lies here, a whole one or not."""
        return self.checkpoints.is_dir() and any(child.name.isdecimal() for child in self.checkpoints.iterdir())

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    def write_config(self, json_text: str, text: str) -> None:
        """Writes the resolved recipe as config.json (to load) and config.txt (to read)."""
        if self._writing():
            write_atomically(self.path / "config.txt", text if text.endswith("\n") else text + "\n")
            write_atomically(self.path / "config.json", json_text if json_text.endswith("\n") else json_text + "\n")

    def write_tokenizer(self, feature: str, json_text: str) -> None:
        """Keeps the tokenizer of a feature, as `jaxdl.data.text.tokenizers.Tokenizer.json` gives it."""
        if self._writing():
            with telling(self.path / "tokenizers"):
                (self.path / "tokenizers").mkdir(exist_ok=True)
            write_atomically(self.path / "tokenizers" / f"{feature}.json", json_text)

    def tokenizers(self) -> dict[str, str]:
        """The text of every tokenizer, by feature."""
        return {path.stem: path.read_text() for path in sorted((self.path / "tokenizers").glob("*.json"))}

    def config(self) -> str:
        """The text of config.json. Raises UserError where there is none."""
        return self._read("config.json")

    @property
    def opaque(self) -> bool:
        """Whether the run was trained from an Experiment object, whose configuration is not saved."""
        return (self.path / "config.json").is_file() and json.loads(self.config()).get("config", "") is None

    def manifest(self) -> dict:
        """manifest.json. Raises UserError where there is none."""
        return json.loads(self._read("manifest.json"))

    def write(self, step: int, split: str, figures: Mapping[str, Any]) -> None:
        """Appends one line to metrics.jsonl and the scalars `split/name` to TensorBoard; both survive kill -9.

        Args:
          step: the step after which the figures were taken.
          split: "train" or the evaluation's name.
          figures: {name: scalar}.

        Raises:
          ValueError: (step, split) has been written, a figure is not a scalar, or is named "step" or "split".
          UserError: the disk is full or gone.
        """
        if not self._writing():
            return
        step = int(step)
        if (step, split) in self._written:
            raise ValueError(f"metrics of step {step}, split '{split}' were written before")
        if taken := {"step", "split"} & figures.keys():
            raise ValueError(f"a figure cannot be named {sorted(taken)[0]!r}")
        numbers = {name: _scalar(name, value) for name, value in figures.items()}
        line = to_json({"step": step, "split": split, **numbers}, indent=None) + "\n"
        with telling(self._metrics), open(self._metrics, "ab", buffering=0) as file:
            _write_all(file, line.encode())
        self._written.add((step, split))
        with telling(self.path / "tensorboard"):
            self._events.scalars(step, {f"{split}/{name}": value for name, value in numbers.items()})

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes pictures/<step>_<name>.png and the same to TensorBoard; one of the same name is replaced.

        Args:
          step: the step after which the picture was made.
          name: what it shows; characters other than letters, digits, ".", "-" become "_" in the file's name.
          image: uint8 [height, width, 3].
        """
        if not self._writing():
            return
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(f"picture '{name}' is {image.dtype}{list(image.shape)}, not uint8 [height, width, 3]")
        with telling(self.pictures):
            self.pictures.mkdir(exist_ok=True)
        write_png(self.pictures / f"{int(step)}_{re.sub(r'[^A-Za-z0-9.-]', '_', name)}.png", image)
        with telling(self.path / "tensorboard"):
            self._events.image(int(step), name, image)

    def rows(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl in order, null read back as NaN; a torn last line is left out.

        Raises:
          UserError: a line that is not the last is not JSON.
        """
        return [
            {name: math.nan if value is None else value for name, value in row.items()} if None in row.values() else row
            for row in self._parsed()[0]
        ]

    def rewind(self, step: int) -> None:
        """Takes the run back to `step`, from which training goes on: what was written of later steps goes.

        Lines of metrics.jsonl (atomically), pictures, and result.json, for the run is not finished any more;
        TensorBoard hides its events of later steps; the manifest's present attempt gets its `first_step`. A run that
        starts anew rewinds to -1, before its first step.
        """
        if not self._writing():
            return
        with telling(self.path):
            (self.path / "result.json").unlink(missing_ok=True)
            for picture in self.pictures.glob("*_*.png"):
                number = picture.name.split("_", 1)[0]
                if number.isdecimal() and int(number) > step:
                    picture.unlink()
        rows, _ = self._parsed()
        kept = [row for row in rows if row["step"] <= step]
        if self._metrics.exists():
            write_atomically(self._metrics, "".join(to_json(row, indent=None) + "\n" for row in kept))
        self._written = {(row["step"], row["split"]) for row in kept}
        self._events.close()
        self._events = EventFile(self.path / "tensorboard", purge_step=step + 1)
        if (self.path / "manifest.json").exists():
            manifest = self.manifest()
            manifest["attempts"][-1]["first_step"] = max(int(step), 0)
            write_atomically(self.path / "manifest.json", to_json(manifest) + "\n")

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes result.json, the last thing of a run, atomically."""
        if self._writing():
            write_atomically(self.path / "result.json", to_json(result) + "\n")

    def result(self) -> dict | None:
        """result.json as it is (null stays None), or None while the run is not finished."""
        path = self.path / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def close(self) -> None:
        """Ends writing and gives the lock back. Does nothing the second time."""
        self._events.close()
        if self._lock is not None:
            with contextlib.suppress(OSError):  # only a note for the reader: the lock is the descriptor's
                os.ftruncate(self._lock, 0)
            _LOCKS.discard(self)
            os.close(self._lock)
            self._lock = None
        if self._mode == "write":
            self._mode = "read"

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _writing(self) -> bool:
        if self._mode == "read":
            raise RuntimeError(f"{self.path} is not open for writing")
        return self._mode == "write"

    def _read(self, name: str) -> str:
        path = self.path / name
        if not path.is_file():
            raise UserError(f"{self.path} has no {name}: it is not a run, or was killed before its first step")
        return path.read_text()

    def _claim(self) -> None:
        with telling(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            foreign = [] if is_run(self.path) else [p.name for p in self.path.iterdir() if not _belongs(p)]
        if foreign:
            names = ", ".join(sorted(foreign)[:3]) + (", ..." if len(foreign) > 3 else "")
            raise UserError(f"{self.path} is not a run and holds other files ({names}): give a new or empty folder")
        self._take_lock()
        with telling(self.path):
            for part in [*self.path.glob(".*.part"), *self.pictures.glob(".*.part")]:
                part.unlink(missing_ok=True)  # left by a killed process
        rows, whole = self._parsed()
        if not whole:
            wrote = self._metrics.stat().st_mtime_ns  # the manifest takes it for the time of the kill
            write_atomically(self._metrics, "".join(to_json(row, indent=None) + "\n" for row in rows))
            os.utime(self._metrics, ns=(wrote, wrote))
        self._written = {(row["step"], row["split"]) for row in rows}

    def _take_lock(self) -> None:
        path = self.path / ".lock"
        with telling(path):
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(lock)
            if error.errno in _NO_LOCKS_HERE:
                message = "%s: this file system has no locks; see to it that only one process trains in this folder"
                logging.getLogger(__name__).warning(message, self.path)
                return
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"cannot lock {path}: {error.strerror}") from error
            raise UserError(f"{holder} trains in {self.path}: wait for it, stop it, or give another folder") from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._lock = lock
        _LOCKS.add(self)

    def _parsed(self) -> tuple[list[dict[str, Any]], bool]:
        """The rows of metrics.jsonl as written, and whether the file ends with a whole line."""
        if not self._metrics.exists():
            return [], True
        *lines, last = self._metrics.read_bytes().split(b"\n")
        rows = _rows(lines)
        if rows is None:
            number = next(number for number, line in enumerate(lines, 1) if _row(line) is None)
            raise UserError(f"line {number} of {self._metrics} is not a row of metrics: delete that line")
        if last and (row := _row(last)) is not None:
            rows.append(row)  # whole but for its newline
        return rows, not last


# Locks that this process holds. A forked child shares its parent's locks: a data worker that outlived a killed run
# would keep the folder locked.
_LOCKS: "weakref.WeakSet[RunFolder]" = weakref.WeakSet()


def _drop_locks_in_child() -> None:
    for folder in list(_LOCKS):
        if folder._lock is not None:
            os.close(folder._lock)  # the parent's descriptor keeps the lock
            folder._lock = None
        _LOCKS.discard(folder)


os.register_at_fork(after_in_child=_drop_locks_in_child)


def runs_near(path: str | os.PathLike, most: int = 5) -> list[Path]:
    """Up to `most` run folders below `path`, else below the nearest folder above it that exists."""
    path = Path(path)
    for root in (path, *list(path.parents)[:2]):
        if root.is_dir() and (runs := find_runs(root, depth=2)):
            return runs[:most]
    return []


def _belongs(path: Path) -> bool:
    return path.name in _OURS or path.name.startswith(".") or path.suffix in _LOGS


def _row(line: bytes) -> dict[str, Any] | None:
    rows = _rows([line])
    return rows[0] if rows else None


def _rows(lines: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """The lines' rows, parsed at once, which takes a third of the time; None if a line is no row."""
    try:
        rows = json.loads(f"[{b','.join(lines).decode()}]")
    except ValueError:
        return None
    whole = len(rows) == len(lines) and all(isinstance(row, dict) and "step" in row and "split" in row for row in rows)
    return rows if whole else None


def _write_all(file: io.FileIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]


def _scalar(name: str, value: Any) -> int | float:
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"figure '{name}' has shape {list(array.shape)}: only scalars are written")
    return int(array.item()) if array.dtype.kind in "biu" else float(array.reshape(()).astype(np.float64))
