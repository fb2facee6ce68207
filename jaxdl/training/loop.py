"""The training loop, in one fixed order: batch, step, report, evaluate, save; then stop or go on."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import jax

from jaxdl.config.experiment import Experiment
from jaxdl.data.pipeline import Batches
from jaxdl.distributed.processes import begun, together
from jaxdl.training.checkpoint import Checkpoints
from jaxdl.training.compiled import Program
from jaxdl.training.interrupt import Preempted, interruptible
from jaxdl.training.session import Session
from jaxdl.training.sources import Sources
from jaxdl.training.state import TrainState


def make_program(experiment: Experiment, sources: Sources, devices: Sequence[Any] | None = None) -> Program:
    """The experiment compiled for the devices here, its batches shaped like those of the data.

    Raises:
      UserError: a mesh or a batch that does not fit the devices.
    """
    example = Batches(sources.train, experiment.data, experiment.seed, rows=slice(0, 1)).at(0)
    program = Program(experiment, example, devices)
    _ = program.rows
    return program


def train(
    experiment: Experiment,
    folder: Any,
    progress: Any,
    sources: Sources,
    *,
    identity: Mapping[str, Any],
    wall: Callable[[], float],
    program: Program | None = None,
) -> tuple[TrainState, dict[str, Any]]:
    """Trains from the newest checkpoint in the folder, or from the start, to `experiment.steps`.

    Args:
      folder: a `jaxdl.runs.folder.RunFolder`, open for writing.
      progress: a `jaxdl.training.progress.Progress`.
      sources: the experiment's data, loaded.
      identity: JSON values saved in every checkpoint: what a resume must agree with.
      wall: seconds that the run has been up so far, over all its attempts.
      program: the compiled experiment, where the caller has it already.

    Returns:
      the final state, and what result.json holds.

    Raises:
      Preempted: a signal came; the state is saved.
      NonFinite: a loss or gradient was not finite; the last good checkpoint is kept.
      UserError: a batch, mesh or checkpoint that does not fit.
    """
    program = program or make_program(experiment, sources)
    with ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(folder.checkpoints, experiment.keep))
        stack.enter_context(together())
        session = Session(experiment, program, sources, folder, progress, checkpoints, identity, wall)
        interrupt = stack.enter_context(interruptible())
        state, start = session.begin()
        begun(folder.checkpoints, start)
        batches = stack.enter_context(session.batches(start))
        for step in range(start + 1, experiment.steps + 1):
            with session.meter.data(session.busy):
                batch = next(batches)
            with jax.transfer_guard("disallow"):
                state, report = program.step(state, batch)
            session.report(step, report)
            stop = interrupt.stops(step) and step < experiment.steps
            if step % experiment.eval_every == 0 or step == experiment.steps:
                session.evaluate(step, state)
            if step % experiment.save_every == 0 or step == experiment.steps or stop:
                session.save(step, state)
            if stop:
                checkpoints.wait()
                raise Preempted(f"{interrupt.received} after step {step}; saved, run the same command to go on")
        return state, session.finish(state)
