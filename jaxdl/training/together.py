"""Training loop of several runs in one process: that of `jaxdl.training.loop`, for each run in its own folder."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import jax

from jaxdl.distributed.processes import begun, together
from jaxdl.errors import NonFinite
from jaxdl.signals import PRUNING
from jaxdl.training.interrupt import interruptible
from jaxdl.training.joint import JointProgram, report_of
from jaxdl.training.session import Session
from jaxdl.training.sources import Sources
from jaxdl.training.state import TrainState
from jaxdl.training.step import Report


class _Run:
    """Run with its state; a loss or gradient that is not finite ends it, and not the others."""

    def __init__(self, session: Session):
        self.session = session
        self.failure: NonFinite | None = None
        state, self.step = session.begin()
        self.state: TrainState = state

    @contextmanager
    def ends_alone(self) -> Iterator[None]:
        try:
            yield
        except NonFinite as error:
            self.failure = error


@contextmanager
def paused(runs: Sequence[_Run], activity: str) -> Iterator[None]:
    """Pauses the meters of all runs."""
    with ExitStack() as pauses:
        for run in runs:
            pauses.enter_context(run.session.meter.pause(activity))
        yield


class _InTurn:
    """Runs each step of every run by its own program."""

    def __init__(self, runs: Sequence[_Run], stack: ExitStack):
        self._runs = runs
        self._batches = [stack.enter_context(run.session.batches(run.step)) for run in runs]

    def step(self, step: int) -> None:
        for run, batches in zip(self._runs, self._batches):
            if run.failure is None:
                session = run.session
                with session.meter.data(session.busy):
                    batch = next(batches)
                with jax.transfer_guard("disallow"):
                    run.state, report = session.program.step(run.state, batch)
                with run.ends_alone():
                    session.report(step, report, session.program.diagnose(run.state) if session.logs(step) else None)

    def settle(self) -> None:
        """Does nothing: each run has its state."""


class _AtOnce:
    """Runs each step of all runs by one program."""

    def __init__(self, runs: Sequence[_Run], stack: ExitStack, program: JointProgram, sources: Sources):
        self._runs, self._program = runs, program
        self._pending: tuple[int, Report, jax.Array | None] | None = None
        start = time.perf_counter()
        with paused(runs, "compile"):
            _ = program.compiled
        for run in runs:
            run.session.compile_time = time.perf_counter() - start
        self._state = program.stack([run.state for run in runs])
        offset = runs[0].session.offset
        stream = program.batches(sources, offset).iterate(runs[0].step, program.place)
        self._batches = stack.enter_context(closing(stream))  # type: ignore[type-var]
        stack.enter_context(runs[0].session.hangs.begin(runs[0].step))

    def step(self, step: int) -> None:
        with ExitStack() as waits:
            for run in self._runs:
                waits.enter_context(run.session.meter.data(self._busy))
            _, batch = next(self._batches)
        with jax.transfer_guard("disallow"):
            self._state, report = self._program.step(self._state, batch)
        self._deliver()
        logs = self._runs[0].session.logs(step)
        self._pending = (step, report, self._program.diagnosing(self._state) if logs else None)

    def _busy(self) -> bool:
        arrays: list[Any] = [] if self._pending is None else list(self._pending[1].finite.values())
        return not all(array.is_ready() for array in arrays)

    def _deliver(self) -> None:
        """Hands the runs the report of the last step, which waits for it."""
        if self._pending is None:
            return
        step, report, diagnostics = self._pending
        report, diagnostics = jax.device_get((report, diagnostics))
        for number, run in enumerate(self._runs):
            if run.failure is None:
                with run.ends_alone():
                    own = None if diagnostics is None else diagnostics[number]
                    run.session.report(step, report_of(report, number), own)
        self._pending = None

    def settle(self) -> None:
        """Hands the runs their states and reports."""
        self._deliver()
        for run, state in zip(self._runs, self._program.split(self._state)):
            run.state = state


def train_together(
    sessions: Sequence[Session], joint: Callable[[Sequence[int]], JointProgram] | None, sources: Sources
) -> list[dict[str, Any] | NonFinite]:
    """Trains several runs to their last step, each from the newest checkpoint in its folder.

    After a kill the runs may be at different steps: those behind are trained first.

    Args:
      sessions: Sessions of runs with the same steps, which evaluate and save at the same steps.
      joint: Function from the numbers of some sessions to their program. None: they are trained in turn.
      sources: Loaded data of the runs.

    Returns:
      The content of result.json of each run, or the error that ended it.

    Raises:
      Preempted: A signal was received; the states are saved.
      UserError: A batch or a checkpoint does not match.
    """
    with together(), interruptible(PRUNING) as interrupt:
        for session in sessions:
            session.runs_together = len(sessions)
        runs = [_Run(session) for session in sessions]
        begun(sessions[0].folder.checkpoints, runs[0].step)
        steps = sessions[0].experiment.steps
        for run in runs:
            if run.step == steps and run.session.experiment.evaluate:
                # Killed before result.json was written, or shortened to this step.
                run.session.evaluate(run.step, run.state)
        while unfinished := [run for run in runs if run.step < steps and run.failure is None]:
            first = min(run.step for run in unfinished)
            group = [run for run in unfinished if run.step == first]
            until = min((run.step for run in unfinished if run.step > first), default=steps)
            with ExitStack() as stack:
                if joint is None:
                    stepper: _InTurn | _AtOnce = _InTurn(group, stack)
                else:
                    stepper = _AtOnce(group, stack, joint([runs.index(run) for run in group]), sources)
                _advance(group, stepper, until, interrupt)
        return [run.failure or run.session.finish(run.state) for run in runs]


def _advance(runs: Sequence[_Run], stepper: _InTurn | _AtOnce, until: int, interrupt: Any) -> None:
    """Trains runs at the same step to step `until`, or until all have failed."""
    experiment = runs[0].session.experiment
    last = experiment.steps
    for step in range(runs[0].step + 1, until + 1):
        stepper.step(step)
        for run in runs:
            run.step = step
        stop = interrupt.stops(step) and step < last
        evaluates = experiment.evaluates(step)
        saves = runs[0].session.saves(step) or stop
        if evaluates or saves or step == until:
            stepper.settle()
        if evaluates:
            with paused(runs, "evaluation"):
                for run in [run for run in runs if run.failure is None]:
                    with run.ends_alone():
                        run.session.evaluate(step, run.state)
        if saves:
            with paused(runs, "save"):
                for run in [run for run in runs if run.failure is None]:
                    with run.ends_alone():
                        run.session.save(step, run.state)
        if stop:
            for run in runs:
                run.session.checkpoints.wait()
            raise interrupt.exception(step)
        if all(run.failure is not None for run in runs):
            return
