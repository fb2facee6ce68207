"""Run folders read for reports: metrics, curves, state and problems.

The code that trained the run is not needed; its settings come from config.txt.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.config.recipes import repository_root
from jaxdl.config.text import Setting
from jaxdl.errors import UserError
from jaxdl.home import is_url
from jaxdl.remote import local_runs
from jaxdl.runs import followed, profiles
from jaxdl.runs.files import leads_outside
from jaxdl.runs.folder import RunFolder, share_of_time
from jaxdl.runs.ledger import device_name, scalars
from jaxdl.runs.lock import is_locked
from jaxdl.runs.manifest import killed_at, latest, mixed, wall_seconds
from jaxdl.runs.places import find_runs, hint_near
from jaxdl.training.progress import goodput
from jaxdl.viz.curves import learned, scored_step

FINISHED, RUNNING, STOPPED, FAILED, KILLED, DAMAGED = "finished", "running", "stopped", "failed", "killed", "damaged"
PRUNED = "pruned"
_LOGS = ("*.log", "*.out", "*.err")
_COLORS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TAIL = 16_384  # bytes read from the end of a log

# {metric: {split: (steps [n], values [n])}}
Curves = dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class Run:
    """Run of a report.

    Attributes:
      folder: Run folder.
      state: FINISHED, RUNNING, STOPPED by a signal, PRUNED by a search, FAILED with an exit code, KILLED, or DAMAGED
        (unreadable).
      problem: Problem of the run. "" if it is finished and complete, or pruned.
      damage: The part of it that is damage to files.
      recipe: Recipe file, relative to the repository if inside it. "" if unknown.
      overrides: Values of the --set flags of the last attempt.
      seed: Seed. None if unknown.
      seeds: {source: seed} of single sources of randomness, see `jaxdl.config.experiment.Seeds`.
      settings: Configuration. () if unknown.
      metrics: {"EVAL/NAME": value} of the result; NaN where not finite.
      steps: Completed steps. None before the first report.
      parameters: Number of parameters. None without a result.
      examples, tokens: Examples and tokens that all steps saw, repetitions included. None where not recorded.
      tflop: TFLOP of the training steps. None where not counted.
      selected: Step of the scored checkpoint of a finished run with select="best", else None.
      minutes: Wall-clock time, up to now for a running run.
      goodput: Goodput of a finished run and where the rest of its time went, as text. "" without a result.
      device: Device name.
      modules: {module: digest} of the code, see `jaxdl.runs.code`. None in older runs.
      mixed: Whether the configuration, code or data changed when the run was resumed.
      digest: Digest of the final state. "" without a result.
      commit: Commit of the code. "" outside a repository.
      dirty: Whether the code had uncommitted changes.
      started: Start of the last attempt, ISO 8601, UTC.
      curves: Losses and evaluation metrics over steps.
      profile: Summary of its profile as text. "" without one.
      clock: (steps [n], seconds [n]) of training until each report, without evaluations. Empty if not measured.
    """

    folder: Path
    state: str
    problem: str = ""
    damage: str = ""
    recipe: str = ""
    overrides: tuple[str, ...] = ()
    seed: int | None = None
    seeds: Mapping[str, int] = field(default_factory=dict)
    settings: tuple[Setting, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    steps: int | None = None
    parameters: int | None = None
    examples: int | None = None
    tokens: int | None = None
    tflop: float | None = None
    selected: int | None = None
    minutes: float = math.nan
    goodput: str = ""
    device: str = ""
    modules: Mapping[str, str] | None = None
    mixed: bool = False
    digest: str = ""
    commit: str = ""
    dirty: bool = False
    started: str = ""
    curves: Curves = field(default_factory=dict)
    profile: str = ""
    clock: tuple[np.ndarray, np.ndarray] = (np.zeros(0), np.zeros(0))

    @property
    def seed_name(self) -> str:
        """All seeds as a text, such as "0" or "0 order=1"."""
        return " ".join(filter(None, [str(self.seed), *(f"{name}={seed}" for name, seed in self.seeds.items())]))

    def minutes_until(self, step: float) -> float:
        """Returns the minutes of training steps until a step, interpolated between reports; NaN if not measured."""
        steps, seconds = self.clock
        return float(np.interp(step, steps, seconds, right=math.nan)) / 60 if len(steps) else math.nan


def seeds_of(settings: Sequence[Setting]) -> dict[str, int]:
    """Returns the seeds of single sources of randomness in a configuration."""
    found = {setting.path.removeprefix("seeds."): setting.value for setting in settings if is_seed(setting.path)}
    return {name: int(value) for name, value in sorted(found.items()) if name != "seed" and value.isdecimal()}


def is_seed(path: str) -> bool:
    """Returns whether a setting is a seed of the experiment."""
    return path == "seed" or path == "seeds" or path.startswith("seeds.")


def find(folders: Sequence[str]) -> list[Path]:
    """Returns the distinct run folders at or below `folders`, at any depth.

    Raises:
      UserError: A folder that does not exist or contains no run.
    """
    run_dirs = dict[Path, Path]()
    for folder in folders:
        folder = str(local_runs(folder)) if is_url(folder) else folder
        runs = find_runs(folder, depth=math.inf)
        if not runs:
            problem = "contains no run at any depth" if Path(folder).is_dir() else "is not a folder"
            raise UserError(f"{folder} {problem}; {hint_near(folder)}")
        for run in runs:
            run_dirs.setdefault(run.resolve(), run)
    return list(run_dirs.values())


def read(path: Path) -> Run:
    """Reads a run folder; a damaged one gets state DAMAGED and raises nothing."""
    try:
        return _read(RunFolder.open(path))
    except (UserError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        problem = _problem(path, error)
        return Run(path, DAMAGED, problem, damage=problem)


def log_tail(path: Path, max_lines: int = 12) -> tuple[str, list[str]]:
    """Returns (source, last lines) of a run's newest log, or of metrics.jsonl if it has no log."""
    files = (log for pattern in _LOGS for log in path.glob(pattern) if not leads_outside(log, path))
    logs = sorted(files, key=lambda log: log.stat().st_mtime)
    if logs and (lines := _last_lines(logs[-1], max_lines)):
        return f"Last lines of {logs[-1].name}", lines
    metrics = path / "metrics.jsonl"
    if not leads_outside(metrics, path) and (lines := _last_lines(metrics, 3)):
        return "No log; last rows of metrics.jsonl", lines
    return "No log and no metrics", []


def _read(folder: RunFolder) -> Run:
    manifest = folder.manifest()
    state, problem = _state(folder, manifest["attempts"])
    damage = folder.damage()
    result, rows = dict[str, Any](), list[dict[str, Any]]()
    try:
        result = (folder.result() or {}) if state == FINISHED else {}
        rows = folder.rows()
        rows += _followed(folder.path, rows)
    except UserError as error:
        state = state if result or state != FINISHED else DAMAGED
        damage = _problem(folder.path, error)
    code = latest(manifest, "code")
    problem = "; ".join(filter(None, (problem, damage)))
    if state == FINISHED and not problem and (names := mixed(manifest)):
        problem = f"resumed with other {' and '.join(names)}; it is compared with no other run"
    attempts = manifest["attempts"]
    if state != RUNNING:
        attempts = [{**attempt, "end": attempt["end"] or killed_at(folder, attempt)} for attempt in attempts]
    seconds = share_of_time(result) if result else wall_seconds(attempts)
    return Run(
        folder=folder.path,
        state=state,
        problem=problem,
        damage=damage,
        recipe=_recipe(str(manifest["recipe"])),
        overrides=tuple(latest(manifest, "overrides") or ()),
        seed=int(latest(manifest, "seed")),
        seeds=seeds_of(folder.settings()),
        settings=tuple(folder.settings()),
        metrics=scalars(result.get("metrics") or (followed.metrics_at(folder.path, result["step"]) if result else {})),
        steps=result.get("step", max((row["step"] for row in rows), default=None)),
        **{name: result.get(name) for name in ("parameters", "examples", "tokens", "tflop")},
        selected=result.get("selected_step"),
        minutes=seconds / 60,
        goodput=goodput(result) or "",
        device=device_name(latest(manifest, "devices")),
        modules=latest(manifest, "modules"),
        mixed=bool(mixed(manifest)),
        digest=str(result.get("state_digest", "")),
        commit=code["commit"] or "",
        dirty=bool(code["dirty"]),
        started=manifest["attempts"][-1]["start"],
        curves=_curves(rows),
        profile=profiles.describe(summaries) if (summaries := profiles.read(folder.path)) else "",
        clock=_clock(rows),
    )


def _followed(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the evaluations of another process at steps that training has reached and has not evaluated itself."""
    own = {(row["step"], row["split"]) for row in rows}
    last = max((row["step"] for row in rows), default=0)
    return [row for row in followed.rows(path) if row["step"] <= last and (row["step"], row["split"]) not in own]


def _problem(path: Path, error: Exception) -> str:
    """Returns the error's text with paths relative to the run folder."""
    text = str(error) if isinstance(error, UserError) else f"cannot be read: {error!r}"
    return text.replace(f"{path}/", "")


def _state(folder: RunFolder, attempts: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Returns the state of a run and, unless it is finished or pruned, a description."""
    if (folder.path / "result.json").exists():
        return FINISHED, ""
    code = attempts[-1].get("exit")
    if code is None and attempts[-1].get("end") is None:
        alive = is_locked(folder.path)
        if alive is None:
            return RUNNING, "is running (or was killed) on another host"
        return (RUNNING, "is running") if alive else (KILLED, "killed; rerun its command to resume")
    if code == 75:
        return STOPPED, "stopped by a signal after saving a checkpoint; rerun its command to resume"
    if code == 76:
        return PRUNED, ""
    return FAILED, f"exited with code {code} without a result"


def _recipe(name: str) -> str:
    path, root = Path(name), repository_root()
    return path.relative_to(root).as_posix() if path.is_absolute() and path.is_relative_to(root) else name


def _curves(rows: Sequence[Mapping[str, Any]]) -> Curves:
    """Returns losses and evaluation metrics; see `jaxdl.viz.curves.learned`."""
    splits: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        splits.setdefault(row["split"], {})[scored_step(row)] = row
    names = {split: set().union(*lines.values()) for split, lines in splits.items()}
    evaluated = set().union(*(metrics for split, metrics in names.items() if split != "train"))
    curves: Curves = {}
    for split, lines in splits.items():
        ordered = [lines[step] for step in sorted(lines)]
        steps = np.array(sorted(lines))
        for name in sorted(name for name in names[split] if learned(name, evaluated)):
            values = np.array([row.get(name, math.nan) for row in ordered], float)
            values[~np.isfinite(values)] = np.nan
            if np.isfinite(values).any():
                curves.setdefault(name, {})[split] = (steps, values)
    return curves


def _clock(rows: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns (steps, seconds) of training from the step times, which are means since the report before."""
    timed = {row["step"]: row.get("step_time", math.nan) for row in rows if row["split"] == "train"}
    steps = np.array([0, *sorted(timed)], float)
    times = np.array([timed[int(step)] for step in steps[1:]], float)
    if not len(times) or not np.isfinite(times).all():
        return np.zeros(0), np.zeros(0)
    return steps, np.concatenate([[0.0], np.cumsum(times * np.diff(steps))])


def _last_lines(path: Path, max_lines: int) -> list[str]:
    """Returns the last non-empty lines without overwritten progress bars and color codes."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        text = file.read().decode(errors="replace")
    lines = [_COLORS.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-max_lines:]
