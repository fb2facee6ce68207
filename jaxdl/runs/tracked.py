"""Run folder with a tracker: a copy of its metrics, pictures and result in `jaxdl.trackers`.

metrics.jsonl is the original. At its start, a tracker reports its last step; it is sent all later steps of the file,
then those of the training, each step once and whole. So a killed run continues in the tracker without a gap, and a
tracker that failed, or was added later, is completed by the next attempt.
"""

import json
import os
import queue
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxdl import trackers
from jaxdl.config.text import hyperparameters
from jaxdl.errors import UserError, warn
from jaxdl.runs.files import write_atomically
from jaxdl.runs.folder import RunFolder
from jaxdl.trackers import TrackedRun

WAIT = 60.0  # seconds at the end of training until the tracker has stored everything
_OTHER_RESULTS = {"config_fingerprint", "datasets", "modules"}  # entries of the manifest


@dataclass
class _Step:
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, Path] = field(default_factory=dict)


class TrackedFolder(RunFolder):
    """Run folder that sends metrics, pictures and the result to a tracker.

    A failure of the tracker is reported in one line and changes nothing else.

    Args:
      path: Folder, as for `RunFolder`.
      mode: As for `RunFolder`; only a folder in the mode "write" uses the tracker.
      tracker: Name of the tracker, a module of `jaxdl.trackers`. "": none.
    """

    def __init__(
        self, path: str | os.PathLike, *, mode: Literal["write", "read", "silent"] = "write", tracker: str = ""
    ):
        super().__init__(path, mode=mode)
        self._tracker = tracker
        self._sender: Sender | None = None
        self._last: _Step | None = None  # not sent yet: evaluations of the step may follow

    def write(self, step: int, split: str, figures: Mapping[str, Any]) -> None:
        super().write(step, split, figures)
        if self._sender is not None:
            self._at(int(step)).metrics |= {f"{split}/{name}": float(value) for name, value in figures.items()}

    def picture(self, step: int, name: str, image: np.ndarray) -> Path | None:
        path = super().picture(step, name, image)
        if self._sender is not None and path is not None:
            self._at(int(step)).pictures[_picture_name(path)] = path
        return path

    def rewind(self, step: int) -> None:
        super().rewind(step)
        if self.writes and self._tracker:
            changed = self.manifest()["attempts"][-1].get("changed", {}).keys() & _OTHER_RESULTS
            self.send_all(step if changed else None)

    def send_all(self, rewound: int | None = None) -> None:
        """Starts the tracker, if there is one, and sends it the content of the folder as far as the tracker lacks it.

        Args:
          rewound: Step after which the results differ from those of earlier attempts. None: they do not.
        """
        if not (self.writes and self._tracker):
            return
        try:
            state = state_of(self.path, self._tracker)
        except UserError as error:
            warn(f"--tracker={self._tracker}: {error}; training continues without it")
            return
        if state["finished"] and self.result():
            return
        config, folder = hyperparameters(self.settings()), self.path / "tracker"
        run = TrackedRun(self.path.resolve().name, config, folder, state["key"], state["id"])
        self._sender = Sender(self._tracker, run, state["step"], rewound)
        steps: dict[int, _Step] = {}
        for row in self.rows():
            metrics = {f"{row['split']}/{name}": value for name, value in row.items() if name not in ("step", "split")}
            steps.setdefault(row["step"], _Step(row["step"])).metrics.update(metrics)
        for path in self.pictures.glob("*_*.png"):
            if (number := path.name.split("_", 1)[0]).isdecimal():
                steps.setdefault(int(number), _Step(int(number))).pictures[_picture_name(path)] = path
        for number in sorted(steps):
            self._flush()
            self._last = steps[number]

    def close(self) -> None:
        sender, self._sender = self._sender, None
        try:
            if sender is not None:
                if self._last is not None:
                    sender.send(self._last)
                sender.close(self.result())
        finally:
            super().close()

    def _at(self, step: int) -> _Step:
        """Returns the step that is collected; an earlier one is complete and is sent."""
        if self._last is None or self._last.step != step:
            self._flush()
            self._last = _Step(step)
        return self._last

    def _flush(self) -> None:
        if self._last is not None and self._sender is not None:
            self._sender.send(self._last)


class Sender:
    """Sends a run to a tracker from a background thread, so that a slow tracker does not delay training.

    Args:
      name: Name of the tracker.
      run: Run.
      step: Last step that the tracker had stored when an attempt ended; its files may have been moved away since.
      rewound: As for `TrackedFolder.send_all`.
    """

    def __init__(self, name: str, run: TrackedRun, step: int = -1, rewound: int | None = None):
        self._name, self._run, self._step, self._rewound = name, run, step, rewound
        self._queue: queue.SimpleQueue[_Step | None] = queue.SimpleQueue()
        self._messages: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._result: Mapping[str, Any] | None = None
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def send(self, step: _Step) -> None:
        """Queues a step that is complete."""
        self._report()
        self._queue.put(step)

    def close(self, result: Mapping[str, Any] | None) -> None:
        """Ends the connection and waits for it, at most `WAIT` seconds.

        Args:
          result: Content of result.json. None: the run is not finished.
        """
        self._result = result
        self._queue.put(None)
        self._thread.join(WAIT)
        if self._thread.is_alive():
            self._messages.put(f"not complete after {WAIT:.0f} s; the same command sends the rest")
        self._report()

    def _report(self) -> None:
        while not self._messages.empty():
            warn(f"--tracker={self._name}: {self._messages.get()}")

    def _work(self) -> None:
        try:
            self._send_steps()
        except Exception as error:  # of any kind: libraries, networks, services
            kind = [] if isinstance(error, UserError) else [type(error).__name__]
            text = ": ".join([*kind, *filter(None, [" ".join(str(error).split())[:300]])])
            self._messages.put(f"{text}; training continues without it, and the next attempt sends the rest")

    def _send_steps(self) -> None:
        folder = self._run.folder
        folder.mkdir(exist_ok=True)
        for part in folder.glob(".*.part"):
            part.unlink(missing_ok=True)  # of a killed process
        self._save(self._run.id, self._step)
        tracker = trackers.start(self._name, self._run)
        stored = max(tracker.step, self._step)
        self._save(tracker.id, stored)
        if self._rewound is not None and stored > self._rewound:
            self._messages.put(f"steps {self._rewound + 1} to {stored} are those before the change and are kept")
        while (item := self._queue.get()) is not None:
            if item.step > stored:
                pictures = {name: path for name, path in item.pictures.items() if path.exists()}
                tracker.log(item.step, item.metrics, pictures)
                stored = item.step
        tracker.finish(self._result)
        self._save(tracker.id, stored, finished=self._result is not None)

    def _save(self, id: str, step: int, finished: bool = False) -> None:
        state = {"key": self._run.key, "id": id, "step": step, "finished": finished}
        write_atomically(self._run.folder / f"{self._name}.json", json.dumps(state))


def state_of(run: Path, tracker: str) -> dict[str, Any]:
    """Returns the state of a run in a tracker: "key" and "id" as in `TrackedRun`, "step" (the last stored), "finished".

    Without a state, the key is new.

    Raises:
      UserError: The file of the state cannot be read.
    """
    path = run / "tracker" / f"{tracker}.json"
    new = {"key": secrets.token_hex(8), "id": "", "step": -1, "finished": False}
    if not path.exists():
        return new
    try:
        state = json.loads(path.read_text())
        if {name: type(state[name]) for name in new} != {name: type(value) for name, value in new.items()}:
            raise ValueError("it has other entries")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); restore it, or remove it to start a new run there"
        ) from error
    return state


def _picture_name(path: Path) -> str:
    """Returns the name of a picture in the tracker, `pictures/<name>` for `pictures/<step>_<name>.png`."""
    return f"pictures/{path.stem.split('_', 1)[1]}"
