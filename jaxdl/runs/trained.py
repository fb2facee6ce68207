"""A trained run, read back from its folder: for eval, predict and all that uses a model."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl import configuration
from jaxdl.errors import UserError
from jaxdl.experiment import Experiment
from jaxdl.parallel.mesh import Parallel
from jaxdl.runs.folder import RunFolder
from jaxdl.training.checkpoint import Checkpoints
from jaxdl.training.program import Program
from jaxdl.training.state import TrainState


class Trained(NamedTuple):
    """
    Attributes:
      experiment: as the run was configured, laid out over the devices that are here now.
      program: its compiled functions.
      state: the checkpoint's state.
      record: what was saved beside it; `datasets` and `batch` (shape and type of an example) among it.
      bad: (step, reason) of newer checkpoints that did not verify.
    """

    experiment: Experiment
    program: Program
    state: TrainState
    record: dict[str, Any]
    bad: list[tuple[int, str]]

    @property
    def names(self) -> dict[str, Sequence[str]]:
        """Class names by feature: the data's, and the task's own where it has them."""
        data = next((each["names"] for each in self.record["datasets"].values() if each["names"]), {})
        return {**data, **self.experiment.task.names}


def load_trained(run: str | Path, step: int | None = None) -> Trained:
    """Restores a run's checkpoint, without its data.

    Args:
      run: the run folder.
      step: the checkpoint; None for the newest that verifies.

    Raises:
      UserError: not a run folder, no such step, or no checkpoint that verifies.
    """
    folder = RunFolder.open(run)
    if not folder.checkpoints.is_dir():
        raise UserError(f"{run} has no checkpoints: it was stopped before its first save; train it first")
    saved = configuration.from_json(folder.config(), str(folder.path / "config.json"))
    experiment = configuration.build(saved.config)
    experiment = dataclasses.replace(experiment, parallel=Parallel(rules=experiment.parallel.rules))
    with Checkpoints(folder.checkpoints) as checkpoints:
        record = checkpoints.newest_record(step)
        example = {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in record["batch"].items()}
        program = Program(experiment, example)
        restored = checkpoints.restore(program.abstract, step)
    if restored is None:
        raise UserError(f"{run} has no checkpoints: it was stopped before its first save; train it first")
    return Trained(experiment, program, restored.state, restored.record, restored.bad)
