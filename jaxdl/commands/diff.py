"""Compares the configurations of two runs."""

from typing import TextIO

from absl.flags import FlagValues

from jaxdl.commands.flags import Command
from jaxdl.config.serialize import from_json
from jaxdl.config.settings import diff
from jaxdl.runs.code import changes
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.manifest import latest
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
    """Prints the settings and modules that differ between two runs, one a line.

    Raises:
      UserError: A folder is not a run folder, or its configuration does not load.
    """
    folders = RunFolder.open(run_a), RunFolder.open(run_b)
    a, b = (from_json(folder.config(), str(folder.path / "config.json")) for folder in folders)
    lines = diff(a.config, b.config)
    modules = [latest(folder.manifest(), "modules") or {} for folder in folders]
    lines += [(f"(code of {name})", then, now) for name, then, now in changes(*modules)]
    if a.recipe != b.recipe:
        lines.insert(0, ("(recipe)", a.recipe, b.recipe))
    if lines:
        print_table(("path", run_a, run_b), lines, stream)
    else:
        print("configurations and code are equal", file=stream)
