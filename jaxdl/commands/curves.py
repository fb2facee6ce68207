"""Draws the learning curves of several runs in one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl.flags import FlagValues

from jaxdl.commands.flags import Command, Flag
from jaxdl.errors import UserError, warn
from jaxdl.runs.files import write_png
from jaxdl.runs.folder import RunFolder

COMMAND = Command(
    name="curves",
    summary="Draws the learning curves of several runs in one picture",
    synopsis=("RUN... [--output=FILE.png]",),
    flags=(Flag("output", "Picture. By default curves.png.", value="FILE.png", instead=("workdir",)),),
    example="jaxdl curves runs/a runs/b --output=curves.png",
    needs="nothing",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    print(draw_curves(arguments, flags.output))


def draw_curves(runs: Sequence[str], output: str | None = None) -> Path:
    """Writes the learning curves of several runs over time as one picture.

    A damaged run is named on standard error and left out, unless it is the only one.

    Raises:
      UserError: A folder is not a run folder, no run is intact and has measurements, or the picture cannot be written.
    """
    from jaxdl.viz.curves import compared_curves

    picture = Path(output or "curves.png")
    if picture.suffix.lower() != ".png":
        raise UserError(f"--output={output} is not a PNG file; write --output={picture.with_suffix('.png')}")
    rows: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        folder = RunFolder.open(run)
        name = folder.path.absolute().name
        if name in rows:
            raise UserError("two run folders have the same name, which labels their curves; rename one")
        try:
            folder.check()
            rows[name] = folder.rows()
        except UserError as error:
            if len(runs) == 1:
                raise
            warn(f"{run} is left out: {error}")
            continue
        if not rows[name]:
            raise UserError(f"{run} contains no measurements yet; wait for its first lines")
    if not rows:
        raise UserError("all runs are damaged; restore their files, see: jaxdl verify RUN")
    return write_png(picture, compared_curves(rows), "curves")
