"""Evaluation of checkpoints as they appear, for `jaxdl eval RUN --follow`."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.config.experiment import Experiment
from jaxdl.data.labels import align
from jaxdl.data.pipeline import eval_batches
from jaxdl.data.source import Source
from jaxdl.errors import check_packages, warn
from jaxdl.remote import check_writable
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.followed import Evaluations, checkpoint_digest
from jaxdl.runs.restore import Trained, load_trained
from jaxdl.training.checkpoint import DIGESTS, Checkpoints
from jaxdl.training.progress import Progress
from jaxdl.training.state import TrainState

POLL_SECONDS = 2.0


def follow(
    path: str,
    select: Callable[[Experiment], Mapping[str, Any]],
    settings: Sequence[str] = (),
    format: str = "text",
    whole: bool = True,
) -> None:
    """Evaluates every checkpoint of a run that exists or appears, until the run is finished.

    The evaluations are those of training: the test split only of the last step, or of the selected one. They are
    written to evaluations.jsonl in the run folder, from which a second call continues. Those of other splits or with
    `settings` are only printed.

    Args:
      path: Run folder.
      select: Returns the data sets to evaluate by name.
      settings: NAME=VALUE for paths in the run's configuration.
      format: "text", or "json" for one JSON object per checkpoint.
      whole: Whether the evaluations of the recipe are selected.

    Raises:
      UserError: Not a run folder, or its data do not fit.
    """
    check_writable(path, "give a local or mounted folder")
    folder = RunFolder.open(path)
    follower: _Follower | None = None
    waiting = False
    while True:
        result = folder.result()  # before the steps: a finished run saves no further one
        steps = saved_steps(folder)
        if follower is None and steps:
            follower = _Follower(folder, load_trained(path, steps[-1], settings), select, bool(settings), whole)
        if follower is not None:
            scored = None if result is None else result.get("selected_step", result["step"])
            for step in steps:
                follower.evaluate(step, scored, format)
        if result is not None:
            if format == "text":
                print(f"{path} is finished; its checkpoints are evaluated")
            return
        if not waiting and format == "text":
            print(f"waiting for checkpoints of {path}; Ctrl-C ends the command, which continues when run again")
            waiting = True
        time.sleep(POLL_SECONDS)


def saved_steps(folder: RunFolder) -> list[int]:
    """Returns the steps with a complete checkpoint, ascending."""
    return sorted(int(child.name) for child in folder.checkpoints.glob("*") if child.name.isdecimal())


class _Follower:
    def __init__(
        self,
        folder: RunFolder,
        trained: Trained,
        select: Callable[[Experiment], Mapping[str, Any]],
        changed: bool,
        whole: bool,
    ):
        check_packages(trained.experiment.task.packages, "The evaluation")
        self._folder, self._trained, self._whole = folder, trained, whole
        names = trained.record["datasets"]["train"]["names"]
        selected = select(trained.experiment)
        self._sources: dict[str, Source] = {
            name: align(dataset.load(), names, name) for name, dataset in selected.items()
        }
        self._evaluations = Evaluations(folder.path) if whole and not changed else None
        self._done: set[tuple[int, bool]] = set()
        self._progress = Progress(trained.experiment.steps)

    def evaluate(self, step: int, scored: int | None, format: str) -> None:
        """Evaluates the checkpoint of a step unless it was.

        Args:
          step: Step of the checkpoint.
          scored: Step whose test split is evaluated. None: the run is not finished.
          format: As in `follow`.
        """
        tested = step == scored
        if (step, tested) in self._done:
            return
        names = [name for name in self._sources if not self._whole or name != "test" or tested]
        with Checkpoints(self._folder.checkpoints) as checkpoints:
            try:
                digest = checkpoint_digest(checkpoints.record(step)[DIGESTS])
            except Exception as error:  # damaged files raise many types
                self._skip(step, str(error))
                return
            if self._evaluations is not None:
                names = [name for name in names if not self._evaluations.has(step, name, digest)]
            elif (step, False) in self._done:
                names = [name for name in names if self._whole and name == "test"]
            state = self._restored(checkpoints, step) if names else None
        self._done.add((step, tested))
        if state is None:
            return
        values = {name: self._score(state, name) for name in names}
        for name, figures in values.items():
            if self._evaluations is not None:
                self._evaluations.add(step, name, digest, figures)
            if format == "text":
                self._progress.evaluation(step, name, figures)
        if format == "json":
            finite = {n: {k: v if math.isfinite(v) else None for k, v in f.items()} for n, f in values.items()}
            print(json.dumps({"step": step, "metrics": finite}), flush=True)

    def _restored(self, checkpoints: Checkpoints, step: int) -> TrainState | None:
        program, experiment = self._trained.program, self._trained.experiment
        try:
            restored, bad = checkpoints.first_intact(program.abstract, [step])
        except Exception as error:
            if self._exists(step):
                raise
            restored, bad = None, [(step, str(error))]
        if restored is None:
            self._skip(step, bad[0][1])
            return None
        unaveraged = program.experiment.ema is not None and experiment.ema is None
        return restored.state.replace(ema={}) if unaveraged else restored.state

    def _skip(self, step: int, reason: str) -> None:
        """Reports a checkpoint that cannot be evaluated, once."""
        self._done |= {(step, False), (step, True)}
        if self._exists(step):
            time.sleep(POLL_SECONDS)  # it may be in the course of its deletion
        if self._exists(step):
            warn(f"checkpoint of step {step} is damaged ({' '.join(reason.split())[:200]}); it is not evaluated")
        else:
            warn(f"checkpoint of step {step} was deleted before it was evaluated; keep more with keep.latest")

    def _exists(self, step: int) -> bool:
        return (Path(self._folder.checkpoints) / str(step)).is_dir()

    def _score(self, state: TrainState, name: str) -> dict[str, float]:
        program, data = self._trained.program, self._trained.experiment.data
        source = self._sources[name]
        batches = eval_batches(source, program.eval_batch_size, data.eval_transforms, program.eval_rows)
        values = program.evaluate(state, batches, source.names)
        return {key: float(value) for key, value in values.items() if np.ndim(value) == 0}
