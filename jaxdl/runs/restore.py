"""Restoring a trained run from its folder."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxdl.config import resolve
from jaxdl.config.experiment import Experiment, build
from jaxdl.config.serialize import accept, from_json
from jaxdl.config.settings import settings
from jaxdl.config.text import changes
from jaxdl.data.text.tokenizers import Tokenizer
from jaxdl.distributed.mesh import Parallel
from jaxdl.distributed.processes import is_first
from jaxdl.errors import UserError, warn
from jaxdl.runs import code, manifest
from jaxdl.runs.folder import RunFolder
from jaxdl.training.checkpoint import Checkpoints
from jaxdl.training.compiled import Program
from jaxdl.training.state import TrainState
from jaxdl.training.task import Task

if TYPE_CHECKING:
    import fiddle as fdl


class Trained(NamedTuple):
    """Trained experiment with its compiled functions and restored state.

    Attributes:
      experiment: Experiment of the run, with a mesh of the current devices.
      program: Its compiled functions.
      state: State of the checkpoint.
      record: JSON values of the checkpoint, with `datasets` and `batch` (shape and type of an example).
      tokenizers: Tokenizers by feature.
      bad: (step, reason) of preferred checkpoints that are damaged.
    """

    experiment: Experiment
    program: Program
    state: TrainState
    record: dict[str, Any]
    tokenizers: Mapping[str, Tokenizer]
    bad: list[tuple[int, str]]

    @property
    def task(self) -> Task:
        """Task of the evaluated parameters, see `Program`."""
        return self.program.task

    @property
    def names(self) -> dict[str, Sequence[str]]:
        """Class names and tokenizers by feature; the task's class names replace those of the data."""
        data = next((dataset["names"] for dataset in self.record["datasets"].values() if dataset["names"]), {})
        return {**data, **self.tokenizers, **self.task.class_names}


def load_trained(
    run: str | Path,
    step: int | None = None,
    settings: Sequence[str] = (),
    config: "fdl.Config | Experiment | None" = None,
) -> Trained:
    """Restores a run's checkpoint, without its data.

    Args:
      run: Run folder.
      step: Step of the checkpoint. None: the first intact one of those that `Experiment.select` prefers.
      settings: NAME=VALUE for paths in the configuration, such as `task.beam=8`. `ema=None` restores the parameters
        without averaging.
      config: Configuration or Experiment of the run, if its code has no file. None: the one in config.json.

    Raises:
      UserError: Not a run folder, a damaged file, code that is not trusted, no such step, no intact checkpoint, or a
        `config` of another run.
    """
    folder = RunFolder.open(run)
    folder.check()
    if not folder.checkpoints.is_dir():
        raise UserError(f"{run} has no checkpoint; train it until its first save")
    recipe = ""
    if config is None:
        saved = from_json(folder.config(), str(folder.path / "config.json"))
        config, recipe = saved.config, saved.recipe
    elif changes := changed_settings(folder, config):
        name, then, now = changes[0]
        raise UserError(f"{run} was trained with {name}={then}, but the experiment passed has {now}; pass its own")
    warn_of_changed_code(folder, code.digests(config, recipe))
    if isinstance(config, Experiment):
        if settings:
            raise UserError("settings need a recipe or config; change an Experiment with dataclasses.replace")
        experiment, kept = config, config.ema
    else:
        kept = build(config).ema
        experiment = build(resolve(config, settings))
    experiment = dataclasses.replace(experiment, parallel=Parallel(rules=experiment.parallel.rules))
    with Checkpoints(folder.checkpoints) as checkpoints, code.user_errors():
        record = checkpoints.newest_record(step)
        example = {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in record["batch"].items()}
        program = Program(dataclasses.replace(experiment, ema=kept), example)
        checkpoints.check_fit(program.abstract, step)
        restored = checkpoints.restore(program.abstract, preferred(checkpoints, experiment) if step is None else [step])
    if restored is None:
        raise UserError(f"{run} has no checkpoint; train it until its first save")
    tokenizers = {feature: Tokenizer.from_json(text) for feature, text in folder.tokenizers().items()}
    for number, reason in restored.bad:
        used = f"step {int(restored.state.step)} is used"
        warn(f"checkpoint of step {number} of {run} is damaged ({reason}); {used}")
    unaveraged = kept is not None and experiment.ema is None
    state = restored.state.replace(ema={}) if unaveraged else restored.state
    return Trained(experiment, program, state, restored.record, tokenizers, restored.bad)


def preferred(checkpoints: Checkpoints, experiment: Experiment) -> list[int]:
    """Returns the steps of a run in the order of preference, see `Experiment.select`; unranked ones last."""
    ranking = []
    if experiment.select == "best":
        ranking = checkpoints.ranking(experiment.keep, experiment.selectable)
    return [*ranking, *(step for step in reversed(checkpoints.steps) if step not in ranking)]


def trust_run(run: str | os.PathLike) -> None:
    """Trusts the code of a run as it is now, see `jaxdl.config.trust`. Raises UserError if it cannot be read."""
    folder = RunFolder.open(run)
    accept(folder.config(), str(folder.path / "config.json"))


def warn_of_changed_code(folder: RunFolder, modules: Mapping[str, str]) -> None:
    """Prints one line on standard error if modules outside jaxdl differ from those of a run's latest attempt.

    Args:
      folder: Run folder.
      modules: `jaxdl.runs.code.digests` of today.
    """
    if is_first() and (changed := manifest.changed_modules(folder, modules)):
        names = f"{', '.join(changed[:3])}{f' and {len(changed) - 3} more' if len(changed) > 3 else ''}"
        warn(f"the code of {folder.path} has changed since it was trained: {names}")


def changed_settings(folder: RunFolder, config: "fdl.Config | Experiment") -> list[tuple[str, str, str]]:
    """Lists the settings that change a run's numbers and differ from its config.txt: (path, then, now).

    Of an Experiment's closures only the names are compared.
    """
    return changes(folder.settings(), settings(config))
