"""Compares the configurations of two runs."""

from typing import TextIO

from absl.flags import FlagValues

from jaxdl.commands.flags import Command
from jaxdl.config.text import differences
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.manifest import changes, latest
from jaxdl.runs.table import print_table

COMMAND = Command(
    name="diff",
    summary="Compares the configurations of two runs",
    synopsis=("RUN RUN",),
    flags=(),
    example="jaxdl diff runs/a runs/b",
    needs="nothing",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    show_diff(arguments[0], arguments[1])


def show_diff(run_a: str, run_b: str, stream: TextIO | None = None) -> None:
    """Prints the settings and modules that differ between two runs, one a line. Their code is not imported.

    Raises:
      UserError: A folder is not a run folder, or a file of it is damaged.
    """
    folders = RunFolder.open(run_a), RunFolder.open(run_b)
    lines = differences(*(folder.settings() for folder in folders))
    manifests = [folder.manifest() for folder in folders]
    modules = [latest(manifest, "modules") or {} for manifest in manifests]
    lines += [(f"(code of {name})", then, now) for name, then, now in changes(*modules)]
    recipes = [str(latest(manifest, "recipe")) for manifest in manifests]
    if recipes[0] != recipes[1]:
        lines.insert(0, ("(recipe)", recipes[0], recipes[1]))
    if lines:
        print_table(("path", run_a, run_b), lines, stream)
    else:
        print("configurations and code are equal", file=stream)
