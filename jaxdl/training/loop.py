"""Training loop, in one fixed order: batch, step, report, evaluate, save, stop."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import jax
import numpy as np

from jaxdl.config.experiment import Experiment
from jaxdl.data.pipeline import Batches, eval_batches
from jaxdl.data.source import Source
from jaxdl.distributed.processes import begun, together
from jaxdl.errors import UserError, check_packages, nearest
from jaxdl.signals import PRUNING
from jaxdl.training.checkpoint import Checkpoints
from jaxdl.training.compiled import Program
from jaxdl.training.ids import check_sources
from jaxdl.training.interrupt import interruptible
from jaxdl.training.profiler import Profiler
from jaxdl.training.session import Session
from jaxdl.training.sources import Sources
from jaxdl.training.state import TrainState
from jaxdl.training.task import Evaluation, Task


def make_program(
    experiment: Experiment, sources: Sources, devices: Sequence[Any] | None = None, boxed: TrainState | None = None
) -> Program:
    """Creates the program of an experiment for the given or the local devices, with the data's batch shapes.

    Args as in `Program`.

    Raises:
      UserError: The mesh or the batch does not match the devices.
    """
    example = Batches(sources.train, experiment.data, experiment.seed, rows=slice(0, 1)).at(0)
    program = Program(experiment, example, devices, boxed)
    _ = program.rows
    return program


def check(program: Program, sources: Sources) -> None:
    """Checks before training that models fit data: shapes and metrics of evaluations, and an output for every id.

    Raises:
      UserError: They do not fit, settings of task and data contradict each other, or `keep.metric` is not a metric of
        the task.
    """
    experiment = program.experiment
    experiment.task.check_data(experiment.data)
    kept, _, metric = (experiment.keep.metric or "").partition("/")
    for split, source in sources.evals.items():
        with closing(eval_batches(source, 1, experiment.data.eval_transforms)) as batches:
            evaluation = program.trace_evaluation(next(batches))
        names = {name for name, (total, _) in evaluation.metrics.items() if total.shape == ()}
        if split == kept and metric not in names:
            scored = _scored(experiment.task, evaluation, source)
            if scored is None or metric in scored:
                continue
            names |= scored
            raise UserError(f"keep.metric: the evaluation '{split}' has no metric '{metric}'; {nearest(metric, names)}")
    check_sources(sources, experiment.data, program.id_ranges)


def _scored(task: Task, evaluation: Evaluation, source: Source) -> set[str] | None:
    """Returns the metrics of `Task.score`, called with zeros in the shapes of an evaluation.

    None where it is undefined for zeros: then `Checkpoints.save` checks `keep.metric` after the first evaluation.
    """
    if task.score is None:
        return set()
    records = {name: np.zeros(spec.shape, spec.dtype) for name, spec in evaluation.records.items()}
    means = {name: np.zeros(total.shape) for name, (total, _) in evaluation.metrics.items()}
    level = logging.root.manager.disable
    logging.disable()  # a warning of mode collapse would concern the zeros
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return set(task.score(records, means, {**source.names, **task.class_names}))
    except Exception:  # such as average precision without boxes
        return None
    finally:
        logging.disable(level)


def train(
    experiment: Experiment,
    folder: Any,
    progress: Any,
    sources: Sources,
    *,
    identity: Mapping[str, Any],
    wall: Callable[[], float],
    program: Program | None = None,
    profiler: Profiler | None = None,
) -> tuple[TrainState, dict[str, Any]]:
    """Trains from the newest checkpoint in the folder, or from the start, to `experiment.steps`.

    Args:
      experiment: Experiment to train.
      folder: `jaxdl.runs.folder.RunFolder`, open for writing.
      progress: `jaxdl.training.progress.Progress`.
      sources: Loaded data of the experiment.
      identity: JSON values for every checkpoint, which a resumed run must match.
      wall: Returns the wall time of the run over all attempts, seconds.
      program: Compiled experiment. None: it is created.
      profiler: Traces some steps. None: none.

    Returns:
      The final state, and the content of result.json.

    Raises:
      Preempted: A signal was received; the state is saved.
      NonFinite: A loss or gradient was not finite; the last finite checkpoint is kept.
      UserError: A batch, mesh or checkpoint does not match, or a package of the evaluation is not installed.
    """
    if sources.evals and experiment.evaluate:
        check_packages(experiment.task.packages, "The evaluation")
    program = program or make_program(experiment, sources)
    with ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(folder.checkpoints, experiment.keep, experiment.scheduled))
        stack.enter_context(together())
        session = Session(experiment, program, sources, folder, progress, checkpoints, identity, wall)
        interrupt = stack.enter_context(interruptible(PRUNING))
        state, start = session.begin()
        begun(folder.checkpoints, start)
        if start == experiment.steps and experiment.evaluate:
            # Killed before result.json was written, or shortened to this step.
            session.evaluate(start, state)
        batches = stack.enter_context(session.batches(start))
        profiler = stack.enter_context(profiler or Profiler())
        for step in profiler.steps(start, experiment.steps, session.flush, program.hlo, session.meter.pause):
            with session.meter.data(session.busy):
                batch = next(batches)
            with jax.transfer_guard("disallow"):
                state, report = program.step(state, batch)
            session.report(step, report, program.diagnose(state) if session.logs(step) else None)
            stop = interrupt.stops(step) and step < experiment.steps
            if experiment.evaluates(step):
                session.evaluate(step, state)
            if session.saves(step) or stop:
                session.save(step, state)
            if stop:
                checkpoints.wait()
                raise interrupt.exception(step)
        return state, session.finish(state)
