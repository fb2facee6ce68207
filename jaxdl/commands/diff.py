"""`launch.py diff`: settings that differ between two runs."""

from pathlib import Path
from typing import TextIO

from jaxdl.commands.list import print_table
from jaxdl.config.serialize import diff, from_json
from jaxdl.runs.folder import RunFolder


def show_diff(run_a: str, run_b: str, stream: TextIO | None = None) -> None:
    """Prints a line for every argument that differs between the configurations of two runs.

    Raises:
      UserError: one of the folders holds no run, or its configuration does not load.
    """
    a, b = (from_json(RunFolder.open(run).config(), str(Path(run) / "config.json")) for run in (run_a, run_b))
    lines = diff(a.config, b.config)
    if a.recipe != b.recipe:
        lines.insert(0, ("(recipe)", a.recipe, b.recipe))
    if lines:
        print_table(("path", run_a, run_b), lines, stream)
    else:
        print("the configurations are equal", file=stream)
