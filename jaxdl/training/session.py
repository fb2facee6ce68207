"""Training session: the operations of the loop around the step (begin, report, evaluate, save, finish)."""

import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxdl.config.experiment import Experiment
from jaxdl.data.pipeline import eval_batches
from jaxdl.distributed.hardware import matrix_gflops, peak_flops
from jaxdl.errors import UserError
from jaxdl.training.checkpoint import Checkpoints
from jaxdl.training.compiled import Program
from jaxdl.training.digest import state_digest
from jaxdl.training.flops import mfu
from jaxdl.training.hangs import HangWatch
from jaxdl.training.memory import memory_in_use
from jaxdl.training.meters import Meter
from jaxdl.training.reports import Window, check_finite
from jaxdl.training.sources import Sources, training_batches
from jaxdl.training.spikes import skipped_updates
from jaxdl.training.state import TrainState
from jaxdl.training.step import Report

PICTURED = 24  # examples in pictures


class Session:
    """Attempt at a run: its compiled program, data, metrics and output files."""

    def __init__(
        self,
        experiment: Experiment,
        program: Program,
        sources: Sources,
        folder: Any,
        progress: Any,
        checkpoints: Checkpoints,
        identity: Mapping[str, Any],
        wall: Callable[[], float],
    ):
        """Args as in `jaxdl.training.loop.train`."""
        self.experiment, self.program, self.sources = experiment, program, sources
        self.folder, self.progress, self.checkpoints = folder, progress, checkpoints
        self.identity, self.wall = dict(identity), wall
        total = wall()
        early = time.monotonic() - folder.attempt_start
        self.meter, self.window = Meter({"start_up": early}), Window(None, program.diagnostics)
        self.earlier = max(0.0, total - early)  # seconds of earlier attempts
        self.compile_time: float | None = None  # until its row is written
        self.saved_at = time.monotonic()
        self.tokens = experiment.task.token_count(program.batch_shape)
        self.pending: deque[tuple[int, Report, jax.Array | None]] = deque()
        self.hangs = HangWatch(folder.path, self.meter.active_seconds)
        self.metrics: dict[str, dict[str, float]] = {}  # of every evaluation at `evaluated_at`
        self.evaluated_at = -1
        self.selected: dict[str, Any] | None = None  # step and metrics of the scored checkpoint, of select="best"
        self.runs_together = 1  # runs that share the process, so that `seconds` is the time of all
        self.offset = 0  # examples seen minus step * batch_size, after resumes with another batch size

    def begin(self) -> tuple[TrainState, int]:
        """Restores the newest intact checkpoint, or initializes; returns the state and its step."""
        with self.meter.pause("start_up"):
            return self._begin()

    def _begin(self) -> tuple[TrainState, int]:
        self._check_rows()
        restored = self.checkpoints.restore(self.program.abstract)
        if restored is None:
            state, step = self.program.init(), 0
            if self.experiment.start is not None:
                state = self.program.restart_optimizers(self.experiment.start.load(state))
                self.identity["start_digest"] = state_digest({"params": state.params, "variables": state.variables})[1]
            self.folder.rewind(-1)
            self.meter.add({"lost": self.earlier})
        else:
            state, step = restored.state, int(restored.state.step)
            if step > self.experiment.steps:
                raise UserError(
                    f"the run is at step {step}, beyond steps={self.experiment.steps}; use steps={step} or more"
                )
            for number, reason in restored.bad:
                self.progress.line(f"checkpoint of step {number} is damaged ({reason}); step {step} is used")
            if restored.bad:
                self.checkpoints.set_aside([number for number, _ in restored.bad])
            self.folder.rewind(step)
            if "start_digest" in restored.record:
                self.identity["start_digest"] = restored.record["start_digest"]
            self.window = Window(restored.record["window"], self.program.diagnostics)
            self.metrics, self.evaluated_at = restored.record["metrics"], restored.record["evaluated_at"]
            self.selected = restored.record.get("selected") if step == self.experiment.steps else None
            self.offset = restored.record["examples_seen"] - step * self.experiment.data.batch_size
            self.meter.add(self._spent_before(restored.record))
            self.progress.line(f"resuming from step {step}")
        return state, step

    def _spent_before(self, record: Mapping[str, Any]) -> dict[str, float]:
        """Returns the seconds of earlier attempts by activity: those up to the checkpoint, and the lost ones."""
        if "spent" not in record:  # an older checkpoint
            useful = record["useful_seconds"]
            return {"step": useful, "other": max(0.0, self.earlier - useful)}
        spent = dict(record["spent"])
        return {**spent, "lost": spent.get("lost", 0.0) + max(0.0, self.earlier - sum(spent.values()))}

    def _check_rows(self) -> None:
        """Refuses another batch size in a run whose rows carry a state from step to step.

        Raises:
          UserError: The checkpoint has another batch size.
        """
        data = self.experiment.data
        carried = data.order == "streams" or bool(jax.tree.leaves(self.program.abstract.carry))
        if not carried or self.checkpoints.latest is None:
            return
        before = self.checkpoints.newest_record().get("batch_size", data.batch_size)
        if before != data.batch_size:
            raise UserError(
                f"data.batch_size was {before} and is {data.batch_size}, but the rows of this run carry a state from"
                f" step to step; resume it with data.batch_size={before}, or give another --workdir"
            )

    def _compile(self) -> None:
        """Compiles the train step and the diagnostics, and prints their cost, unless another run has compiled them."""
        if self.program.is_compiled:
            return
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.program.abstract.params))
        devices = self.program.mesh.devices.flatten()
        kind = "CPU" if devices[0].platform == "cpu" else devices[0].device_kind
        self.progress.line(f"{parameters:,} parameters on {len(devices)} x {kind}; compiling the train step")
        start = time.perf_counter()
        with self.meter.pause("compile"):
            _ = self.program.compiled, self.program.diagnosing
        self.compile_time = time.perf_counter() - start
        self.progress.line(f"compiled in {self.compile_time:.1f} s")

    @contextmanager
    def batches(self, start: int) -> Iterator[Iterator[Mapping[str, jax.Array]]]:
        """Iterates over training batches from step `start`, transferred to the devices ahead of time."""
        experiment = self.experiment
        host = training_batches(self.sources.train, experiment, self.program.rows, self.offset)
        stream = host.iterate(start, self.program.place)
        try:
            self._compile()
            with self.meter.pause("start_up"):
                first = [next(stream)] if start < experiment.steps else []
            self.saved_at = time.monotonic()
            with self.hangs.begin(start):
                yield (batch for _, batch in itertools.chain(first, stream))
        finally:
            stream.close()

    def busy(self) -> bool:
        """Returns whether the devices still compute the last step."""
        finite: list[Any] = list(self.pending[-1][1].finite.values()) if self.pending else []
        return not all(array.is_ready() for array in finite)

    def logs(self, step: int) -> bool:
        """Returns whether training metrics are written after this step."""
        return step % self.experiment.log_every == 0 or step == self.experiment.steps

    def report(self, step: int, report: Report, diagnostics: jax.Array | None) -> None:
        """Queues the report of the current step and reads that of the previous step, which is complete.

        Args:
          step: Current step.
          report: Its report.
          diagnostics: `Program.diagnose` of the state after it. None if it is not logged.
        """
        self.meter.step(self.experiment.data.batch_size, self.tokens)
        self.progress.advance(step)
        self.pending.append((step, report, diagnostics))
        if len(self.pending) > 1:
            self._read_oldest()
        self.hangs.step(step)

    def _read_oldest(self) -> None:
        step, report, values = self.pending.popleft()
        report, values = jax.device_get((report, values))
        if self.experiment.nonfinite == "stop":
            check_finite(self.experiment.task, self.program.abstract.params, step, report)
        self.window.add(report)
        if values is not None:
            figures = {**self.window.take(), **self.program.diagnostics.values(values), **self._speed()}
            self.folder.write(step, "train", figures)
            self.progress.report(step, figures)

    def flush(self) -> None:
        """Reads all pending reports, which waits for the last step."""
        while self.pending:
            self._read_oldest()

    def _speed(self) -> dict[str, float]:
        speed = self.meter.report()
        peak = peak_flops(jax.devices()[0].device_kind)
        work = self.program.flops
        share = mfu(work, speed["step_time"], self.program.mesh.size, peak) if "step_time" in speed else None
        first = {} if self.compile_time is None else {"compile_time": self.compile_time}
        self.compile_time = None
        speed |= {} if work is None else {"flops": work}
        return speed | ({} if share is None else {"mfu": share}) | first | memory_in_use()

    def evaluate(self, step: int, state: TrainState) -> None:
        """Runs every evaluation, the test split only after the last step, and draws the pictures."""
        self.flush()
        if self.evaluated_at != step:
            self.metrics = {}
        last, best = step == self.experiment.steps, self.experiment.select == "best"
        # After a resume some or all evaluations of the step may be done.
        due = [name for name in self.sources.evals if name != "test" or (last and not best)]
        names = [name for name in due if name not in self.metrics]
        with self.meter.pause("evaluation"):
            values = {name: self._score(state, name) for name in names}
            for name, metrics in values.items():
                self.metrics[name] = _scalars(metrics)
                self.folder.write(step, name, self.metrics[name])
                self.progress.evaluation(step, name, self.metrics[name])
            self.evaluated_at = step
            if names and self.experiment.task.presentation.pictures is not None:
                self._draw(step, state, names[-1], values[names[-1]])
            if last and best and self.selected is None:
                self._score_best(step, state)

    def _score_best(self, step: int, state: TrainState) -> None:
        """Scores the test split on the best evaluated checkpoint, before the last step is saved.

        The metrics are those of step `step`, so that a kill before the last save removes them (`RunFolder.rewind`).
        """
        keep = self.experiment.keep
        self.checkpoints.wait()
        ranking = self.checkpoints.ranking(keep, self.experiment.selectable, {step: self.metrics})
        if ranking == []:
            self.progress.line(f"{keep.metric} is finite at no evaluated checkpoint; the last step is selected")
        better = list(itertools.takewhile(lambda candidate: candidate != step, ranking))
        restored, bad = self.checkpoints.first_intact(self.program.abstract, better)
        state, metrics = (state, self.metrics) if restored is None else (restored.state, restored.record["metrics"])
        chosen = int(state.step)
        for number, reason in bad:
            self.progress.line(f"checkpoint of step {number} is damaged ({reason}); step {chosen} is selected")
        if bad:
            self.checkpoints.set_aside([number for number, _ in bad])
        self.progress.line(f"step {chosen} is selected by {keep.metric}")
        self.selected = {"step": chosen, "metrics": {name: metrics[name] for name in metrics if name != "test"}}
        if "test" in self.sources.evals:
            values = self._score(state, "test")
            self.selected["metrics"]["test"] = _scalars(values)
            self.folder.write(step, "test", {**_scalars(values), "selected_step": chosen})
            self.progress.evaluation(chosen, "test", _scalars(values))
            if self.experiment.task.presentation.pictures is not None:
                self._draw(step, state, "test", values)

    def _eval_batches(self, name: str) -> Iterator[Mapping[str, np.ndarray]]:
        data, size = self.experiment.data, self.program.eval_batch_size
        return eval_batches(self.sources.evals[name], size, data.eval_transforms, rows=self.program.eval_rows)

    def _score(self, state: TrainState, name: str) -> dict[str, Any]:
        return self.program.evaluate(state, self._eval_batches(name), self.sources.evals[name].names)

    def _draw(self, step: int, state: TrainState, name: str, metrics: Mapping[str, Any]) -> None:
        pictures = self.experiment.task.presentation.pictures
        assert pictures is not None
        batch = next(iter(self._eval_batches(name)))
        outputs = self.program.predict(state, batch)
        batch, outputs = ({key: value[:PICTURED] for key, value in tree.items()} for tree in (batch, outputs))
        names = {**self.sources.evals[name].names, **self.experiment.task.class_names}
        for key, image in pictures(batch, outputs, metrics, names).items():
            self.folder.picture(step, f"{name}_{key}", image)

    def saves(self, step: int) -> bool:
        """Returns whether the state is saved after this step, the same on all processes."""
        experiment = self.experiment
        if step % experiment.save_every == 0 or step == experiment.steps:
            return True
        if experiment.save_minutes is None:
            return False
        due = time.monotonic() - self.saved_at >= 60 * experiment.save_minutes
        if jax.process_count() == 1:
            return due
        # The clocks of the processes differ, so the first one decides, which costs a collective operation.
        return self.logs(step) and bool(multihost_utils.broadcast_one_to_all(np.int32(due)))

    def save(self, step: int, state: TrainState) -> None:
        """Saves a checkpoint after reading all reports, so that a nonfinite state is never saved."""
        self.flush()
        with self.meter.pause("save"):
            shapes = self.program.batch_shape.items()
            record = {
                **self.identity,
                "batch": {name: [[*spec.shape[1:]], str(spec.dtype)] for name, spec in shapes},
                "evaluated": self._evaluated,
                "metrics": self.metrics,
                "evaluated_at": self.evaluated_at,
                "selected": self.selected,
                "window": self.window.sums,
                "spent": self.meter.spent,
                "batch_size": self.experiment.data.batch_size,
                "examples_seen": self.offset + step * self.experiment.data.batch_size,
            }
            self.folder.seal_metrics()
            self.checkpoints.save(state, record)
        self.saved_at = time.monotonic()

    @functools.cached_property
    def _evaluated(self) -> dict[str, dict[str, Any]]:
        """Shape and type of the examples of each evaluation; prediction brings files to them."""
        specs = {}
        for name, source in self.sources.evals.items():
            batch = next(eval_batches(source, 1, self.experiment.data.eval_transforms), {})
            specs[name] = {key: [[*value.shape[1:]], str(value.dtype)] for key, value in batch.items()}
        return specs

    def _seen(self, step: int) -> dict[str, int]:
        """Examples of all steps, repetitions included, and their tokens for tasks with tokens."""
        batch = self.experiment.data.batch_size
        examples = step * batch + self.offset
        return {"examples": examples, **({"tokens": examples * self.tokens // batch} if self.tokens else {})}

    def finish(self, state: TrainState) -> dict[str, Any]:
        """Writes the learning curves and result.json after the last checkpoint is on disk."""
        from jaxdl.viz.curves import learning_curves

        with self.meter.pause("save"):
            self.checkpoints.wait()
        spent = self.meter.spent
        step = int(state.step)
        self.folder.picture(step, "learning_curves", learning_curves(self.folder.rows()))
        seconds, flops = self.wall(), self.program.flops
        useful = spent.pop("step")
        spent["other"] = spent.get("other", 0.0) + max(0.0, seconds - useful - sum(spent.values()))
        chosen = {} if self.selected is None else {"selected_step": self.selected["step"]}
        result = {
            "step": step,
            **chosen,
            "metrics": self.metrics if self.selected is None else self.selected["metrics"],
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
            **self._seen(step),
            "seconds": seconds,
            **({"together": self.runs_together} if self.runs_together > 1 else {}),
            "tflop": None if flops is None else 1e-12 * flops * step,
            "gflops": matrix_gflops(),
            "goodput": min(1.0, useful / seconds),  # a clock that was set back shortens a killed attempt
            "badput": spent,
            **{name: value for name, value in memory_in_use().items() if name == "device_memory_peak"},
            **({} if (spikes := skipped_updates(state.opt_state)) is None else {"spikes_skipped": spikes}),
            "state_digest": digest(state),
            **{name: value for name, value in self.identity.items() if name == "start_digest"},
        }
        self.folder.finish(result)
        return result


def _scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if np.ndim(value) == 0}


def digest(state: TrainState) -> str:
    """Returns the SHA-256 of parameters, variables, optimizer state and moving average."""
    parts = {"params": state.params, "variables": state.variables, "opt_state": state.opt_state, "ema": state.ema}
    return state_digest(parts)[1]
