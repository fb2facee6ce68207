"""`launch.py curves`: learning curves of several runs in one picture."""

from collections.abc import Sequence
from pathlib import Path

from jaxdl.errors import UserError
from jaxdl.runs.files import write_png
from jaxdl.runs.folder import RunFolder


def draw_curves(runs: Sequence[str], output: str) -> Path:
    """Writes the learning curves of several runs, over the time that they took, as one picture.

    Raises:
      UserError: a folder holds no run or no measurement, or the picture cannot be written.
    """
    from jaxdl.viz.curves import compared_curves

    told = {Path(run).name: RunFolder.open(run).rows() for run in runs}
    if len(told) < len(runs):
        raise UserError("two of the runs' folders have one name; their names tell the curves apart")
    for run in runs:
        if not told[Path(run).name]:
            raise UserError(f"{run} has measured nothing yet; wait for its first lines")
    return write_png(Path(output or "curves.png"), compared_curves(told))
