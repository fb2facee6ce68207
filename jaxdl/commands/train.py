"""Trains a recipe in a run folder."""

import functools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import fiddle as fdl
import jax
from absl.flags import FlagValues

from jaxdl import trackers
from jaxdl.commands import requirements
from jaxdl.commands.flags import CONFIG, PROCESSES, SET, TRACKER, WORKDIR, Command, Flag, place
from jaxdl.config import resolve
from jaxdl.config.experiment import Experiment, build, validate
from jaxdl.config.recipes import load_recipe
from jaxdl.config.settings import fingerprint
from jaxdl.data.summary import summarize
from jaxdl.distributed.processes import initialize, is_first
from jaxdl.errors import Preempted, UserError, WriteError, nearest, warn
from jaxdl.runs import code, manifest, profiles
from jaxdl.runs.background import background_log
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.inputs import check_data, check_folder, describe_data, write_inputs
from jaxdl.runs.places import default_name, is_run
from jaxdl.runs.stored import stored
from jaxdl.runs.tracked import TrackedFolder
from jaxdl.training.checkpoint import Checkpoints
from jaxdl.training.compiled import Program
from jaxdl.training.interrupt import preparing
from jaxdl.training.loop import check, make_program, train
from jaxdl.training.profiler import Profiler, parse_range
from jaxdl.training.progress import Progress
from jaxdl.training.sources import Sources, load_sources

COMMAND = Command(
    name="train",
    summary="Trains a recipe, or resumes the run in its folder",
    synopsis=("--config=RECIPE [--set=NAME=VALUE] [--workdir=DIR]",),
    flags=(
        CONFIG,
        SET,
        WORKDIR,
        Flag(
            "allow",
            "Differences to accept when resuming, separated by commas: config, data, batch_size.",
            value="NAME,NAME",
            default="",
        ),
        Flag(
            "each",
            "Settings of one of several runs, separated by spaces, that this process trains together, each in its own"
            " folder in --workdir; they may differ in seeds and optimizers. Repeatable.",
            value="SETTINGS",
            default=(),
        ),
        Flag("with_requirements", "Train runs that the recipe is initialized from first.", kind=bool, default=False),
        TRACKER,
        Flag(
            "profile",
            "Steps to trace with JAX's profiler, FIRST..LAST, into profile/ in the run folder. report and show RUN"
            " print a summary.",
            value="FIRST..LAST",
            default="",
        ),
        *PROCESSES,
    ),
    example="jaxdl train --config=experiments/cnn/digits.py --set=steps=300 --workdir=runs/digits",
)

ALLOWANCES = ("config", "data", "batch_size")


def main(arguments: list[str], flags: FlagValues) -> None:
    initialize(place(flags))
    allow = [name for name in flags.allow.split(",") if name]
    if flags.each:
        if flags.profile:
            raise UserError("--profile traces one run; drop --each")
        from jaxdl.commands import together

        runs = together.Runs(flags.config, flags.set, flags.each, flags.workdir)
        together.run(runs, allow, command_line(), flags.with_requirements, flags.tracker)
        return
    run(
        flags.config,
        flags.set,
        flags.workdir,
        allow,
        command_line(),
        flags.with_requirements,
        tracker=flags.tracker,
        profile=flags.profile,
    )


def command_line() -> list[str]:
    """Returns the command line of this process, without the path of its program."""
    return ["jaxdl", *sys.argv[1:]]


def run(
    recipe_name: str,
    settings: Sequence[str] = (),
    workdir: str | None = None,
    allow: Sequence[str] = (),
    command: Sequence[str] = (),
    with_requirements: bool = False,
    tracker: str = "",
    profile: str = "",
) -> dict[str, Any]:
    """Trains a recipe, or resumes the run in its folder; see `make`. Args as the flags."""
    check_allowances(allow)
    check_tracker(tracker)
    recipe = load_recipe(recipe_name)
    config = resolve(recipe, settings)
    place = workdir or Path("runs") / default_name(recipe.path, fingerprint(config))

    def train_requirement(required: str, folder: str) -> None:
        run(required, workdir=folder, command=command, with_requirements=True, tracker=tracker)

    with stored(place) as path:
        if not (is_run(path) and RunFolder.open(path).has_checkpoint):  # a resumed run is not initialized
            requirements.ensure(recipe, config, train_requirement if with_requirements else None)
        return make(config, recipe.name, settings, path, allow, command, tracker=tracker, profile=profile)


def make(
    config: fdl.Config | Experiment,
    recipe: str,
    settings: Sequence[str],
    path: Path,
    allow: Sequence[str] = (),
    command: Sequence[str] = (),
    absent: Sequence[str] = (),
    shown: bool = True,
    tracker: str = "",
    profile: str = "",
) -> dict[str, Any]:
    """Trains a configuration or an Experiment in a run folder, from its newest checkpoint if it has one.

    Args:
      config: Configuration, or an Experiment object, whose run is marked opaque.
      recipe: Name of the recipe that the configuration came from; "" for none.
      settings: NAME=VALUE overrides that were applied to it.
      path: Run folder.
      allow: Accepted differences from the run in the folder: "config", "data", "batch_size".
      command: Command line, for the manifest.
      absent: Process-wide settings that were not applied, for the manifest.
      shown: Whether progress is printed.
      tracker: Name of a tracker, checked by `check_tracker`. "": none.
      profile: Steps to trace, FIRST..LAST. "": none.

    Returns:
      The content of result.json.

    Raises:
      UserError: The configuration, the folder or the data do not fit.
      Preempted: A signal was received; the state, if any, is saved.
    """
    experiment = config if isinstance(config, Experiment) else build(config)
    validate(experiment)
    traced = parse_range(profile) if profile else (0, 0)
    if traced[1] > experiment.steps:
        raise UserError(f"--profile={profile} is beyond the last step, {experiment.steps}; give earlier steps")
    shown = shown and is_first()
    mode = "write" if is_first() else "silent"
    with TrackedFolder(path, mode=mode, tracker=tracker) as folder, ExitStack() as preparation:
        preparation.enter_context(preparing())
        saved, modules = check_folder(folder, config, recipe, settings, experiment, allow)
        if (done := finished(folder, experiment, shown)) is not None:
            folder.send_all()
            if profile:
                warn(f"--profile={profile}: the run is finished; nothing is traced")
            return done
        sources, datasets, program = _prepare(folder, experiment, allow)
        provenance = {"command": command, "modules": modules, "absent_settings": absent, "together": None}
        write_inputs(folder, config, recipe, settings, saved, sources, provenance | {"datasets": datasets})
        preparation.close()
        with background_log(path), Progress(experiment.steps, shown=shown) as progress, attempt(folder):
            progress.line(f"{recipe or 'experiment'} in {path}")
            print_data(progress, sources)
            clock = functools.partial(wall_seconds, folder)
            identity = {"datasets": datasets}
            options = {"identity": identity, "wall": clock, "program": program}
            if profile:
                trace = profiles.folder_of(path, jax.process_index())
                options["profiler"] = Profiler(*traced, trace, profiles.summarize, progress.line)
            _, result = train(experiment, folder, progress, sources, **options)
            progress.results(result, folder.pictures)
        return result


def _prepare(
    folder: RunFolder, experiment: Experiment, allow: Sequence[str]
) -> tuple[Sources, dict[str, Any], Program]:
    """Loads the data and creates the program, and checks that a checkpoint in the folder fits them."""
    with code.user_errors():
        sources = load_sources(experiment.data)
        datasets = describe_data(experiment, sources)
        check_data(folder, datasets, allow)
        program = make_program(experiment, sources)
        check(program, sources)
    if "config" in allow and folder.has_checkpoint:  # before the new configuration replaces that of the run
        with Checkpoints(folder.checkpoints) as checkpoints:
            checkpoints.check_fit(program.abstract)
    return sources, datasets, program


def print_data(progress: Progress, sources: Sources) -> None:
    for role, source in {"train": sources.train, **sources.evals}.items():
        for line in summarize(role, source):
            progress.line(line)


def finished(folder: RunFolder, experiment: Experiment, shown: bool) -> dict[str, Any] | None:
    """Prints and returns the result of a finished run; None if the run is not finished."""
    done = folder.result()
    if done is None or done["step"] != experiment.steps:
        return None
    manifest.end_killed(folder)
    with Progress(experiment.steps, shown=shown) as progress:
        progress.line(f"{folder.path} is already finished")
        progress.results(done, folder.pictures)
    return done


def check_allowances(allow: Sequence[str]) -> None:
    """Raises UserError for an unknown value of --allow."""
    for name in allow:
        if name not in ALLOWANCES:
            raise UserError(f"--allow={name} is unknown; {nearest(name, ALLOWANCES)}")


def check_tracker(name: str) -> None:
    """Raises UserError for an unknown value of --tracker, or if its package is not installed."""
    if name:
        trackers.check(name)


def wall_seconds(folder: RunFolder) -> float:
    """Returns the wall time of all attempts, of the present one by a monotonic clock."""
    return manifest.wall_seconds(folder.manifest()["attempts"][:-1]) + time.monotonic() - folder.attempt_start


@contextmanager
def attempt(folder: RunFolder) -> Iterator[None]:
    """Closes the attempt in the manifest with the exit code of the command.

    Before the end of a run's first evaluation, an exception of the user's code is a usage error.
    """
    exit = 1
    try:
        yield
        exit = 0
    except UserError as error:
        exit = 2
        if isinstance(error, WriteError):
            raise WriteError(f"{error}; {_newest_checkpoint(folder)}") from error
        raise
    except Preempted as stopped:
        exit = stopped.exit_code
        raise
    except Exception as error:
        starting = all(row["split"] == "train" for row in folder.rows())
        if starting and (known := code.blame(error)) is not None:
            exit = 2
            raise known from error
        raise
    finally:
        with suppress(UserError) if exit else nullcontext():  # the next attempt closes this one, as after a kill
            manifest.end_attempt(folder, exit=exit, last_step=max((row["step"] for row in folder.rows()), default=None))


def _newest_checkpoint(folder: RunFolder) -> str:
    steps = [int(child.name) for child in folder.checkpoints.glob("*") if child.name.isdecimal()]
    return f"the checkpoint of step {max(steps)} is intact" if steps else "no checkpoint was saved yet"
