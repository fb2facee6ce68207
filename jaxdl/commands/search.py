"""Hyperparameter search with Optuna: jaxdl sweep --trials=N.

Each trial is an ordinary run in the folder of its configuration. The study is a journal beside the run folders, which
any number of machines may use at the same time (`jaxdl.search.study`). The process that trains a trial reads its
metrics.jsonl after each evaluation, and stops it with a signal if the pruner decides so; then the run saves its state.
"""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdl.commands.sweep import FINISHED, Run, command, describe
from jaxdl.config import resolve
from jaxdl.config.experiment import Experiment, build
from jaxdl.config.recipes import load_recipe
from jaxdl.errors import Failed, UserError, from_extra
from jaxdl.launchers import LAUNCHERS, WORKER, Job, Options, check, settings_of
from jaxdl.launchers.local import slots, work
from jaxdl.launchers.table import Table
from jaxdl.runs import metrics
from jaxdl.runs.folder import RunFolder
from jaxdl.search import pruners
from jaxdl.search.space import corners, distributions
from jaxdl.search.study import FOLDER, Study, Trial

_PERIOD = 1.0  # seconds between two readings of the metrics of a run
_WAIT = 2.0  # seconds until the study is asked again if it had no trial
_WORKERS = 8  # by default


@dataclass(frozen=True)
class Goal:
    """Objective of a search.

    Attributes:
      trials: Number of trials, those of earlier calls included.
      space: Axes of the search space, see `jaxdl.search.space.distributions`.
      metric: "EVAL/NAME:min" or ":max". None: the metric that selects the recipe's best checkpoint.
      pruner: Name of the pruner, see `jaxdl.search.pruners.make`. None: no trial is pruned.
    """

    trials: int
    space: Sequence[str]
    metric: str | None = None
    pruner: str | None = None


def run(
    recipe_name: str,
    settings: Sequence[str],
    goal: Goal,
    workdir: str | None,
    options: Options,
    launcher: str = "local",
    seed: int = 0,
) -> None:
    """Trains trials until the search has `goal.trials` of them, and prints the best.

    Args as the flags, and `seed` of the sampler. The slots are the trials that run at the same time. On a cluster
    `launcher` starts workers, each of which runs this search on its machine.

    Raises:
      UserError: An argument is invalid, or Optuna is not installed.
      Failed: No trial has a result.
      Preempted: A signal was received; the runs have saved their states.
    """
    with from_extra("search", "A search"):
        import optuna  # noqa: F401
    folder, recipe = Path(workdir or "runs"), load_recipe(recipe_name)
    axes = distributions(goal.space)
    ends = [build(resolve(recipe, [*settings, *point])) for point in corners(axes)]
    name, mode = _metric(ends[0], goal.metric)
    if goal.pruner:
        _check_pruner(ends)
    _check_launcher(launcher, options)
    pruner = pruners.make(goal.pruner, ends[0].eval_every, ends[0].steps)
    title = " ".join((recipe.name, *settings, *goal.space, name))

    def trial_run(params: Mapping[str, Any]) -> Run:
        return describe(recipe, settings, folder, [f"{key}={value}" for key, value in params.items()])

    with Study(folder, title, mode, axes, goal.trials, pruner, seed, os.environ.get(WORKER)) as study:
        if launcher != "local" and not study.finished:
            _launch_workers(launcher, options, recipe_name, settings, goal, folder, study.digest)
            return
        trials = Trials(study, recipe_name, trial_run, name, options.flags)
        with Table([]) as table:
            work(trials, slots(options.slots, goal.trials), options.retries, table)
        if not study.finished:
            return  # the other workers end the search
        if study.best is None:
            raise Failed(f"none of the {len(study)} trial(s) has {name}; see run.log in their folders in {folder}")
        params, value = study.best
        best = trial_run(params)
        print(f"best of {len(study)}: {best.varied}: {name} {value:.5g}  {best.folder}")


class Trials:
    """Trials of a study as a queue of the local launcher, see `jaxdl.launchers.local.Queue`.

    It is done when no trial is left. In a worker of a cluster, these are the trials that no other worker is at.

    Args:
      study: Study.
      recipe_name: Recipe, as on the command line.
      trial_run: Returns the run of the values of a trial.
      metric: Metric, EVAL/NAME.
      flags: Flags of the command `train`, see `jaxdl.launchers.Options`.
    """

    def __init__(
        self,
        study: Study,
        recipe_name: str,
        trial_run: Callable[[Mapping[str, Any]], Run],
        metric: str,
        flags: Sequence[str] = (),
    ):
        self._study, self._recipe_name, self._trial_run, self._metric = study, recipe_name, trial_run, metric
        self._flags = [*flags, *(["--processes=1"] if WORKER in os.environ else [])]
        self._active: dict[Path, _Active] = {}
        self._asks_at = self._reads_at = 0.0
        self._waits = False
        self.done = False

    def next(self) -> Job | None:
        if time.monotonic() < self._asks_at:
            return None
        while (trial := self._study.take()) is not None:
            run = self._trial_run(trial.params)
            if run.folder in self._active:  # an equal trial, which gets the same result
                self._active[run.folder].trials.append(trial)
                continue
            arguments = command(self._recipe_name, run, self._flags)
            job = Job(f"trial {trial.number}: {run.varied}", arguments, run.folder, run.steps)
            active = self._active[run.folder] = _Active(run, job, [trial], trial.pruned, set(trial.reported))
            if run.state != FINISHED:
                self._read(active)
                if not active.pruned:
                    return job
            self._end(active)
        self._asks_at = time.monotonic() + _WAIT
        self.done = WORKER in os.environ or self._study.finished
        if not (self.done or self._active or self._waits):
            self._waits = True
            print("waiting for the trials of other processes", flush=True)
        return None

    def pruned(self) -> list[Job]:
        self._study.renew()
        if time.monotonic() >= self._reads_at:
            for active in self._active.values():
                self._read(active)
            self._reads_at = time.monotonic() + _PERIOD
        return [active.job for active in self._active.values() if active.pruned]

    def ended(self, job: Job, code: int) -> None:
        active = self._active[job.folder]
        active.pruned |= code == 76
        self._end(active)
        self._asks_at, self.done = 0.0, False

    def _read(self, active: "_Active") -> None:
        """Reports new values of the metric to the study, which may prune the trial."""
        path = active.run.folder / "metrics.jsonl"
        size = path.stat().st_size if path.exists() else 0
        if size == active.size:
            return
        active.size = size
        split, _, name = self._metric.partition("/")
        for row in metrics.parse(path)[0]:
            if row["split"] == split and name in row and row["step"] not in active.reported:
                active.reported.add(row["step"])
                value = math.nan if row[name] is None else float(row[name])
                asks = row["step"] < active.run.steps and not active.pruned
                active.pruned |= self._study.report(active.trials[0].number, row["step"], value, asks)

    def _end(self, active: "_Active") -> None:
        """Stores the result of a trial that is finished, was pruned or has failed, and prints it."""
        active.size = -1
        self._read(active)
        del self._active[active.run.folder]
        value = _value(active.run, self._metric)
        if value is not None:
            text = f"{self._metric} {value:.5g}"
        else:
            text = f"pruned at step {max(active.reported, default=0)}" if active.pruned else "failed"
        for trial in active.trials:
            self._study.tell(trial.number, value, active.pruned)
            print(f"trial {trial.number}: {active.run.varied}: {text}  {active.run.folder}", flush=True)


@dataclass
class _Active:
    """Run of a trial that this process is at, with all trials that have its values."""

    run: Run
    job: Job
    trials: list[Trial]
    pruned: bool
    reported: set[int]
    size: int = 0  # of metrics.jsonl when it was read


def _metric(experiment: Experiment, metric: str | None) -> tuple[str, str]:
    """Returns the metric to optimize, and "max" or "min"."""
    if not experiment.evaluate:
        raise UserError("a search needs the evaluations of training; set evaluate=True")
    keep = experiment.keep
    name, _, mode = (metric or keep.metric or "").partition(":")
    mode = mode or (keep.mode if name == keep.metric else "")
    if not name or mode not in ("max", "min"):
        raise UserError("the recipe has no metric to optimize; give --metric=validation/loss:min, or :max")
    if name.split("/")[0] == "test":
        raise UserError(f"--metric={name}: settings must not be chosen on the test split; give another evaluation")
    if name.split("/")[0] not in experiment.data.evals:
        raise UserError(f"--metric={name}: evaluations that exist: {', '.join(experiment.data.evals) or '(none)'}")
    return name, mode


def _check_pruner(ends: Sequence[Experiment]) -> None:
    """Raises UserError if trials are not evaluated at the same steps, or only once."""
    first, last = ((one.eval_every, one.steps) for one in ends)
    if first != last:
        raise UserError(
            f"--pruner compares trials at equal steps, but the space changes (eval_every, steps) from {first} to"
            f" {last}; drop the axis, or --pruner"
        )
    if first[0] >= first[1]:
        raise UserError(
            f"--pruner needs evaluations before the last step, but eval_every={first[0]} and steps={first[1]}; give"
            f" --set=eval_every={max(1, first[1] // 10)}"
        )


def _check_launcher(launcher: str, options: Options) -> None:
    """Raises UserError for a launcher that does not run workers, or its settings."""
    if launcher == "tpu":
        raise UserError("a search runs with --launcher=local, slurm or kubernetes: the script for tpu has fixed runs")
    check(launcher, options)


def _launch_workers(
    launcher: str,
    options: Options,
    recipe_name: str,
    settings: Sequence[str],
    goal: Goal,
    folder: Path,
    digest: str,
) -> None:
    """Launches workers on a cluster, each with one trial at a time per GPU."""
    count = min(options.slots or _WORKERS, goal.trials)
    gpus = int(settings_of(launcher, options).get("gpus", "0"))
    flags = {"metric": goal.metric, "pruner": goal.pruner, "trials": goal.trials, "workdir": folder}
    flags |= {"slots": max(1, gpus), "retries": options.retries}
    run = Run(tuple(settings), "", folder, 0)
    python, program, config, *more = command(recipe_name, run)[:-1]
    more += [f"--space={axis}" for axis in goal.space]
    more += [*(f"--{name}={value}" for name, value in flags.items() if value is not None), *options.flags]
    line = [python, program, "sweep", config, *more]
    workers = [folder / FOLDER / f"worker-{digest}-{number}" for number in range(count)]
    jobs = [Job(f"worker {number}", line, path, 0, worker=True) for number, path in enumerate(workers)]
    LAUNCHERS[launcher](jobs, Options(None, options.retries, options.output, options.more))
    print("each worker trains trials until none is left; the same command prints the best of a finished search")


def _value(run: Run, name: str) -> float | None:
    if run.state != FINISHED:
        return None
    result = RunFolder.open(run.folder).result() or {}
    split, _, metric = name.partition("/")
    value = result.get("metrics", {}).get(split, {}).get(metric)
    return float(value) if value is not None and math.isfinite(value) else None
