"""Trains many configurations of a recipe, each in the folder of its fingerprint.

A sweep is stateless: started again, it skips finished runs, resumes stopped ones and starts the rest. The launchers are
in `jaxdl.launchers`.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from absl.flags import FlagValues

from jaxdl import trackers
from jaxdl.commands.flags import CONFIG, DRY_RUN, SET, TRACKER, WORKDIR, Command, Flag
from jaxdl.config import recipes, resolve
from jaxdl.config.experiment import build
from jaxdl.config.grids import points
from jaxdl.config.overrides import as_overrides
from jaxdl.config.recipes import Recipe
from jaxdl.config.settings import fingerprint
from jaxdl.config.varying import kind
from jaxdl.errors import UserError, warn
from jaxdl.launchers import LAUNCHERS, Job, Options, check
from jaxdl.report.decomposition import SOURCES, design
from jaxdl.runs.code import digests
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.manifest import changed_modules
from jaxdl.runs.places import default_name, is_run
from jaxdl.runs.table import aligned

COMMAND = Command(
    name="sweep",
    summary="Trains many configurations of a recipe: a grid, or a search with Optuna",
    synopsis=(
        "--config=RECIPE [--grid=AXIS] [--launcher=NAME] [--set=NAME=VALUE] [--workdir=DIR] [--dry_run]",
        "--config=RECIPE --decompose=N [--launcher=NAME] [--set=NAME=VALUE] [--workdir=DIR] [--dry_run]",
        "--config=RECIPE --power=DIFFERENCE [--looks=N] [--grid=AXIS] [--metric=EVAL/NAME] [--set=NAME=VALUE]"
        " [--workdir=DIR]",
        "--config=RECIPE --trials=N --space=AXIS [--metric=EVAL/NAME:min] [--pruner=NAME] [--launcher=NAME]"
        " [--set=NAME=VALUE] [--workdir=DIR]",
    ),
    flags=(
        CONFIG,
        SET,
        WORKDIR,
        Flag(
            "grid",
            "Axis of the grid: NAME=VALUE,VALUE or NAME=0..4, or NAME,NAME=(A,B),(C,D) for joint values. Repeatable. By"
            " default the recipe's sweep(), or seeds 0 to 4.",
            value="AXIS",
            default=(),
        ),
        Flag(
            "launcher",
            "local runs them on this machine, slurm submits a job array, kubernetes and tpu write a file.",
            default="local",
            choices=("local", "slurm", "kubernetes", "tpu"),
        ),
        Flag(
            "launch",
            "Setting of the launcher, such as container=jaxdl.sif for slurm or tpu=v5e:4x4 for kubernetes. Repeatable.",
            value="NAME=VALUE",
            default=(),
        ),
        Flag(
            "slots",
            "Concurrent runs. By default one per GPU, or without GPUs one per core, at most 8.",
            value="N",
            kind=int,
            minimum=1,
        ),
        Flag("retries", "Retries of a failed run, by default 1.", value="N", kind=int, default=1, minimum=0),
        Flag("output", "File that the launcher writes. By default sweep.json or sweep.sh.", value="FILE"),
        TRACKER,
        Flag(
            "together",
            "Train up to N runs that differ in seeds and optimizers only in one process, in one program where that is"
            " faster.",
            value="N",
            kind=int,
            minimum=1,
        ),
        DRY_RUN,
        Flag(
            "trials",
            "Number of trials of a search, those of earlier calls included. Several machines may call it for one"
            " --workdir at the same time. On slurm and kubernetes --slots is the number of workers, by default 8.",
            value="N",
            kind=int,
            minimum=1,
        ),
        Flag(
            "space",
            "Axis of the search space: NAME=1e-4..1e-2:log, NAME=16..64:16 or NAME=A,B. Repeatable.",
            value="AXIS",
            default=(),
        ),
        Flag(
            "metric",
            "Metric of the search, by default the one that selects the recipe's best checkpoint; with --power without"
            " :min, by default the recipe's METRIC.",
            value="EVAL/NAME:min",
        ),
        Flag(
            "pruner",
            "Stop trials with poor values of the metric at its evaluations: asha and hyperband continue the best ones,"
            " median those above the median. By default every trial is trained to the end.",
            choices=("asha", "hyperband", "median"),
        ),
        Flag(
            "decompose",
            "Train N * N runs in which the seeds of initialization, order, augmentation and noise are crossed; report"
            " prints their shares of the variance. N is a prime number of at least 5.",
            value="N",
            kind=int,
            minimum=1,
        ),
        Flag(
            "power",
            "Train nothing; print how many seeds find this difference of the metric with a probability of 80%, by the"
            " standard deviation over the sweep's finished runs.",
            value="DIFFERENCE",
            kind=float,
        ),
        Flag(
            "looks",
            "With --power: plan this many comparisons at growing numbers of seeds, of which the first significant one"
            " ends the comparison, by alpha spending.",
            value="N",
            kind=int,
            minimum=2,
        ),
    ),
    example="jaxdl sweep --config=experiments/cnn/digits.py --grid=seed=0..4 --dry_run",
    needs="jax",
)

FINISHED, STARTED, NEW, DAMAGED = "finished", "started", "new", "damaged"


def main(arguments: list[str], flags: FlagValues) -> None:
    for text in flags.launch:
        if "=" not in text:
            raise UserError(f"--launch={text} has no value; write --launch=NAME=VALUE")
    settings = dict(text.partition("=")[::2] for text in flags.launch)
    if flags.tracker:
        trackers.check(flags.tracker, installed=flags.launcher in ("local", "slurm"))
    passed_on = (f"--tracker={flags.tracker}",) if flags.tracker else ()
    options = Options(flags.slots, flags.retries, flags.output, settings, passed_on)
    grid = flags.grid
    if flags.decompose:
        if grid or flags.trials:
            raise UserError("--decompose chooses the seeds of its runs; drop --grid and --trials")
        grid = [crossed(flags.decompose)]
    if flags.power is not None:
        elsewhere = flags.launch or flags.launcher != "local" or flags.together
        if flags.trials or flags.space or flags.pruner or elsewhere or flags.tracker:
            raise UserError(
                "--power trains nothing; drop --trials, --space, --pruner, --launch, --launcher, --together and"
                " --tracker"
            )
        from jaxdl.commands import power

        planned = runs(flags.config, flags.set, grid, Path(flags.workdir or "runs"))
        power.run([run.folder for run in planned], flags.power, flags.metric, flags.looks or 1)
        return
    if flags.looks:
        raise UserError(
            "--looks needs --power=DIFFERENCE, the difference to find; report --looks compares at the looks"
        )
    if not flags.trials:
        if flags.space or flags.metric or flags.pruner:
            raise UserError("--space, --metric and --pruner need --trials=N, the number of trials of the search")
        run(flags.config, flags.set, grid, flags.workdir, flags.launcher, options, flags.dry_run, flags.together or 1)
        return
    if flags.grid or flags.dry_run or flags.together:
        raise UserError("a search (--trials) chooses its settings; drop --grid, --dry_run and --together")
    from jaxdl.commands import search

    goal = search.Goal(flags.trials, flags.space, flags.metric, flags.pruner)
    search.run(flags.config, flags.set, goal, flags.workdir, options, flags.launcher)


@dataclass(frozen=True)
class Run:
    """Run of a sweep.

    Attributes:
      settings: All its values of --set.
      varied: Its own values, for printing.
      folder: Run folder.
      steps: Number of training steps.
      changed: Whether code outside jaxdl has changed since the folder's run was trained.
      point: Its own values of --set.
      kind: Digest of the settings that are the same in runs that can be trained together.
    """

    settings: tuple[str, ...]
    varied: str
    folder: Path
    steps: int
    changed: bool = False
    point: tuple[str, ...] = ()
    kind: str = ""

    @property
    def state(self) -> str:
        """Returns "finished", "started" (it can be resumed), "damaged" or "new".

        Raises:
          UserError: The folder contains an opaque run.
        """
        if not is_run(self.folder):
            return NEW
        if self.damage:
            return DAMAGED
        folder = RunFolder.open(self.folder)
        if folder.opaque:
            raise UserError(
                f"{self.folder} is opaque: it was trained from an Experiment object; give another --workdir"
            )
        result = folder.result()
        return FINISHED if result is not None and result["step"] == self.steps else STARTED

    @property
    def damage(self) -> str:
        """Message on the first damaged file, or ""."""
        return damage_of(self.folder)


def run(
    recipe_name: str,
    settings: Sequence[str],
    grid: Sequence[str],
    workdir: str | None,
    launcher: str,
    options: Options,
    dry_run: bool = False,
    together: int = 1,
) -> None:
    """Launches all runs of a sweep that are not finished, and names damaged ones. Args as the flags.

    Raises:
      UserError: An argument is invalid.
      Failed: Some runs failed.
      Preempted: A signal was received; the runs have saved their states.
    """
    folder = Path(workdir or "runs")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--workdir={workdir} is not a folder; name the parent folder of the runs")
    check(launcher, options)
    planned = runs(recipe_name, settings, grid, folder)
    states = [run.state for run in planned]
    print(aligned([(run.varied, state, str(run.folder)) for run, state in zip(planned, states)]))
    counts = ", ".join(
        f"{states.count(state)} {state}" for state in (FINISHED, STARTED, DAMAGED, NEW) if state in states
    )
    print(f"{len(planned)} run(s): {counts}", flush=True)
    for run, state in zip(planned, states):
        if state == DAMAGED:
            warn(run.damage)
    if changed := [str(run.folder) for run in planned if run.changed]:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        warn(f"the code has changed since the training of {', '.join(changed[:3])}{more}")
    if dry_run:
        return
    unfinished = [run for run, state in zip(planned, states) if state != FINISHED]
    jobs = [job(recipe_name, settings, group, folder, options.flags) for group in groups(unfinished, together)]
    if jobs:
        LAUNCHERS[launcher](jobs, options)


def runs(recipe_name: str, settings: Sequence[str], grid: Sequence[str], folder: Path) -> list[Run]:
    """Returns the runs of a sweep, each configuration once.

    Raises:
      UserError: The recipe, a setting or the grid is invalid, or the sweep is empty.
    """
    recipe = recipes.load_recipe(recipe_name)
    grid_points = points(grid) if grid else [as_overrides(values) for values in recipes.sweep(recipe)]
    by_folder: dict[Path, Run] = {}
    for point in grid_points:
        run = describe(recipe, settings, folder, point)
        by_folder.setdefault(run.folder, run)
    if not by_folder:
        raise UserError(f"sweep() of {recipe_name} is empty; give --grid=NAME=VALUE,VALUE,...")
    return list(by_folder.values())


def describe(recipe: Recipe, settings: Sequence[str], folder: Path, point: Sequence[str] = ()) -> Run:
    """Returns the run of a recipe with the common settings and those of a point. Raises UserError for invalid ones."""
    config = resolve(recipe, [*settings, *point])
    build(config)
    path = folder / default_name(recipe.path, fingerprint(config))
    readable = is_run(path) and not damage_of(path)
    changed = readable and changed_modules(RunFolder.open(path), digests(config, recipe.name))
    return Run(
        (*settings, *point),
        " ".join(point) or "(unchanged)",
        path,
        config.steps,
        bool(changed),
        tuple(point),
        kind(config),
    )


def damage_of(folder: Path) -> str:
    """Returns the message on the first damaged file of a run, or ""; training derives some of them again."""
    try:
        RunFolder.open(folder).check()
    except UserError as error:
        return str(error)
    return ""


def crossed(levels: int) -> str:
    """Returns the axis of the grid that crosses the seeds of all sources of randomness."""
    if levels < 5 or any(levels % divisor == 0 for divisor in range(2, levels)):
        raise UserError(f"--decompose={levels} is not a prime number of at least 5; use 5 (25 runs) or 7 (49 runs)")
    names = ",".join(f"seeds.{source}" for source in SOURCES)
    points = [",".join(str(seeds[source]) for source in SOURCES) for seeds in design(levels)]
    return f"{names}={','.join(f'({point})' for point in points)}"


def groups(runs: Sequence[Run], size: int) -> list[list[Run]]:
    """Divides runs into groups of up to `size` that can be trained together, in the order of their first runs."""
    by_kind: dict[str, list[Run]] = {}
    for run in runs:
        by_kind.setdefault(run.kind, []).append(run)
    return [alike[first : first + size] for alike in by_kind.values() for first in range(0, len(alike), size)]


def job(recipe: str, settings: Sequence[str], group: Sequence[Run], folder: Path, flags: Sequence[str]) -> Job:
    """Returns the job of runs that are trained together, or of one run.

    Args:
      recipe: Name of the recipe.
      settings: Common values of --set.
      group: Runs of the job. Its log is in the folder of the first.
      folder: Parent folder of the runs.
      flags: Further flags of the command.
    """
    first = group[0]
    if len(group) == 1:
        return Job(first.varied, command(recipe, first, flags), first.folder, first.steps)
    common = [f"--set={setting}" for setting in settings]
    each = [f"--each={shlex.join(run.point)}" for run in group]
    arguments = [*common, *each, f"--workdir={folder}", *flags]
    return Job(f"{first.varied} and {len(group) - 1} more", [*_program(recipe), *arguments], first.folder, first.steps)


def command(recipe: str, run: Run, flags: Sequence[str] = ()) -> list[str]:
    """Returns the command line of a run: Python, the program, and its arguments, which launchers reuse."""
    return [*_program(recipe), *(f"--set={setting}" for setting in run.settings), f"--workdir={run.folder}", *flags]


def _program(recipe: str) -> list[str]:
    script = recipes.repository_root() / "launch.py"
    program = str(script) if script.is_file() else "-Pmjaxdl"
    return [sys.executable, program, f"--config={recipe}"]
