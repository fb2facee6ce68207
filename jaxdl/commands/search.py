"""`launch.py sweep --trials=N`: settings that Optuna chooses by the results so far, in place of a grid.

What was tried is kept in an SQLite file beside the run folders. Each trial is a run like any other, in the folder that
its configuration names: a search that was stopped goes on with the trials that it had begun.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl.commands.sweep import (
    FINISHED,
    Run,
    command,
    describe,
    split_values,
)
from jaxdl.config.experiment import Experiment
from jaxdl.config.recipes import Recipe, load_recipe
from jaxdl.errors import Failed, UserError, from_extra
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
    """Makes trials until there are `trials` of them, as many at a time as there are slots, and says which is best.

    Args:
      recipe_name: what --config names.
      settings: the --set flags, of all trials.
      space: the --space flags, see `distributions`.
      workdir: the folder for the run folders and the search's file.
      metric: "EVAL/NAME:min" or ":max"; None: the one by which the recipe keeps its best checkpoint.
      options: of the local launcher.
      seed: of what is tried first.

    Raises:
      UserError: a mistake in any of these, or Optuna is missing.
      Failed: no trial has a result.
      Preempted: a signal came; the runs have saved their states.
    """
    with from_extra("search", "A search"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder, recipe = Path(workdir or "runs"), load_recipe(recipe_name)
    axes = distributions(space)
    name, mode = _goal(describe(recipe, [*settings, *_first(axes)], folder).experiment, metric)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / FILE}",
        study_name=" ".join((recipe.name, *settings, *space, name)),
        direction="maximize" if mode == "max" else "minimize",
        load_if_exists=True,
    )
    at_once = len(slots(options.slots, trials))
    while begun := _begun(study, axes, min(at_once, trials - len(study.trials)), seed):
        found = {trial.number: _run(recipe, settings, trial.params, folder) for trial in begun}
        _make(recipe_name, list(found.values()), options)
        for number, each in found.items():
            value = _value(each, name)
            state = optuna.trial.TrialState.FAIL if value is None else None
            study.tell(number, value, state=state)
            print(f"trial {number}: {each.varied}: {'failed' if value is None else f'{name} {value:.5g}'}", flush=True)
    if not study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        raise Failed(f"none of the {trials} trial(s) has {name}; see run.log in their folders below {folder}")
    best = _run(recipe, settings, study.best_params, folder)
    print(f"best of {len(study.trials)}: {best.varied}: {name} {study.best_value:.5g}  {best.folder}")


def _begun(study: Any, axes: Mapping[str, Any], count: int, seed: int) -> list[Any]:
    """Trials to be made: those that were begun and have no result, else up to `count` new ones."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    begun = study.get_trials(states=[TrialState.RUNNING])
    if not begun:
        study.sampler = TPESampler(seed=seed + len(study.trials), constant_liar=True)
        for _ in range(count):
            study.ask(fixed_distributions=axes)
    return begun or study.get_trials(states=[TrialState.RUNNING])


def distributions(space: Sequence[str]) -> dict[str, Any]:
    """Optuna's distribution of each name.

    A flag is NAME=LOW..HIGH, whole numbers if both ends are; NAME=LOW..HIGH:STEP; NAME=LOW..HIGH:log, by the logarithm;
    or NAME=VALUE,VALUE,... with any values.

    Raises:
      UserError: a flag that is none of these, or two of one name; none at all.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for text in space:
        name, _, right = text.partition("=")
        name, right = name.strip(), right.strip()
        if name in found:
            raise UserError(f"--space has '{name}' twice; give all its values in one")
        values = split_values(right)
        try:
            if not name or not all(values):
                raise ValueError("a name or a value is missing")
            if form := _RANGE.fullmatch(right):
                low, high, step = form.groups()
                whole = low.lstrip("+-").isdecimal() and high.lstrip("+-").isdecimal()
                options: dict[str, Any] = {"log": step == "log"}
                if step and step != "log":
                    options["step"] = int(step) if whole else float(step)
                if whole:
                    found[name] = IntDistribution(int(low), int(high), **options)
                else:
                    found[name] = FloatDistribution(float(low), float(high), **options)
            else:
                found[name] = CategoricalDistribution(values)
        except ValueError as error:
            raise UserError(
                f"--space={text} is no range: {' '.join(str(error).split())}; write NAME=1e-4..1e-2:log, NAME=16..64:16"
                " or NAME=VALUE,VALUE"
            ) from None
    if not found:
        raise UserError("--trials needs --space=NAME=LOW..HIGH, the settings to choose")
    return found


def _first(axes: dict[str, Any]) -> list[str]:
    """A point of the space, to see that its names exist."""
    return [f"{name}={axis.choices[0] if hasattr(axis, 'choices') else axis.low}" for name, axis in axes.items()]


def _goal(experiment: Experiment, metric: str | None) -> tuple[str, str]:
    """The metric to be made better, and whether that is "max" or "min"."""
    keep = experiment.keep
    name, _, mode = (metric or keep.metric or "").partition(":")
    mode = mode or (keep.mode if name == keep.metric else "")
    if not name or mode not in ("max", "min"):
        raise UserError("say which metric is to be made better, and how: --metric=validation/loss:min, or :max")
    if name.split("/")[0] == "test":
        raise UserError(f"--metric={name}: settings are not chosen on the test split; give one of another evaluation")
    if name.split("/")[0] not in experiment.data.evals:
        raise UserError(f"--metric={name}: evaluations that exist: {', '.join(experiment.data.evals) or '(none)'}")
    return name, mode


def _run(recipe: Recipe, settings: Sequence[str], params: dict[str, Any], folder: Path) -> Run:
    return describe(recipe, settings, folder, [f"{name}={value}" for name, value in params.items()]).run


def _make(recipe_name: str, runs: Sequence[Run], options: Options) -> None:
    """Makes the runs that are not finished; what fails is seen by its result, which is not there."""
    to_do = {each.folder: each for each in runs if each.state != FINISHED}
    jobs = [Job(each.varied, command(recipe_name, each), each.folder, each.steps) for each in to_do.values()]
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
