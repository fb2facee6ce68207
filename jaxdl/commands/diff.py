"""Compares the configurations of two runs."""

from pathlib import Path
from typing import TextIO

from absl.flags import FlagValues

from jaxdl.commands.flags import Command
from jaxdl.config.serialize import from_json
from jaxdl.config.settings import diff
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.table import print_table

COMMAND = Command(
    name="diff",
    summary="Compares the configurations of two runs",
    synopsis=("RUN RUN",),
    flags=(),
    example="jaxdl diff runs/a runs/b",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    show_diff(arguments[0], arguments[1])


def show_diff(run_a: str, run_b: str, stream: TextIO | None = None) -> None:
    """Prints the settings that differ between the configurations of two runs, one a line.

    Raises:
      UserError: A folder is not a run folder, or its configuration does not load.
    """
    a, b = (from_json(RunFolder.open(run).config(), str(Path(run) / "config.json")) for run in (run_a, run_b))
    lines = diff(a.config, b.config)
    if a.recipe != b.recipe:
        lines.insert(0, ("(recipe)", a.recipe, b.recipe))
    if lines:
        print_table(("path", run_a, run_b), lines, stream)
    else:
        print("the configurations are equal", file=stream)
