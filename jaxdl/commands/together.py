"""Trains several runs of a recipe in one process: `train --each`, which `sweep --together` calls."""

import functools
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import fiddle as fdl
import jax

from jaxdl.commands import requirements
from jaxdl.commands.train import attempt, check_allowances, check_tracker, finished, print_data, wall_seconds
from jaxdl.config import resolve
from jaxdl.config.experiment import Experiment, build
from jaxdl.config.recipes import load_recipe
from jaxdl.config.settings import fingerprint
from jaxdl.config.varying import differing, numbers_at, trainable_together, with_numbers
from jaxdl.distributed.processes import is_first
from jaxdl.errors import Failed, UserError
from jaxdl.home import refuse_url
from jaxdl.runs import code
from jaxdl.runs.background import background_log
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.inputs import check_data, check_folder, describe_data, write_inputs
from jaxdl.runs.places import default_name, is_run
from jaxdl.runs.table import aligned
from jaxdl.runs.tracked import TrackedFolder
from jaxdl.training.checkpoint import Checkpoints
from jaxdl.training.compiled import Program
from jaxdl.training.interrupt import preparing
from jaxdl.training.joint import JointProgram, why_in_turn
from jaxdl.training.loop import check, make_program
from jaxdl.training.progress import Labelled, Progress
from jaxdl.training.session import Session
from jaxdl.training.sources import Sources, load_sources
from jaxdl.training.together import train_together

AT_ONCE, IN_TURN = "at once", "in turn"


@dataclass(frozen=True)
class _Run:
    """Run to train: its own settings, configuration, experiment and open folder."""

    point: str
    settings: Sequence[str]
    config: fdl.Config
    experiment: Experiment
    folder: RunFolder


class Runs(NamedTuple):
    """Runs to train together, as the flags `config`, `set`, `each` and `workdir` describe them."""

    recipe: str
    settings: Sequence[str]
    points: Sequence[str]
    workdir: str | None = None


def run(
    described: Runs,
    allow: Sequence[str] = (),
    command: Sequence[str] = (),
    with_requirements: bool = False,
    tracker: str = "",
) -> None:
    """Trains the runs that are not finished, each in the folder of its fingerprint.

    Args:
      described: The runs.
      allow: Accepted differences from the runs in the folders, as `jaxdl.commands.train.make`.
      command: Command line, for the manifests.
      with_requirements: Whether runs that the recipe is initialized from are trained first.
      tracker: Name of a tracker. "": none.

    Raises:
      UserError: The configurations differ in more than seeds and optimizers, or a folder or the data do not fit.
      Failed: Some runs ended with a loss or gradient that is not finite.
      Preempted: A signal was received; the states, if any, are saved.
    """
    check_allowances(allow)
    check_tracker(tracker)
    recipe_name, settings, points, workdir = described
    refuse_url(workdir or "", "--workdir=")
    recipe = load_recipe(recipe_name)
    split = [shlex.split(point) for point in points]
    configs = [resolve(recipe, [*settings, *point]) for point in split]
    varied = check_together(configs)
    prints = [fingerprint(config) for config in configs]
    if twice := [point for point, one in zip(points, prints) if prints.count(one) > 1]:
        raise UserError(f"--each={twice[0]} and another --each are the same run; drop one")
    paths = [Path(workdir or "runs") / default_name(recipe.path, one) for one in prints]
    if not all(is_run(path) and RunFolder.open(path).has_checkpoint for path in paths):
        train = functools.partial(_train_requirement, command=command) if with_requirements else None
        requirements.ensure(recipe, configs[0], train)
    mode = "write" if is_first() else "silent"
    with ExitStack() as folders:
        runs, checked = [], []
        with ExitStack() as preparation:
            preparation.enter_context(preparing())
            for point, own, config, path in zip(points, split, configs, paths):
                folder = folders.enter_context(TrackedFolder(path, mode=mode, tracker=tracker))
                one = _Run(point, [*settings, *own], config, build(config), folder)
                inputs = check_folder(folder, config, recipe.name, one.settings, one.experiment, allow)
                if finished(folder, one.experiment, False) is None:
                    runs.append(one)
                    checked.append(inputs)
                else:
                    folder.send_all()
            if not runs:
                print(f"all {len(points)} runs are already finished")
                return
            sources, datasets, programs, joint, reason = _prepare(runs, varied, allow)
            how = {"runs": len(runs), "mode": AT_ONCE if joint is not None else IN_TURN}
            for one, (saved, modules) in zip(runs, checked):
                provenance = {"command": command, "modules": modules, "absent_settings": (), "together": how}
                provenance |= {"datasets": datasets}
                write_inputs(one.folder, one.config, recipe.name, one.settings, saved, sources, provenance)
        _train(runs, sources, datasets, programs, joint, f"{how['mode']}{f' ({reason})' if reason else ''}")


def check_together(configs: Sequence[fdl.Config]) -> list[str]:
    """Returns the paths in which configurations differ, without seeds.

    Raises:
      UserError: They do not have the same model, losses and data.
    """
    varied = differing(configs)
    if other := [path for path in varied if not trainable_together(path)]:
        raise UserError(
            f"runs that are trained together differ in seeds and settings of their optimizers only, not in"
            f" {', '.join(other[:3])}; train them in separate processes"
        )
    return varied


def _train_requirement(required: str, folder: str, command: Sequence[str]) -> None:
    from jaxdl.commands import train

    train.run(required, workdir=folder, command=command, with_requirements=True)


def _prepare(
    runs: Sequence[_Run], varied: Sequence[str], allow: Sequence[str]
) -> tuple[Sources, dict[str, Any], list[Program], Any, str]:
    """Loads the data and creates the programs.

    Returns:
      Sources, their description, the program of each run, the function from numbers of runs to their joint program or
      None if they are trained in turn, and why.
    """
    first = runs[0].experiment
    with code.user_errors():
        sources = load_sources(first.data)
        datasets = describe_data(first, sources)
        for one in runs:
            check_data(one.folder, datasets, allow)
        program = make_program(first, sources)
        check(program, sources)
        numbers = [numbers_at(one.config, varied) for one in runs]
        reason = why_in_turn(program)
        if not reason and any(one is None for one in numbers):
            reason = "they differ in more than numbers"

        def joint(indices: Sequence[int]) -> JointProgram:
            def optimizers(traced: Any) -> Any:
                config = with_numbers(runs[0].config, traced)
                return fdl.build((config.optimizers, config.ema))

            own: Any = [numbers[index] for index in indices]
            return JointProgram(program, [runs[index].experiment for index in indices], own, optimizers)

        if not reason:
            try:
                _ = joint(range(len(runs))).traced
            except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
                reason = f"the optimizer's code depends on {', '.join(varied)}"
        if reason and not varied and first.parallel.mode != "pmap":
            _ = program.compiled  # for all runs
        programs = [program, *(program.like(one.experiment, same_step=not varied) for one in runs[1:])]
    if "config" in allow:
        for one, own in zip(runs, programs):
            if one.folder.has_checkpoint:
                with Checkpoints(one.folder.checkpoints) as checkpoints:
                    checkpoints.check_fit(own.abstract)
    return sources, datasets, programs, None if reason else joint, reason


def _train(
    runs: Sequence[_Run], sources: Sources, datasets: Any, programs: Sequence[Program], joint: Any, how: str
) -> None:
    with ExitStack() as stack:
        stack.enter_context(background_log(runs[0].folder.path))
        progress = stack.enter_context(Progress(runs[0].experiment.steps, shown=is_first()))
        progress.line(f"{len(runs)} runs {how}:")
        for line in aligned([(one.point, str(one.folder.path)) for one in runs]).splitlines():
            progress.line(line)
        print_data(progress, sources)
        attempts = [ExitStack() for _ in runs]
        for own, one in zip(attempts, runs):
            own.enter_context(attempt(one.folder))
        try:
            sessions = []
            for number, (one, program) in enumerate(zip(runs, programs)):
                keep, scheduled = one.experiment.keep, one.experiment.scheduled
                checkpoints = stack.enter_context(Checkpoints(one.folder.checkpoints, keep, scheduled))
                label = Labelled(progress, one.point, reports=number == 0)
                wall = functools.partial(wall_seconds, one.folder)
                identity = {"datasets": datasets}
                sessions.append(
                    Session(one.experiment, program, sources, one.folder, label, checkpoints, identity, wall)
                )
            outcomes: list[Any] = train_together(sessions, joint, sources)
        except BaseException:
            for own in attempts:
                own.__exit__(*sys.exc_info())
            raise
        failures = []
        for own, one, outcome in zip(attempts, runs, outcomes):
            failure = outcome if isinstance(outcome, Exception) else None
            own.__exit__(*((type(failure), failure, None) if failure else (None, None, None)))
            if failure:
                failures.append(f"{one.folder.path} ({failure})")
    if failures:
        more = f" and {len(failures) - 3} more" if len(failures) > 3 else ""
        raise Failed(f"{len(failures)} of {len(runs)} runs failed: {', '.join(failures[:3])}{more}")
