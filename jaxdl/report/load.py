"""Run folders as a report tells of them: what was measured, how the run ended, and what is damaged.

A folder is read without the code that made it: of the configuration config.txt is enough.
"""

import json
import math
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.config.describe import Setting, from_text
from jaxdl.config.recipes import repository_root
from jaxdl.config.serialize import from_json, settings
from jaxdl.errors import UserError
from jaxdl.runs.folder import RunFolder, find_runs, hint_near
from jaxdl.runs.ledger import device_name
from jaxdl.runs.manifest import latest, wall_seconds
from jaxdl.viz.curves import learned

FINISHED, RUNNING, STOPPED, FAILED, KILLED, DAMAGED = "finished", "running", "stopped", "failed", "killed", "damaged"
_LOGS = ("*.log", "*.out", "*.err")
_COLORS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_END = 16_384  # bytes of a log that are read

# {metric: {split: (steps [n], values [n])}}
Curves = dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class Run:
    """What is told of one run.

    Attributes:
      folder: where it lies.
      state: FINISHED, RUNNING, STOPPED by a signal, FAILED with an exit code, KILLED, or DAMAGED: not to be read.
      problem: what is wrong, "" for a run that is finished and whole.
      recipe: its file, from the repository's root where it lies there; "" where that is not known.
      overrides: the --set flags.
      seed: None where it is not known.
      settings: its configuration; () where that is not known.
      metrics: {"EVAL/NAME": value} of its result, NaN where one was not finite.
      steps: that are done; None before the first report.
      minutes: of wall-clock time, up to now for one that is running.
      device: what it ran on.
      commit: of the code, "" outside of a repository.
      dirty: whether the code had changes that were not committed.
      started: when its last attempt began, ISO 8601 in UTC.
      curves: what it learned over its steps.
    """

    folder: Path
    state: str
    problem: str = ""
    recipe: str = ""
    overrides: tuple[str, ...] = ()
    seed: int | None = None
    settings: tuple[Setting, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    steps: int | None = None
    minutes: float = math.nan
    device: str = ""
    commit: str = ""
    dirty: bool = False
    started: str = ""
    curves: Curves = field(default_factory=dict)


def find(folders: Sequence[str]) -> list[Path]:
    """The run folders at or below each of `folders`, at any depth, each once.

    Raises:
      UserError: one of them does not exist, or holds no run.
    """
    found = dict[Path, Path]()
    for folder in folders:
        runs = find_runs(folder, depth=math.inf)
        if not runs:
            problem = "contains no run at any depth" if Path(folder).is_dir() else "is not a folder"
            raise UserError(f"{folder} {problem}; {hint_near(folder)}")
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def read(path: Path) -> Run:
    """Reads a run folder; one that is damaged is told of, not refused."""
    try:
        return _read(RunFolder.open(path))
    except (UserError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return Run(path, DAMAGED, _inside(path, error))


def last_words(path: Path, most: int = 12) -> tuple[str, list[str]]:
    """Where they are from, and the last lines that a run has said: of its log or, without one, of metrics.jsonl."""
    logs = sorted((log for pattern in _LOGS for log in path.glob(pattern)), key=lambda log: log.stat().st_mtime)
    if logs and (lines := _last_lines(logs[-1], most)):
        return f"{logs[-1].name}, its last lines", lines
    if lines := _last_lines(path / "metrics.jsonl", 3):
        return "there is no log; the last rows of metrics.jsonl", lines
    return "there is no log, and nothing was measured", []


def _read(folder: RunFolder) -> Run:
    made = _parsed(folder.path / "manifest.json")
    state, problem = _state(folder, made["attempts"])
    result, rows = dict[str, Any](), list[dict[str, Any]]()
    try:
        result = _parsed(folder.path / "result.json") if state == FINISHED else {}
        rows = folder.rows()
    except UserError as error:
        state = state if result or state != FINISHED else DAMAGED
        problem = _inside(folder.path, error)
    code = latest(made, "code")
    seconds = result["seconds"] if result else _seconds(folder, made["attempts"], state)
    return Run(
        folder=folder.path,
        state=state,
        problem=problem,
        recipe=_recipe(str(made["recipe"])),
        overrides=tuple(made.get("overrides", ())),
        seed=int(made["seed"]),
        settings=tuple(_settings(folder)),
        metrics=_metrics(result.get("metrics", {})),
        steps=result.get("step", max((row["step"] for row in rows), default=None)),
        minutes=seconds / 60,
        device=device_name(latest(made, "devices")),
        commit=code["commit"] or "",
        dirty=bool(code["dirty"]),
        started=made["attempts"][-1]["start"],
        curves=_curves(rows),
    )


def _inside(path: Path, error: Exception) -> str:
    """What is wrong in a folder, in words that need not name it."""
    told = str(error) if isinstance(error, UserError) else f"it cannot be read: {error!r}"
    return told.replace(f"{path}/", "")


def _parsed(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} is missing: the run was killed before its first step, or the file was lost")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); run its command again to make it anew") from error


def _settings(folder: RunFolder) -> list[Setting]:
    text = folder.path / "config.txt"
    if text.is_file():
        return from_text(text.read_text())
    return settings(from_json(folder.config(), str(folder.path / "config.json")).config)


def _state(folder: RunFolder, attempts: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """How a run ended, if it has, and that in words."""
    if (folder.path / "result.json").exists():
        return FINISHED, ""
    code = attempts[-1].get("exit")
    if code is None and attempts[-1].get("end") is None:
        alive = _alive(folder.path / ".lock")
        if alive is None:
            return RUNNING, "it goes on on another machine, or was killed there"
        return (RUNNING, "it goes on") if alive else (KILLED, "killed; run its command again to go on with it")
    if code == 75:
        return STOPPED, "stopped by a signal, and saved; run its command again to go on with it"
    return FAILED, f"ended with exit code {code}, without a result"


def _alive(lock: Path) -> bool | None:
    """Whether the process that holds the lock goes on; None where it is on another machine. Touches no lock."""
    held = re.match(r"process (\d+) on (\S+)", lock.read_text()) if lock.is_file() else None
    if held is None:
        return False
    if held[2] != socket.gethostname():
        return None
    try:
        os.kill(int(held[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _seconds(folder: RunFolder, attempts: Sequence[Mapping[str, Any]], state: str) -> float:
    """Of a run without a result: up to its end, or to the last that it wrote if nobody has noted the end."""
    wrote = folder.path / "metrics.jsonl"
    if state == RUNNING or attempts[-1].get("end"):
        return wall_seconds(attempts)
    from datetime import UTC, datetime

    start = datetime.fromisoformat(attempts[-1]["start"])
    end = datetime.fromtimestamp(wrote.stat().st_mtime, UTC) if wrote.exists() else start
    return wall_seconds(attempts[:-1]) + max((end - start).total_seconds(), 0.0)


def _recipe(name: str) -> str:
    path, root = Path(name), repository_root()
    return path.relative_to(root).as_posix() if path.is_absolute() and path.is_relative_to(root) else name


def _metrics(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Those that are numbers: what is a list or an object is no metric."""
    return {
        f"{name}/{metric}": math.nan if value is None else float(value)
        for name, each in scores.items()
        for metric, value in each.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }


def _curves(rows: Sequence[Mapping[str, Any]]) -> Curves:
    """The losses, and what evaluations report; see `jaxdl.viz.curves.learned`."""
    splits: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        splits.setdefault(row["split"], {})[row["step"]] = row
    names = {split: set().union(*lines.values()) for split, lines in splits.items()}
    evaluated = set().union(*(each for split, each in names.items() if split != "train"))
    found: Curves = {}
    for split, lines in splits.items():
        told = [lines[step] for step in sorted(lines)]
        steps = np.array(sorted(lines))
        for name in sorted(name for name in names[split] if learned(name, evaluated)):
            values = np.array([row.get(name, math.nan) for row in told], float)
            values[~np.isfinite(values)] = np.nan
            if np.isfinite(values).any():
                found.setdefault(name, {})[split] = (steps, values)
    return found


def _last_lines(path: Path, most: int) -> list[str]:
    """Without what a progress bar has overwritten, and without colours."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END))
        text = file.read().decode(errors="replace")
    lines = [_COLORS.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-most:]
