"""Weights & Biases.

With WANDB_MODE=offline the run is written to `tracker/wandb/` in the run folder, one folder per attempt, for
`wandb sync`. WANDB_PROJECT is "jaxdl" by default; the other variables of wandb apply too.
"""

import os
import shutil
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError
from jaxdl.trackers import TrackedRun

PACKAGES = {"wandb": "wandb"}
_BLOCK, _HEADER = 32768, 7  # bytes of LevelDB's log format
_PATIENCE = 20  # seconds


def start(run: TrackedRun) -> "Wandb":
    """Begins or continues a run.

    Raises:
      UserError: The user is not logged in.
    """
    os.environ.pop("WANDB_SERVICE", None)  # of the parent process: its service would keep a killed run in use
    import wandb

    mode = os.environ.get("WANDB_MODE", "online")
    if mode == "disabled":
        raise UserError("WANDB_MODE=disabled sends nothing; unset it, or drop --tracker")
    offline = mode in ("offline", "dryrun")
    if not offline and not wandb.login(prompt=False):  # a prompt would wait for the terminal of the training
        raise UserError("not logged in; run wandb login, or set WANDB_MODE=offline")
    for path in _files(run.folder, run.key):
        if not any(_records(path.read_bytes())):  # of an attempt that was killed early
            shutil.rmtree(path.parent)
    stored = stored_steps(run.folder, run.key)
    connection = wandb.init(
        id=run.key,
        resume=None if offline else "allow",
        project=os.environ.get("WANDB_PROJECT", "jaxdl"),
        name=os.environ.get("WANDB_NAME", run.name),
        config=dict(run.config),
        allow_val_change=True,
        dir=run.folder,
        reinit="create_new",  # a process may train several runs
        settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
    )
    return Wandb(connection, max(stored, default=-1), run.folder if connection.offline else None)


class Wandb:
    """Run of Weights & Biases, see `jaxdl.trackers.Tracker`.

    Args:
      run: `wandb.Run`.
      step: Last step in the files of earlier attempts.
      folder: Folder of the offline files. None: online.
    """

    def __init__(self, run: Any, step: int, folder: Path | None):
        self._run, self._folder = run, folder
        self.id: str = run.id
        self.step: int = max(step, run.step - 1)  # of the server, if the run is resumed online

    def log(self, step: int, metrics: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        import wandb

        images = {name: wandb.Image(str(path)) for name, path in pictures.items()}
        self._run.log({**metrics, **images}, step=step, commit=True)
        self.step = step

    def finish(self, result: Mapping[str, Any] | None) -> None:
        if result is not None:
            self._run.summary.update({"result": result})
        self._run.finish(exit_code=0 if result is not None else 1)
        deadline = time.monotonic() + _PATIENCE
        while self._folder and max(stored_steps(self._folder, self.id), default=-1) < self.step:
            if time.monotonic() > deadline:
                raise TimeoutError(f"step {self.step} is not in {self._folder / 'wandb'} after {_PATIENCE} s")
            time.sleep(0.1)  # wandb writes offline files after `finish` has returned


def stored_steps(folder: Path, id: str) -> list[int]:
    """Lists the steps in the offline files of a run in order.

    wandb writes blocks of 32 KiB, so a killed attempt lacks its last steps, often all of them.
    """
    from wandb.proto import wandb_internal_pb2

    schema: Any = wandb_internal_pb2
    records = (schema.Record.FromString(data) for path in _files(folder, id) for data in _records(path.read_bytes()))
    return [record.history.step.num for record in records if record.HasField("history")]


def _files(folder: Path, id: str) -> list[Path]:
    return sorted(folder.glob(f"wandb/offline-run-*/run-{id}.wandb"))


def _records(log: bytes) -> Iterator[bytes]:
    """Yields the complete records of a log in LevelDB's format, in which blocks contain parts of records."""
    position, record = _HEADER, b""
    while position + _HEADER <= len(log):
        if _BLOCK - position % _BLOCK < _HEADER:  # padding
            position += _BLOCK - position % _BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", log[position : position + _HEADER])
        position += _HEADER + size
        if kind not in (1, 2, 3, 4) or position > len(log):  # 1 whole, 2 first, 3 middle, 4 last
            return
        part = log[position - size : position]
        record = part if kind in (1, 2) else record + part
        if kind in (1, 4):
            yield record
