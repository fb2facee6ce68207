"""Hyperparameter search with Optuna: jaxdl sweep --trials=N.

The trials are stored in an SQLite file beside the run folders. Each trial is an ordinary run in the folder of its
configuration, so that a search that was stopped resumes its unfinished trials.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxdl.commands.sweep import FINISHED, Run, command, describe, split_values
from jaxdl.config import resolve
from jaxdl.config.experiment import Experiment, build
from jaxdl.config.recipes import Recipe, load_recipe
from jaxdl.errors import Failed, UserError, from_extra
from jaxdl.flock import exclusive
from jaxdl.launchers import LAUNCHERS, Job, Options
from jaxdl.launchers.local import slots
from jaxdl.runs.folder import RunFolder

FILE = "search.db"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::(log|{_NUMBER}))?")


def run(
    recipe_name: str,
    settings: Sequence[str],
    space: Sequence[str],
    trials: int,
    workdir: str | None,
    metric: str | None,
    options: Options,
    seed: int = 0,
) -> None:
    """Runs trials until the search has `trials` of them, earlier calls included, and prints the best.

    Args as the flags, and `seed` of the sampler. The slots are the trials that run at the same time.

    Raises:
      UserError: An argument is invalid, or Optuna is not installed.
      Failed: No trial has a result.
      Preempted: A signal was received; the runs have saved their states.
    """
    with from_extra("search", "A search"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder, recipe = Path(workdir or "runs"), load_recipe(recipe_name)
    axes = distributions(space)
    name, mode = _goal(build(resolve(recipe, [*settings, *_first(axes)])), metric)
    lock = folder / f".{FILE}.lock"  # a second search of the same study shares its trials
    with _storage_errors(folder / FILE):
        with exclusive(lock):
            study = optuna.create_study(
                storage=f"sqlite:///{folder / FILE}",
                study_name=" ".join((recipe.name, *settings, *space, name)),
                direction="maximize" if mode == "max" else "minimize",
                load_if_exists=True,
            )
        concurrent = len(slots(options.slots, trials))
        while True:
            with exclusive(lock):
                batch = _next_trials(study, axes, min(concurrent, trials - len(study.trials)), seed)
            if not batch:
                break
            runs = {trial.number: _run(recipe, settings, trial.params, folder) for trial in batch}
            _launch(recipe_name, list(runs.values()), options)
            for number, run in runs.items():
                value = _value(run, name)
                state = optuna.trial.TrialState.FAIL if value is None else None
                study.tell(number, value, state=state, skip_if_finished=True)
                print(
                    f"trial {number}: {run.varied}: {'failed' if value is None else f'{name} {value:.5g}'}", flush=True
                )
        if not study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
            raise Failed(f"none of the {trials} trial(s) has {name}; see run.log in their folders in {folder}")
        best = _run(recipe, settings, study.best_params, folder)
        print(f"best of {len(study.trials)}: {best.varied}: {name} {study.best_value:.5g}  {best.folder}")


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Turns the errors of Optuna's storage into a UserError that names its file."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise UserError(
            f"cannot use {path} ({reason}); restore it from a copy, or remove it to start the search again: finished"
            " runs are not repeated"
        ) from error


def _next_trials(study: Any, axes: Mapping[str, Any], count: int, seed: int) -> list[Any]:
    """Returns the trials that were started and have no result, otherwise up to `count` new ones."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    running = study.get_trials(states=[TrialState.RUNNING])
    if not running:
        study.sampler = TPESampler(seed=seed + len(study.trials), constant_liar=True)
        for _ in range(count):
            study.ask(fixed_distributions=axes)
    return running or study.get_trials(states=[TrialState.RUNNING])


def distributions(space: Sequence[str]) -> dict[str, Any]:
    """Parses the search space into Optuna's distribution of each name.

    An entry is NAME=LOW..HIGH, integer if both bounds are; NAME=LOW..HIGH:STEP; NAME=LOW..HIGH:log for a log-uniform
    distribution; or NAME=VALUE,VALUE,... for a categorical one.

    Raises:
      UserError: An entry has another form, a name occurs twice, or the space is empty.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    axes: dict[str, Any] = {}
    for text in space:
        name, _, right = text.partition("=")
        name, right = name.strip(), right.strip()
        if name in axes:
            raise UserError(f"--space has '{name}' twice; give all its values in one")
        form = _RANGE.fullmatch(right)
        values = [] if form else split_values(right)
        try:
            if not name or not all(values):
                raise ValueError("a name or a value is missing")
            if form:
                low, high, step = form.groups()
                integer = low.lstrip("+-").isdecimal() and high.lstrip("+-").isdecimal()
                options: dict[str, Any] = {"log": step == "log"}
                if step and step != "log":
                    options["step"] = int(step) if integer else float(step)
                if integer:
                    axes[name] = IntDistribution(int(low), int(high), **options)
                else:
                    axes[name] = FloatDistribution(float(low), float(high), **options)
            else:
                axes[name] = CategoricalDistribution(values)
        except ValueError as error:
            raise UserError(
                f"--space={text} is not a range: {' '.join(str(error).split())}; write NAME=1e-4..1e-2:log,"
                " NAME=16..64:16 or NAME=VALUE,VALUE"
            ) from None
    if not axes:
        raise UserError("--trials needs --space=NAME=LOW..HIGH, the settings to search")
    return axes


def _first(axes: dict[str, Any]) -> list[str]:
    """Returns a point of the space, to check that its names exist."""
    return [f"{name}={axis.choices[0] if hasattr(axis, 'choices') else axis.low}" for name, axis in axes.items()]


def _goal(experiment: Experiment, metric: str | None) -> tuple[str, str]:
    """Returns the metric to optimize, and "max" or "min"."""
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


def _run(recipe: Recipe, settings: Sequence[str], params: dict[str, Any], folder: Path) -> Run:
    return describe(recipe, settings, folder, [f"{name}={value}" for name, value in params.items()])


def _launch(recipe_name: str, runs: Sequence[Run], options: Options) -> None:
    """Launches the runs that are not finished; a run that fails has no result."""
    unfinished = {run.folder: run for run in runs if run.state != FINISHED}
    jobs = [Job(run.varied, command(recipe_name, run), run.folder, run.steps) for run in unfinished.values()]
    if jobs:
        try:
            LAUNCHERS["local"](jobs, options)
        except Failed as error:
            print(f"failed: {error}", flush=True)


def _value(run: Run, name: str) -> float | None:
    if run.state != FINISHED:
        return None
    result = RunFolder.open(run.folder).result() or {}
    split, _, metric = name.partition("/")
    value = result.get("metrics", {}).get(split, {}).get(metric)
    return float(value) if value is not None and math.isfinite(value) else None
