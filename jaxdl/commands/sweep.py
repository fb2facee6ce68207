"""`launch.py sweep`: many runs of one recipe, each in a folder that its configuration names.

So a sweep needs no memory of its own: started again it finds what is finished, goes on with what was stopped, and does
the rest. Where and when the runs are made is the launcher's part, see `jaxdl.launchers`.
"""

import itertools
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jaxdl.config import overrides, recipes, serialize
from jaxdl.config.experiment import Experiment
from jaxdl.config.recipes import Recipe
from jaxdl.errors import UserError, nearest
from jaxdl.launchers import LAUNCHERS, Job, Options
from jaxdl.runs.folder import RunFolder, default_name, is_run

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
FINISHED, STARTED, NEW = "finished", "started", "new"


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
      settings: what `--set` says, for all runs and for this one.
      varied: what this one alone says, for people.
      folder: the run folder.
      steps: how many it has when it is finished.
    """

    settings: tuple[str, ...]
    varied: str
    folder: Path
    steps: int

    @property
    def state(self) -> str:
        """ "finished", "started" (something is there to go on from) or "new".

        Raises:
          UserError: its result.json is damaged, or the folder contains an opaque run.
        """
        if not is_run(self.folder):
            return NEW
        folder = RunFolder.open(self.folder)
        if folder.opaque:
            raise UserError(
                f"{self.folder} is opaque: it was trained from an Experiment object; give another --workdir"
            )
        result = folder.result()
        return FINISHED if result is not None and result["step"] == self.steps else STARTED


class Described(NamedTuple):
    """A run, what it builds, and its configuration's fingerprint."""

    run: Run
    experiment: Experiment
    fingerprint: str


def run(
    recipe_name: str,
    settings: Sequence[str],
    grid: Sequence[str],
    workdir: str | None,
    launcher: str,
    options: Options,
    dry_run: bool = False,
) -> None:
    """Makes all runs of a sweep that are not finished yet.

    Args:
      recipe_name: what --config names.
      settings: the --set flags, of all runs.
      grid: The --grid flags, see `points`. Empty: the recipe's `sweep()`, or seeds 0 to 4.
      workdir: the folder for the run folders; by default `runs`.
      launcher: a name of `LAUNCHERS`.
      options: of the launcher.
      dry_run: say what would be done, and do nothing.

    Raises:
      UserError: a mistake in any of these.
      Failed: some runs failed.
      Preempted: a signal came; the runs have saved their states.
    """
    if launcher not in LAUNCHERS:
        raise UserError(f"--launcher={launcher} is unknown; {nearest(launcher, LAUNCHERS)}")
    found = runs(recipe_name, settings, grid, Path(workdir or "runs"))
    states = [each.state for each in found]
    width = max(len(each.varied) for each in found)
    for each, state in zip(found, states):
        print(f"{each.varied:<{width}}  {state:<8}  {each.folder}")
    counts = ", ".join(f"{states.count(state)} {state}" for state in (FINISHED, STARTED, NEW) if state in states)
    print(f"{len(found)} run(s): {counts}", flush=True)
    if dry_run:
        return
    to_do = [each for each, state in zip(found, states) if state != FINISHED]
    jobs = [Job(each.varied, command(recipe_name, each), each.folder, each.steps) for each in to_do]
    if jobs:
        LAUNCHERS[launcher](jobs, options)


def runs(recipe_name: str, settings: Sequence[str], grid: Sequence[str], folder: Path) -> list[Run]:
    """The runs of a sweep, each configuration once.

    Raises:
      UserError: a mistake in the recipe, in a setting or in the grid; nothing to do.
    """
    recipe = recipes.load_recipe(recipe_name)
    wanted = points(grid) if grid else [overrides.as_overrides(each) for each in recipes.sweep(recipe)]
    found: dict[str, Run] = {}
    for point in wanted:
        one = describe(recipe, settings, folder, point)
        found.setdefault(one.fingerprint, one.run)
    if not found:
        raise UserError(f"sweep() of {recipe_name} is empty; give --grid=NAME=VALUE,VALUE,...")
    return list(found.values())


def describe(recipe: Recipe, settings: Sequence[str], folder: Path, point: Sequence[str] = ()) -> Described:
    """The run of a recipe with some settings, in `folder`.

    Args:
      settings: of all runs.
      point: of this one.

    Raises:
      UserError: a mistake in the recipe or in a setting.
    """
    config = overrides.resolve(recipe, [*settings, *point])
    experiment, fingerprint = serialize.build(config), serialize.fingerprint(config)
    path = folder / default_name(recipe.path, fingerprint)
    made = Run((*settings, *point), " ".join(point) or "(as it is)", path, config.steps)
    return Described(made, experiment, fingerprint)


def points(grid: Sequence[str]) -> list[list[str]]:
    """`NAME=VALUE` overrides for each point of a grid, the last flag's values changing fastest.

    A flag is NAME=VALUE,VALUE,... or NAME=FIRST..LAST, whole numbers with both ends; or NAME,NAME=(VALUE,VALUE),... for
    values that go together.

    Raises:
      UserError: a flag that is none of these, or two of one name.
    """
    axes, names = [], []
    for text in grid:
        left, equals, right = text.partition("=")
        heads = [name.strip() for name in left.split(",")]
        values = split_values(right.strip())
        if not equals or not all(heads) or not values or not all(values):
            raise UserError(
                f"--grid={text} is no axis; write --grid=NAME=VALUE,VALUE or --grid=seed=0..4, or for values that go"
                " together --grid=NAME,NAME=(VALUE,VALUE),(VALUE,VALUE)"
            )
        if len(heads) == 1:
            axes.append([[f"{heads[0]}={value}"] for value in values])
        else:
            joint = [_tuple(text, value, heads) for value in values]
            axes.append([[f"{name}={value}" for name, value in zip(heads, each)] for each in joint])
        names += heads
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--grid has '{twice[0]}' twice; give all its values in one")
    return [list(itertools.chain(*point)) for point in itertools.product(*axes)]


def split_values(text: str) -> list[str]:
    """The values of an axis, as text: a range, or what commas outside of brackets and quotes divide."""
    if found := _RANGE.fullmatch(text):
        return [str(value) for value in range(int(found[1]), int(found[2]) + 1)]
    values, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        else:
            depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and not depth and not quote:
            values.append("")
        else:
            values[-1] += sign
    return [value.strip() for value in values]


def _tuple(axis: str, text: str, names: Sequence[str]) -> list[str]:
    values = split_values(text[1:-1]) if text.startswith("(") and text.endswith(")") else []
    if len(values) != len(names):
        raise UserError(f"--grid={axis}: '{text}' has no value for each of {', '.join(names)}; write (VALUE,VALUE)")
    return values


def command(recipe: str, run: Run) -> list[str]:
    """The command line that makes a run, from this folder."""
    program = str(recipes.repository_root() / "launch.py")
    settings = [f"--set={each}" for each in run.settings]
    return [sys.executable, program, f"--config={recipe}", *settings, f"--workdir={run.folder}"]
