"""Draws the learning curves of several runs in one picture."""

from collections.abc import Sequence
from pathlib import Path

from absl.flags import FlagValues

from jaxdl.commands.flags import Command, Flag
from jaxdl.errors import UserError
from jaxdl.runs.files import write_png
from jaxdl.runs.folder import RunFolder

COMMAND = Command(
    name="curves",
    summary="Draws the learning curves of several runs in one picture",
    synopsis=("RUN... [--output=FILE.png]",),
    flags=(Flag("output", "Picture. By default curves.png.", value="FILE.png", instead=("workdir",)),),
    example="jaxdl curves runs/a runs/b --output=curves.png",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    print(draw_curves(arguments, flags.output))


def draw_curves(runs: Sequence[str], output: str | None = None) -> Path:
    """Writes the learning curves of several runs over time as one picture.

    Raises:
      UserError: A folder is not a run folder or contains no measurements, or the picture cannot be written.
    """
    from jaxdl.viz.curves import compared_curves

    picture = Path(output or "curves.png")
    if picture.suffix.lower() != ".png":
        raise UserError(f"--output={output} is not a PNG file; write --output={picture.with_suffix('.png')}")
    folders = [RunFolder.open(run) for run in runs]
    for folder in folders:
        folder.check()
    rows = {folder.path.name: folder.rows() for folder in folders}
    if len(rows) < len(runs):
        raise UserError("two run folders have the same name, which labels their curves; rename one")
    for run in runs:
        if not rows[Path(run).name]:
            raise UserError(f"{run} contains no measurements yet; wait for its first lines")
    return write_png(picture, compared_curves(rows))
