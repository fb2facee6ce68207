"""The laws that every recipe obeys, checked at test size. Each raises AssertionError if the recipe breaks it.

`LAWS` lists them with the conditions under which they apply. `tests/testing/test_laws.py` checks every recipe,
`tests/testing/test_mutations.py` breaks the code on purpose and expects each law to fail.
"""

import dataclasses
import functools
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import fiddle as fdl
import jax
import numpy as np
from fiddle import daglish

from jaxdl.config.experiment import Experiment
from jaxdl.config.settings import argument_names, default_of
from jaxdl.data.pipeline import Batches, eval_batches
from jaxdl.distributed.mesh import Parallel
from jaxdl.runs.folder import RunFolder
from jaxdl.testing.files import law_files, takes_no_files
from jaxdl.testing.ids import law_ids, undeclared
from jaxdl.testing.pictures import law_pictures
from jaxdl.training.compiled import Program
from jaxdl.training.loop import make_program, train
from jaxdl.training.meters import CLOCKED
from jaxdl.training.progress import Progress
from jaxdl.training.session import digest
from jaxdl.training.sources import Sources, load_sources, training_batches
from jaxdl.training.state import TrainState
from jaxdl.training.task import Phase
from jaxdl.viz.presentation import Presentation


class Bench:
    """An experiment with its data and its compiled programs, one per layout, shared by the laws."""

    def __init__(self, experiment: Experiment, base: "Bench | None" = None):
        """
        Args:
          experiment: Experiment to check.
          base: Bench of the same experiment with other dropout rates; its data, ids and initial state are shared.
        """
        self.experiment = experiment
        self.sources: Sources = base.sources if base else load_sources(experiment.data)
        self._base = base
        self._programs: dict[str, Program] = {}

    def program(self, name: str = "one", devices: int = 1, **changes: Any) -> Program:
        """Returns the program `name`; compiles it with `changes` to the experiment on first use."""
        if name not in self._programs:
            experiment = dataclasses.replace(self.experiment, **changes)
            first = (self._base or self).program() if self._base or name != "one" else None
            boxed = first.boxed if first else None
            program = self._programs[name] = make_program(experiment, self.sources, jax.devices()[:devices], boxed)
            if first:  # ids are traced once
                program.id_ranges = first.id_ranges
        return self._programs[name]

    @functools.cached_property
    def initial(self) -> TrainState:
        """Initial state on the host. It is drawn once, because compiling `init` is slow."""
        return self._base.initial if self._base else jax.device_get(self.program().init())

    def start(self, program: Program) -> TrainState:
        """Returns the initial state in the layout of `program`."""
        return jax.tree.map(
            lambda leaf, spec: jax.device_put(np.array(leaf), spec.sharding), self.initial, program.abstract
        )

    def eval_batch(self) -> dict[str, np.ndarray]:
        """Returns the first batch of the first evaluation."""
        source = next(iter(self.sources.evals.values()))
        return next(eval_batches(source, _ROWS, self.experiment.data.eval_transforms))

    def steps(self, program: Program, count: int, state: TrainState | None = None) -> tuple[TrainState, np.ndarray]:
        """Takes `count` steps from `state` (default: the initial one); returns the state and losses [count, phases]."""
        state = self.start(program) if state is None else state
        start = int(state.step)
        batches = training_batches(self.sources.train, program.experiment, rows=program.rows)
        losses = []
        for step in range(start, start + count):
            state, report = program.step(state, program.place(batches.at(step)))
            losses.append([float(figures["loss"]) for figures in jax.device_get(report).figures.values()])
        return state, np.array(losses)


_ROWS = 5  # of small evaluation batches; with 16 rows, another number of padded rows results


def law_repeatable(bench: Bench, steps: int = 4) -> None:
    """Law 1: repeating a run gives a bitwise equal state."""
    program = bench.program()
    first, second = (digest(bench.steps(program, steps)[0]) for _ in range(2))
    assert first == second, "two runs of the same experiment differ"


class Killed(BaseException):
    """Simulates `kill -9`: a BaseException that no handler catches."""


class KillerProgress(Progress):
    """Raises `Killed` when a given step is reported."""

    def __init__(self, total: int, at: int):
        super().__init__(total, file=io.StringIO())
        self._at = at

    def advance(self, step: int) -> None:
        if step == self._at:
            raise Killed


class _WithoutPictures:
    """A task without pictures, to save time."""

    presentation = Presentation()

    def __init__(self, task: Any):
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def run_in(
    bench: Bench, path: Path, steps: int, program: Program, kill_at: int | None = None, save_every: int = 2
) -> dict[str, Any] | None:
    """Trains for `steps` in a run folder. Returns the content of result.json, or None if the run was killed."""
    task, every = _WithoutPictures(bench.experiment.task), {"log_every": 1, "eval_every": steps}
    experiment = dataclasses.replace(bench.experiment, task=task, steps=steps, save_every=save_every, **every)
    no_curves = mock.patch("jaxdl.viz.curves.learning_curves", return_value=np.zeros((1, 1, 3), np.uint8))
    quiet = Progress(steps, file=io.StringIO())
    progress = quiet if kill_at is None else KillerProgress(steps, kill_at)
    with RunFolder(path) as folder, no_curves:
        try:
            return train(experiment, folder, progress, bench.sources, identity={}, wall=lambda: 1.0, program=program)[1]
        except Killed:
            return None


def law_resumable(bench: Bench, folder: Path | None = None, kills: Sequence[int] = (3,), steps: int = 4) -> None:
    """Law 2: a run that is killed and resumed is bitwise equal to an uninterrupted one, including metrics.jsonl."""
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            law_resumable(bench, Path(temporary), kills, steps)
        return
    program = bench.program()
    alone = run_in(bench, folder / "alone", steps, program, save_every=steps)
    for kill_at in kills:
        assert run_in(bench, folder / "killed", steps, program, kill_at) is None
    resumed = run_in(bench, folder / "killed", steps, program)
    assert alone is not None
    assert resumed is not None
    assert alone["state_digest"] == resumed["state_digest"], "the final state differs after a resume"
    assert alone["metrics"] == resumed["metrics"], "the final metrics differ after a resume"
    lines = [_comparable(RunFolder(folder / name, mode="read").rows()) for name in ("alone", "killed")]
    assert lines[0] == lines[1], "metrics.jsonl differs after a resume"


def _comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drops the values that depend on the clock."""
    return [{name: value for name, value in row.items() if name not in CLOCKED} for row in rows]


MESH = {"data": 2, "fsdp": 2, "tensor": 2}  # all axes at once finds more than each alone; law 4 covers data = 8


def law_devices(bench: Bench, steps: int = 3, accumulate: int = 1) -> None:
    """Law 3: losses on one device equal those on eight (data, FSDP and tensor parallel) to 1e-5."""
    _, one = bench.steps(bench.program(), steps)
    parallel = Parallel(mesh=MESH)
    _, many = bench.steps(bench.program(f"mesh {accumulate}", 8, parallel=parallel, accumulate=accumulate), steps)
    message = f"1 device and 8 ({MESH}, accumulate={accumulate}) differ"
    np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-5, err_msg=message)


def law_pmap(bench: Bench, steps: int = 3) -> None:
    """Law 4: losses under jit equal those under pmap to 1e-5."""
    _, jitted = bench.steps(bench.program(), steps)
    _, mapped = bench.steps(bench.program("pmap", 8, parallel=Parallel(mode="pmap")), steps)
    np.testing.assert_allclose(mapped, jitted, rtol=1e-5, atol=1e-5, err_msg="jit and pmap differ")


def law_accumulation(bench: Bench, steps: int = 3) -> None:
    """Law 5: losses with four micro-batches equal those with one batch to 1e-5."""
    _, whole = bench.steps(bench.program(), steps)
    _, cut = bench.steps(bench.program("accumulate", accumulate=4), steps)
    np.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-5, err_msg="accumulate=4 and 1 differ")


def law_devices_and_accumulation(bench: Bench) -> None:
    """Laws 3 and 5 with one compiled step: one batch on one device equals four micro-batches on eight devices."""
    law_devices(bench, accumulate=1 if _coupled(bench) else 4)


def law_evaluation(bench: Bench, size: int = _ROWS) -> None:
    """Law 6: evaluation metrics do not depend on the evaluation batch size."""
    program = bench.program()
    sizes = (program.eval_batch_size, size)  # laws 2 and 11 have compiled both
    state = bench.start(program)
    for name, source in bench.sources.evals.items():
        transforms = bench.experiment.data.eval_transforms
        found = [program.evaluate(state, eval_batches(source, size, transforms), source.names) for size in sizes]
        for metric, value in found[0].items():
            for size, other in zip(sizes[1:], found[1:]):
                message = f"{name}/{metric} differs between batch sizes {sizes[0]} and {size}"
                np.testing.assert_allclose(other[metric], value, rtol=1e-6, atol=1e-6, err_msg=message)


def law_learns(bench: Bench) -> None:
    """Law 7: the loss falls by at least 10% within the run."""
    _, losses = bench.steps(bench.program(), bench.experiment.steps)
    first, last = losses[:3].mean(), losses[-3:].mean()
    assert np.all(np.isfinite(losses))
    assert last < 0.9 * first, f"the loss went from {first:.4f} to {last:.4f} in {len(losses)} steps"


def law_predicts(bench: Bench) -> None:
    """Law 9: predictions are finite, one per example."""
    program = bench.program()
    outputs = program.predict(bench.start(program), bench.eval_batch())
    assert outputs
    for name, value in outputs.items():
        assert value.shape[0] == _ROWS, f"{name} has shape {value.shape}"
        assert np.all(np.isfinite(value)), f"{name} is not finite"


def law_causal(bench: Bench) -> None:
    """Law 10: changing token t leaves a causal model's outputs before t unchanged, and changes the output at t."""
    task, program = bench.program().task, bench.program()
    assert task.causal is not None
    params, variables = bench.start(program).evaluated
    causal = jax.jit(task.causal)
    batch = bench.eval_batch()
    before = np.asarray(causal(params, variables, batch))
    for place in (1, before.shape[1] // 2, before.shape[1] - 1):
        tokens = batch["tokens"].copy()
        tokens[:, place] = np.where(tokens[:, place] == tokens[:, 0], tokens[:, 1], tokens[:, 0])
        tokens[:, place] = np.where(tokens[:, place] == batch["tokens"][:, place], 4, tokens[:, place])
        after = np.asarray(causal(params, variables, {**batch, "tokens": tokens}))
        np.testing.assert_array_equal(
            after[:, :place], before[:, :place], err_msg=f"outputs before token {place} depend on it"
        )
        assert np.any(after[:, place] != before[:, place]), f"the output at token {place} does not depend on it"


def padded_features(bench: Bench) -> list[str]:
    """Returns the features that may be padded: those with a feature `<name>_length`."""
    batch = bench.eval_batch()
    return [name for name, value in batch.items() if f"{name}_length" in batch and value.ndim > 1]


def law_padding(bench: Bench, more: int = 3) -> None:
    """Padding changes no metric: positions beyond a feature's length may hold any value, in any number."""
    program, source = bench.program(), next(iter(bench.sources.evals.values()))
    state, batch = bench.start(program), bench.eval_batch()
    exact = program.evaluate(state, [batch], source.names)
    for name in padded_features(bench):
        value, length = batch[name], batch[f"{name}_length"]
        longer = np.concatenate([value, value[:, :1].repeat(more, 1)], axis=1)
        behind = np.arange(longer.shape[1]) >= length[:, None]
        longer = np.where(behind.reshape(*behind.shape, *[1] * (value.ndim - 2)), value[:, :1] + 1, longer)
        found = program.evaluate(state, [{**batch, name: longer.astype(value.dtype)}], source.names)
        # A longer target permits longer outputs, which an untrained network fills.
        compared = ["loss"] if name == "target" else list(exact)
        for metric in compared:
            message = f"{metric} depends on the padding of {name}"
            np.testing.assert_allclose(found[metric], exact[metric], rtol=1e-5, atol=1e-5, err_msg=message)


def law_forward_mode(bench: Bench) -> None:
    """Law 13: the loss of every phase has forward-mode derivatives (`jax.jvp`), which Hessian-vector products need."""
    task, state = bench.experiment.task, bench.program().member
    batches = Batches(bench.sources.train, bench.experiment.data, bench.experiment.seed)
    key = jax.random.key(0)

    def directional(state: TrainState, batch: Mapping[str, jax.Array], phase: Phase) -> jax.Array:
        def loss(trained):
            params = {**state.params, phase.trains: trained}
            terms = phase.loss(params, state.variables, batch, key, state.step, state.carry).terms
            return sum(term.coefficient * term.sum / term.weight for term in terms.values())

        trained = state.params[phase.trains]
        return jax.jvp(loss, (trained,), (trained,))[1]

    for phase in task.phases:
        try:
            jax.jit(directional, static_argnums=2).lower(state, batches.at(0), phase)
        except TypeError as error:
            raise AssertionError(f"phase {phase.name} has no forward-mode derivative: {error}") from error


def without_dropout(config: fdl.Config) -> fdl.Config:
    """Sets dropout rates to 0: a module's draws differ between devices and micro-batches, so laws 3 to 5 need it."""
    for value, _ in daglish.iterate(config):
        if isinstance(value, fdl.Buildable):
            for name in ("dropout", "patch_dropout", "stochastic_depth"):
                default = default_of(value, name) if name in argument_names(value) else None
                if value.__arguments__.get(name, default):
                    setattr(value, name, 0.0)
    return config


@dataclass(frozen=True)
class Law:
    """One law and when it applies.

    Attributes:
      name: Short name.
      check: Raises AssertionError if the experiment of a bench breaks the law.
      without_dropout: The law holds at dropout 0 only.
      exemption: Returns why the law does not apply to a bench, or "".
    """

    name: str
    check: Callable[[Bench], None]
    without_dropout: bool = False
    exemption: Callable[[Bench], str] = lambda bench: ""


def _coupled(bench: Bench) -> str:
    program = bench.program()
    _ = program.compiled
    reason = program.coupling
    return f"the loss is not a sum over examples: {reason}" if reason else ""


def _refused_under_pmap(bench: Bench) -> str:
    reason = bench.experiment.task.batch_coupled
    return f"training refuses the loss under pmap: {reason}" if reason else ""


def _not_causal(bench: Bench) -> str:
    return "" if bench.experiment.task.causal else "the model is not causal"


def _without_ids(bench: Bench) -> str:
    return "" if bench.program().id_ranges or undeclared(bench) else "no feature has ids of classes or tokens"


def _reverse_mode_only(bench: Bench) -> str:
    shifted = getattr(getattr(bench.experiment.task, "model", None), "depthwise", "") == "shifted"
    return "depthwise='shifted' has reverse-mode derivatives only" if shifted else ""


def _not_padded(bench: Bench) -> str:
    return "" if padded_features(bench) else "no feature is padded"


LAWS = (
    Law("repeatable", law_repeatable),
    Law("resumable", law_resumable),
    Law("devices", law_devices, without_dropout=True),
    Law("pmap", law_pmap, without_dropout=True, exemption=_refused_under_pmap),
    Law("accumulation", law_accumulation, without_dropout=True, exemption=_coupled),
    Law("evaluation", law_evaluation),
    Law("learns", law_learns),
    Law("predicts", law_predicts),
    Law("pictures", law_pictures),
    Law("causal", law_causal, exemption=_not_causal),
    Law("padding", law_padding, exemption=_not_padded),
    Law("files", law_files, exemption=takes_no_files),
    Law("ids", law_ids, exemption=_without_ids),
    Law("forward mode", law_forward_mode, exemption=_reverse_mode_only),
)
