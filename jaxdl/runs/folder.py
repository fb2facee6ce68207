"""Run folder: the files of a run, readable after a kill at any moment.

    config.json, config.txt   the resolved configuration, to load and to read
    manifest.json             command, code, packages, devices, data, attempts (`jaxdl.runs.manifest`)
    metrics.jsonl             one JSON object per (step, split): "step", "split", metrics
    tensorboard/              the same metrics as scalars `split/name`, and the pictures
    pictures/                 <step>_<name>.png
    tokenizers/               <feature>.json, for text
    checkpoints/              `jaxdl.training.checkpoint`
    evaluations.jsonl         evaluations by another process (`jaxdl.runs.followed`)
    hangs/                    Python stacks of steps that did not end (`jaxdl.training.hangs`)
    result.json               written last, atomically: a run with this file is finished
    seal.json                 SHA-256 of these files, without TensorBoard and pictures (`jaxdl.runs.seal`)
    profile/                  traces of `--profile` (`jaxdl.runs.profiles`)
    tracker/                  files of `--tracker` (`jaxdl.runs.tracked`)
    .lock                     held by the process that trains in the folder

NaN and infinities are written as null, since JSON has no numbers for them.
"""

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from jaxdl.config.text import Setting, from_text, hyperparameters
from jaxdl.errors import UserError, is_utf8, warn, write_errors
from jaxdl.home import is_url, refuse_url
from jaxdl.remote import local_run
from jaxdl.runs import metrics
from jaxdl.runs.background import NAME as BACKGROUND_LOG
from jaxdl.runs.files import leads_outside, to_json, write_png
from jaxdl.runs.lock import Lock
from jaxdl.runs.places import hint_near, is_run
from jaxdl.runs.seal import MISSING, UNSEALED, Seal
from jaxdl.runs.seal import NAME as SEAL
from jaxdl.runs.tensorboard import EventFile

_OURS = {"config.json", "config.txt", "manifest.json", "metrics.jsonl", "result.json"}
_OURS |= {"tensorboard", "tokenizers", "pictures", "checkpoints", "hangs", "profile", "tracker", "examples.npz", SEAL}
_LOGS = (".log", ".out", ".err")  # written by shells and schedulers


def share_of_time(result: Mapping[str, Any]) -> float:
    """Returns the seconds of a run from result.json; runs that were trained together share their time equally."""
    return result["seconds"] / result.get("together", 1)


class RunFolder:
    """Run folder, by default open for writing.

    Args:
      path: Folder. It is created if it does not exist.
      mode: "write" locks the folder for this process. "read" creates and locks nothing, and writing raises
        RuntimeError. "silent" ignores writes, for all but the first process of a distributed run.

    Raises:
      UserError: The folder cannot be created or written, contains other files, or another process trains in it.
    """

    def __init__(self, path: str | os.PathLike, *, mode: Literal["write", "read", "silent"] = "write"):
        refuse_url(path)
        self.path = Path(path)
        self._mode = mode
        _check_path(self.path, written=mode == "write")
        self.seal = Seal(self.path)
        self._metrics = self.path / "metrics.jsonl"
        self._events = EventFile(self.path / "tensorboard")
        self._lock: Lock | None = None
        self._written: set[tuple[int, str]] = set()
        self.attempt_start = time.monotonic()  # set again by `jaxdl.runs.manifest.start_manifest`
        if mode == "write":
            self._claim()

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunFolder":
        """Opens an existing run for reading only, also while another process trains in it.

        Args:
          path: Folder, or a URL, which is mirrored (`jaxdl.remote.local_run`).

        Raises:
          UserError: `path` is not a run folder. The message names the run folders near it.
        """
        path = local_run(path) if is_url(path) else path
        if is_run(path):
            return cls(path, mode="read")
        problem = "is not a run (no config.json, no manifest.json)" if Path(path).exists() else "does not exist"
        raise UserError(f"{path} {problem}; {hint_near(path)}")

    @property
    def writes(self) -> bool:
        """Whether this process writes: False in all but the first process of a distributed run."""
        return self._mode == "write"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def has_checkpoint(self) -> bool:
        """Whether the folder has a checkpoint, intact or not."""
        return self.checkpoints.is_dir() and any(child.name.isdecimal() for child in self.checkpoints.iterdir())

    @property
    def sealed_files(self) -> list[str]:
        """Paths of the existing files that are sealed, relative to the folder."""
        names = ["config.json", "config.txt", "manifest.json", "result.json"]
        names += [f"tokenizers/{path.name}" for path in sorted((self.path / "tokenizers").glob("*.json"))]
        names += ["metrics.jsonl"] if (self.path / "result.json").exists() else []
        return [name for name in names if (self.path / name).exists()]

    def problems(self) -> dict[str, str]:
        """Returns {file: damage} of the sealed files."""
        return self.seal.problems(self.sealed_files)

    def damage(self) -> str:
        """Lists the damaged files in one line, such as "config.txt is missing"; "" if all are intact."""
        return "; ".join(f"{name} is {problem}" for name, problem in self.problems().items())

    def check(self) -> None:
        """Raises UserError if a sealed file is missing, changed or damaged, except for a missing result.json.

        The result is removed before training resumes.
        """
        for name, problem in self.problems().items():
            if (name, problem) == ("result.json", MISSING):
                continue
            derived = name not in ("manifest.json", "metrics.jsonl", SEAL)
            raise UserError(
                f"{self.path / name} is {problem};{' train again to derive it,' if derived else ''} restore it from a"
                f" copy, or accept the files as they are with: jaxdl verify {self.path} --accept"
            )

    def restore(self, texts: Mapping[str, str]) -> None:
        """Writes damaged files that are derived again, and removes a damaged result.json, which training derives.

        Args:
          texts: Contents by file. One without the sealed digest is not written.
        """
        if not self.writes:
            return
        for name, problem in self.problems().items():
            if name == "result.json" and problem != UNSEALED:
                self.seal.remove(name)
            elif name not in texts or not self.seal.restore(name, texts[name]):
                continue
            warn(f"{self.path / name} is {problem}; it is derived again")

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    def write_config(self, json_text: str, text: str) -> None:
        """Writes the resolved configuration as config.json (to load) and config.txt (to read)."""
        if self._writing():
            self.seal.write("config.txt", text)
            self.seal.write("config.json", json_text)

    def write_tokenizer(self, feature: str, json_text: str) -> None:
        """Writes the tokenizer of a feature, serialized by `jaxdl.data.text.tokenizers.Tokenizer.json`."""
        if self._writing():
            with write_errors(self.path / "tokenizers"):
                (self.path / "tokenizers").mkdir(exist_ok=True)
            self.seal.write(f"tokenizers/{feature}.json", json_text)

    def tokenizers(self) -> dict[str, str]:
        """Returns the serialized tokenizers by feature."""
        paths = sorted((self.path / "tokenizers").glob("*.json"))
        return {path.stem: self.seal.read(f"tokenizers/{path.name}") for path in paths}

    def config(self) -> str:
        """Returns the text of config.json. Raises UserError if it is missing."""
        return self._read("config.json")

    def config_text(self) -> str:
        """Returns the text of config.txt. Raises UserError if it is missing."""
        return self._read("config.txt")

    def settings(self) -> list[Setting]:
        """Returns the settings in config.txt. Raises UserError if it is missing or damaged."""
        try:
            return from_text(self.config_text())
        except ValueError as error:
            raise UserError(f"{self.path / 'config.txt'} cannot be read ({error}); restore it from a copy") from error

    @property
    def opaque(self) -> bool:
        """Whether the run was trained from an Experiment object, whose configuration is not saved."""
        return (self.path / "config.json").is_file() and json.loads(self.config()).get("config", "") is None

    def manifest(self) -> dict:
        """Returns the content of manifest.json. Raises UserError if it is missing."""
        return json.loads(self._read("manifest.json"))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Writes manifest.json."""
        if self._writing():
            self.seal.write("manifest.json", to_json(manifest) + "\n")

    def write(self, step: int, split: str, figures: Mapping[str, Any]) -> None:
        """Appends metrics to metrics.jsonl and TensorBoard; both survive kill -9.

        Args:
          step: Training steps done.
          split: "train" or the evaluation's name.
          figures: {name: scalar}.

        Raises:
          ValueError: (step, split) was written before, a value is not a scalar, or is named "step" or "split".
          UserError: The disk is full or unavailable.
        """
        if not self._writing():
            return
        step = int(step)
        if (step, split) in self._written:
            raise ValueError(f"metrics of step {step}, split '{split}' were written before")
        if taken := {"step", "split"} & figures.keys():
            raise ValueError(f"a figure cannot be named {sorted(taken)[0]!r}")
        numbers = {name: metrics.scalar(name, value) for name, value in figures.items()}
        metrics.append(self._metrics, {"step": step, "split": split, **numbers})
        self._written.add((step, split))
        with write_errors(self.path / "tensorboard"):
            self._events.scalars(step, {f"{split}/{name}": value for name, value in numbers.items()})

    def picture(self, step: int, name: str, image: np.ndarray) -> Path | None:
        """Writes a picture to pictures/<step>_<name>.png and TensorBoard, replacing one of the same name.

        Args:
          step: Training steps done.
          name: Name of the picture. Other characters than letters, digits, "." and "-" become "_" in the file name.
          image: uint8 [height, width, 3].

        Returns:
          The file; None in a process that does not write.
        """
        if not self._writing():
            return None
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(f"picture '{name}' is {image.dtype}{list(image.shape)}, not uint8 [height, width, 3]")
        with write_errors(self.pictures):
            self.pictures.mkdir(exist_ok=True)
        path = self.pictures / f"{int(step)}_{re.sub(r'[^A-Za-z0-9.-]', '_', name)}.png"
        known = path.exists()  # of an attempt that was killed after its last checkpoint
        write_png(path, image)
        if not known:
            with write_errors(self.path / "tensorboard"):
                self._events.image(int(step), name, path.read_bytes(), *image.shape[:2])
        return path

    def rows(self) -> list[dict[str, Any]]:
        """Reads metrics.jsonl in order, null as NaN; an incomplete last line is skipped.

        Raises:
          UserError: Another line is not JSON.
        """
        return [
            {name: math.nan if value is None else value for name, value in row.items()} if None in row.values() else row
            for row in metrics.parse(self._metrics)[0]
        ]

    def rewind(self, step: int) -> None:
        """Removes everything that was written after `step`, from which training resumes.

        This removes later lines of metrics.jsonl (atomically), later pictures, and result.json. TensorBoard hides its
        events of later steps. The current attempt of the manifest gets its `first_step`. A fresh start rewinds to -1.
        """
        if not self._writing():
            return
        with write_errors(self.path):
            self.seal.remove("result.json")
            self.seal.release("metrics.jsonl")
            for picture in self.pictures.glob("*_*.png"):
                number = picture.name.split("_", 1)[0]
                if number.isdecimal() and int(number) > step:
                    picture.unlink()
        rows, _ = metrics.parse(self._metrics)
        kept = [row for row in rows if row["step"] <= step]
        if self._metrics.exists():
            metrics.write(self._metrics, kept)
        self.seal_metrics()
        self._written = {(row["step"], row["split"]) for row in kept}
        self._events.close()
        self._events = EventFile(self.path / "tensorboard", purge_step=step + 1)
        if step < 0 and (self.path / "config.txt").exists():
            with write_errors(self.path / "tensorboard"):
                self._events.hyperparameters(hyperparameters(self.settings()))
        if (self.path / "manifest.json").exists():
            manifest = self.manifest()
            manifest["attempts"][-1]["first_step"] = max(int(step), 0)
            self.write_manifest(manifest)

    def seal_metrics(self) -> None:
        """Seals the lines of metrics.jsonl; later ones may follow."""
        if self._writing() and self._metrics.exists():
            self.seal.add("metrics.jsonl", grows=True)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes result.json atomically, which marks the run as finished."""
        if self._writing():
            if self._metrics.exists():
                self.seal.add("metrics.jsonl")
            if "step" in result:
                with write_errors(self.path / "tensorboard"):
                    self._events.finished(int(result["step"]) + 1)  # hidden if the run is resumed
            self.seal.write("result.json", to_json(result) + "\n")

    def result(self) -> dict | None:
        """Returns the content of result.json (null as None), or None while the run is not finished."""
        try:
            return json.loads(self.seal.read("result.json"))
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Ends writing and releases the lock. A second call has no effect.

        Raises:
          UserError: The disk is full or unavailable.
        """
        try:
            with write_errors(self.path / "tensorboard"):
                self._events.close()
        finally:
            if self._lock is not None:
                self._lock.release()
            if self._mode == "write":
                self._mode = "read"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        with contextlib.ExitStack() as stack:
            if error is not None:  # which explains what `close` reports once more
                stack.enter_context(contextlib.suppress(UserError))
            self.close()

    def _writing(self) -> bool:
        if self._mode == "read":
            raise RuntimeError(f"{self.path} is not open for writing")
        if self._lock is not None:
            self._lock.check()
        return self._mode == "write"

    def _read(self, name: str) -> str:
        if not os.path.lexists(self.path / name):
            raise UserError(f"{self.path} has no {name}; it is not a run, or was killed before its first step")
        return self.seal.read(name)

    def _claim(self) -> None:
        with write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            foreign = [] if is_run(self.path) else [p.name for p in self.path.iterdir() if not _belongs(p)]
        if foreign:
            names = ", ".join(sorted(foreign)[:3]) + (", ..." if len(foreign) > 3 else "")
            raise UserError(f"{self.path} is not a run and contains other files ({names}); use a new or empty folder")
        self._check_links()
        self._lock = Lock(self.path)
        with write_errors(self.path):
            for part in [*self.path.glob(".*.part"), *self.pictures.glob(".*.part")]:
                part.unlink(missing_ok=True)  # of a killed process
        rows, whole = metrics.parse(self._metrics)
        if not whole:
            wrote = self._metrics.stat().st_mtime_ns  # time of the kill, for the manifest
            metrics.write(self._metrics, rows)
            os.utime(self._metrics, ns=(wrote, wrote))
        self._written = {(row["step"], row["split"]) for row in rows}

    def _check_links(self) -> None:
        """Refuses a folder, possibly of another person, in which training would write to other places."""
        for name in sorted({*_OURS, ".lock", "damaged", BACKGROUND_LOG}):
            if leads_outside(self.path / name, self.path):
                raise UserError(
                    f"{self.path / name} is a symbolic link out of the run folder, and training writes to it; replace"
                    " it by a copy, or link the whole run folder instead"
                )


def _check_path(path: Path, written: bool) -> None:
    """Refuses paths that Orbax cannot handle, as it would save checkpoints that nothing restores."""
    text = str(path.absolute())
    if not is_utf8(text):
        raise UserError(f"{path} is not valid UTF-8, which checkpoints need; rename the folder")
    if written and (patterns := sorted(set("*?[") & set(text))):
        raise UserError(f"'{text}' contains '{patterns[0]}', which Orbax reads as a pattern; use another run folder")


def _belongs(path: Path) -> bool:
    return path.name in _OURS or path.name.startswith(".") or path.suffix in _LOGS
