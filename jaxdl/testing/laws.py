"""The laws: what must hold for every recipe, checked on its `tiny()`. Each raises AssertionError where it is broken.

`tests/test_laws.py` holds every recipe to every law; `tests/test_mutations.py` breaks the code on purpose and asks each
law to notice.
"""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import fiddle as fdl
import jax
import numpy as np
from fiddle import daglish

from jaxdl.config.experiment import Experiment
from jaxdl.data.pipeline import Batches, eval_batches
from jaxdl.distributed.mesh import Parallel
from jaxdl.runs.folder import RunFolder
from jaxdl.training.compiled import Program
from jaxdl.training.loop import make_program, train
from jaxdl.training.progress import Progress
from jaxdl.training.session import digest
from jaxdl.training.sources import Sources, load_sources
from jaxdl.training.state import TrainState
from jaxdl.viz.presentation import Presentation


class Bench:
    """An experiment with its data and compiled programs, one for each layout, shared by the laws."""

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self.sources: Sources = load_sources(experiment.data)
        self._programs: dict[str, Program] = {}
        self._start: TrainState | None = None

    def program(self, name: str = "one", devices: int = 1, **changes: Any) -> Program:
        """The program called `name`, made with `changes` to the experiment the first time."""
        if name not in self._programs:
            experiment = dataclasses.replace(self.experiment, **changes)
            self._programs[name] = make_program(experiment, self.sources, jax.devices()[:devices])
        return self._programs[name]

    def start(self, program: Program) -> TrainState:
        """The state before the first step, laid out for `program`; drawn once, for compiling `init` takes long."""
        if self._start is None:
            self._start = jax.device_get(self.program().init())
        return jax.tree.map(
            lambda leaf, spec: jax.device_put(np.array(leaf), spec.sharding), self._start, program.abstract
        )

    def steps(self, program: Program, count: int, state: TrainState | None = None) -> tuple[TrainState, np.ndarray]:
        """Makes `count` steps from `state` (or the start). Returns the state and the losses [count, phases]."""
        state = self.start(program) if state is None else state
        start = int(state.step)
        batches = Batches(self.sources.train, program.experiment.data, program.experiment.seed, rows=program.rows)
        losses = []
        for step in range(start, start + count):
            state, report = program.step(state, program.place(batches.at(step)))
            losses.append([float(figures["loss"]) for figures in jax.device_get(report).figures.values()])
        return state, np.array(losses)


def law_repeatable(bench: Bench, steps: int = 4) -> None:
    """1. The same run twice is bitwise equal."""
    program = bench.program()
    first, second = (digest(bench.steps(program, steps)[0]) for _ in range(2))
    assert first == second, "two runs of the same experiment differ"


class Killed(BaseException):
    """Stands for kill -9: nobody catches it."""


class KillerProgress(Progress):
    """Kills the run when it reports a step."""

    def __init__(self, total: int, at: int):
        super().__init__(total, file=io.StringIO())
        self._at = at

    def advance(self, step: int) -> None:
        if step == self._at:
            raise Killed


class _WithoutPictures:
    """A task whose evaluations draw nothing, to save time."""

    presentation = Presentation()

    def __init__(self, task: Any):
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def run_in(bench: Bench, path: Path, steps: int, program: Program, kill_at: int | None = None) -> dict[str, Any] | None:
    """Trains for `steps` in a run folder; returns result.json, or None if it was killed."""
    experiment = dataclasses.replace(bench.experiment, steps=steps, log_every=1, eval_every=steps, save_every=2)
    experiment = dataclasses.replace(experiment, task=_WithoutPictures(experiment.task))
    no_curves = mock.patch("jaxdl.viz.curves.learning_curves", return_value=np.zeros((1, 1, 3), np.uint8))
    quiet = Progress(steps, file=io.StringIO())
    progress = quiet if kill_at is None else KillerProgress(steps, kill_at)
    with RunFolder(path) as folder, no_curves:
        try:
            return train(experiment, folder, progress, bench.sources, identity={}, wall=lambda: 1.0, program=program)[1]
        except Killed:
            return None


def law_resumable(bench: Bench, folder: Path, kills: Sequence[int] = (3,), steps: int = 4) -> None:
    """2. A run that is killed and resumed is bitwise equal to one left alone, its metrics lines included."""
    program = bench.program()
    alone = run_in(bench, folder / "alone", steps, program)
    for kill_at in kills:
        assert run_in(bench, folder / "killed", steps, program, kill_at) is None
    resumed = run_in(bench, folder / "killed", steps, program)
    assert alone is not None
    assert resumed is not None
    assert alone["state_digest"] == resumed["state_digest"], "a resumed run ends in another state"
    assert alone["metrics"] == resumed["metrics"], "a resumed run ends with other metrics"
    lines = [_comparable(RunFolder(folder / name, mode="read").rows()) for name in ("alone", "killed")]
    assert lines[0] == lines[1], "a resumed run wrote other lines"


def _comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what depends on the clock."""
    clocked = {"step_time", "data_wait", "data_wait_share", "examples_per_second", "useful_seconds", "mfu"}
    return [{name: value for name, value in row.items() if name not in clocked} for row in rows]


MESH = {"data": 2, "fsdp": 2, "tensor": 2}  # all at once, which finds more than each alone; pmap has data eight times


def law_devices(bench: Bench, steps: int = 3) -> None:
    """3. One device equals eight: data-parallel, FSDP, tensor. Losses to 1e-5."""
    _, one = bench.steps(bench.program(), steps)
    _, many = bench.steps(bench.program("mesh", 8, parallel=Parallel(mesh=MESH)), steps)
    np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-5, err_msg=f"1 device and 8 ({MESH}) differ")


def law_pmap(bench: Bench, steps: int = 3) -> None:
    """4. jit equals pmap: losses to 1e-5."""
    _, jitted = bench.steps(bench.program(), steps)
    _, mapped = bench.steps(bench.program("pmap", 8, parallel=Parallel(mode="pmap")), steps)
    np.testing.assert_allclose(mapped, jitted, rtol=1e-5, atol=1e-5, err_msg="jit and pmap differ")


def law_accumulation(bench: Bench, steps: int = 3) -> None:
    """5. Four micro-batches equal one batch: losses to 1e-5."""
    _, whole = bench.steps(bench.program(), steps)
    _, cut = bench.steps(bench.program("accumulate", accumulate=4), steps)
    np.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-5, err_msg="accumulate=4 and 1 differ")


def law_evaluation(bench: Bench, size: int = 5) -> None:
    """6. Evaluation does not depend on the batch size."""
    program = bench.program()
    sizes = (program.eval_batch_size, size)  # the first one is what a run has compiled
    state = bench.start(program)
    for name, source in bench.sources.evals.items():
        transforms = bench.experiment.data.eval_transforms
        found = [program.evaluate(state, eval_batches(source, size, transforms), source.names) for size in sizes]
        for metric, value in found[0].items():
            for size, other in zip(sizes[1:], found[1:]):
                message = f"{name}/{metric} differs between batch sizes {sizes[0]} and {size}"
                np.testing.assert_allclose(other[metric], value, rtol=1e-6, atol=1e-6, err_msg=message)


def law_learns(bench: Bench) -> None:
    """7. The loss falls on data made to be learnable."""
    _, losses = bench.steps(bench.program(), bench.experiment.steps)
    first, last = losses[:3].mean(), losses[-3:].mean()
    assert np.all(np.isfinite(losses))
    assert last < 0.9 * first, f"the loss went from {first:.4f} to {last:.4f} in {len(losses)} steps"


def law_predicts(bench: Bench) -> None:
    """9. Predictions are finite, one for each example."""
    program = bench.program()
    outputs = program.predict(bench.start(program), _eval_batch(bench))
    assert outputs
    for name, value in outputs.items():
        assert value.shape[0] == 4, f"{name} has shape {value.shape}"
        assert np.all(np.isfinite(value)), f"{name} is not finite"


def law_causal(bench: Bench) -> None:
    """10. Changing token t leaves what a causal model makes of the tokens before t as it was, and changes t's."""
    task, program = bench.experiment.task, bench.program()
    assert task.causal is not None
    params, variables = bench.start(program).evaluated
    causal = jax.jit(task.causal)
    batch = _eval_batch(bench)
    before = np.asarray(causal(params, variables, batch))
    for place in (1, before.shape[1] // 2, before.shape[1] - 1):
        tokens = batch["tokens"].copy()
        tokens[:, place] = np.where(tokens[:, place] == tokens[:, 0], tokens[:, 1], tokens[:, 0])
        tokens[:, place] = np.where(tokens[:, place] == batch["tokens"][:, place], 4, tokens[:, place])
        after = np.asarray(causal(params, variables, {**batch, "tokens": tokens}))
        np.testing.assert_array_equal(after[:, :place], before[:, :place], err_msg=f"token {place} acts on its past")
        assert np.any(after[:, place] != before[:, place]), f"token {place} does not act on what is made of it"


def padded_features(bench: Bench) -> list[str]:
    """The features of a batch that have a length of their own, `<name>_length`, and so may be padded."""
    batch = _eval_batch(bench)
    return [name for name, value in batch.items() if f"{name}_length" in batch and value.ndim > 1]


def law_padding(bench: Bench, more: int = 3) -> None:
    """11. Padding changes no result: what lies behind a feature's length may be longer, and may be anything."""
    program, source = bench.program(), next(iter(bench.sources.evals.values()))
    state, batch = bench.start(program), _eval_batch(bench)
    exact = program.evaluate(state, [batch], source.names)
    for name in padded_features(bench):
        value, length = batch[name], batch[f"{name}_length"]
        longer = np.concatenate([value, value[:, :1].repeat(more, 1)], axis=1)
        behind = np.arange(longer.shape[1]) >= length[:, None]
        longer = np.where(behind.reshape(*behind.shape, *[1] * (value.ndim - 2)), value[:, :1] + 1, longer)
        found = program.evaluate(state, [{**batch, name: longer.astype(value.dtype)}], source.names)
        # A longer target leaves room for longer outputs, which a network that never learnt to end them uses.
        compared = ["loss"] if name == "target" else list(exact)
        for metric in compared:
            message = f"{metric} depends on the padding of {name}"
            np.testing.assert_allclose(found[metric], exact[metric], rtol=1e-5, atol=1e-5, err_msg=message)


def _eval_batch(bench: Bench) -> dict[str, np.ndarray]:
    source = next(iter(bench.sources.evals.values()))
    return next(eval_batches(source, 4, bench.experiment.data.eval_transforms))


def without_dropout(config: fdl.Config) -> fdl.Config:
    """A configuration whose modules draw nothing: module keys differ between devices and micro-batches, by nature."""
    for value, _ in daglish.iterate(config):
        if isinstance(value, fdl.Buildable):
            for name in ("dropout", "stochastic_depth"):
                if value.__arguments__.get(name):
                    setattr(value, name, 0.0)
    return config
