"""Runs that differ in seeds and numbers of their optimizers only, trained in one compiled program.

The train state of the runs is stacked as that of an ensemble's members (`jaxdl.training.ensemble`); evaluation,
checkpoints and metrics are those of each run. The numbers in which the optimizers differ are traced, so that the runs
share one program.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from jaxdl.compatibility import inner_jaxprs
from jaxdl.config.experiment import Experiment
from jaxdl.data.pipeline import MemberBatches
from jaxdl.distributed import mesh as meshes
from jaxdl.training.compiled import Program
from jaxdl.training.diagnostics import Diagnostics
from jaxdl.training.ensemble import map_members, split_members, stack_members
from jaxdl.training.ids import check_batch
from jaxdl.training.sources import Sources, training_batches
from jaxdl.training.state import Average, TrainState
from jaxdl.training.step import Report, make_train_step

Numbers = Mapping[str, Any]  # values, which may be traced, by path of the configuration
Optimizers = Callable[[Numbers], tuple[Mapping[str, optax.GradientTransformation], Average | None]]


class JointProgram:
    """Compiled train step of several runs.

    Attributes:
      experiments: Experiments of the runs.
      numbers: {path: float32 [runs]}, in which their optimizers differ.
    """

    def __init__(
        self,
        program: Program,
        experiments: Sequence[Experiment],
        numbers: Sequence[Mapping[str, float]],
        optimizers: Optimizers,
    ):
        """
        Args:
          program: Program of one of the runs.
          experiments: Experiments of the runs, which differ in seeds and numbers of their optimizers only.
          numbers: Numbers of each run in which they differ, by path.
          optimizers: Function from traced numbers to the optimizers and the decay of the moving average.
        """
        self.experiments, self.numbers = experiments, _columns(numbers)
        self._program, self._optimizers = program, optimizers
        self._batch = {
            name: jax.ShapeDtypeStruct((spec.shape[0], len(experiments), *spec.shape[1:]), spec.dtype)
            for name, spec in program.batch_shape.items()
        }
        mesh = program.mesh

        def stacked(leaf: jax.ShapeDtypeStruct, axis: int = 0) -> Any:
            spec = [*leaf.sharding.spec, *[None] * (leaf.ndim - len(leaf.sharding.spec))]  # type: ignore[union-attr]
            return jax.NamedSharding(mesh, jax.P(*spec[:axis], None, *spec[axis:]))

        one = program.abstract
        shardings = jax.tree.map(stacked, one.replace(step=None, carry=None))
        carry = jax.tree.map(functools.partial(stacked, axis=1), one.carry)
        self._shardings = shardings.replace(step=one.step.sharding, carry=carry)
        self._each = jax.tree.map(lambda leaf: leaf.sharding, one)

    @functools.cached_property
    def traced(self) -> Any:
        """Traced train step of all runs.

        Raises:
          jax.errors.ConcretizationTypeError: The code of an optimizer depends on one of the numbers.
        """
        base = self._program.experiment

        def step(numbers: Numbers, state: TrainState, batch: Mapping[str, Any]) -> tuple[TrainState, Report]:
            optimizers, ema = self._optimizers(numbers)
            optimizers = base.skip_spikes.guard(optimizers)
            one = make_train_step(base.task, optimizers, accumulate=base.accumulate, ema=ema, nonfinite=base.nonfinite)
            return one(state, batch)

        mapped, numbers = map_members(step), self.numbers
        shapes = jax.eval_shape(self._stack_all, *[self._program.abstract] * len(self.experiments))
        jitted = jax.jit(
            lambda state, batch: mapped(numbers, state, batch),
            in_shardings=(self._shardings, meshes.batch_sharding(self._program.mesh)),
            out_shardings=(self._shardings, meshes.replicated(self._program.mesh)),
            donate_argnums=0,
        )
        with meshes.active(self._program.mesh, base.parallel):
            return jitted.trace(shapes, self._batch)

    @functools.cached_property
    def compiled(self) -> jax.stages.Compiled:
        """Compiled train step of all runs."""
        traced = self.traced
        with meshes.active(self._program.mesh, self._program.experiment.parallel):
            return traced.lower().compile()

    @functools.cached_property
    def diagnosing(self) -> Callable[[TrainState], jax.Array]:
        """Jitted function from the state of all runs to their diagnostics, float32 [runs, names]."""
        task, abstract = self._program.experiment.task, self._program.abstract

        def one(numbers: Numbers, params: Any, opt_state: Any) -> jax.Array:
            return Diagnostics(task, self._optimizers(numbers)[0], abstract, None)(params, opt_state)

        numbers = self.numbers
        return jax.jit(lambda state: jax.vmap(one)(numbers, state.params, state.opt_state))

    def stack(self, states: Sequence[TrainState]) -> TrainState:
        """Returns the state of all runs, whose leaves except the step have the runs as first axis."""
        return jax.jit(self._stack_all, out_shardings=self._shardings)(*states)

    @staticmethod
    def _stack_all(*states: TrainState) -> TrainState:
        return stack_members(states)

    def split(self, state: TrainState) -> list[TrainState]:
        """Returns the state of each run."""
        return self._split(state)

    @functools.cached_property
    def _split(self) -> Callable[[TrainState], list[TrainState]]:
        count = len(self.experiments)
        return jax.jit(lambda state: split_members(state, count), out_shardings=[self._each] * count)

    def batches(self, sources: Sources, offset: int) -> MemberBatches:
        """Returns the training batches of the runs, each in its own order, as features [batch, runs, ...]."""
        rows = self._program.rows
        members = [training_batches(sources.train, one, rows, offset) for one in self.experiments]
        return MemberBatches(members)  # type: ignore[arg-type]

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Puts this process's rows of a training batch on its devices. Raises UserError as `Program.place`."""
        flat = {name: array.reshape(-1 if array.size else 0, *array.shape[2:]) for name, array in batch.items()}
        check_batch(flat, self._program.id_ranges, "training set")
        return meshes.place_batch(self._program.mesh, "jit", batch)

    def step(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Report]:
        """Runs one train step of all runs; every leaf of the report except `ran` has them as first axis."""
        return self.compiled(state, batch)


def why_in_turn(program: Program) -> str:
    """Returns why runs are trained in turn by the program of one rather than by a `JointProgram`; "" if they are not.

    In turn, every run has the bits that it has alone.
    """
    experiment = program.experiment
    if experiment.parallel.mode == "pmap":
        return "pmap maps over the devices"
    if experiment.ensemble is not None:
        return "each is an ensemble"
    if jax.default_backend() == "cpu" and "conv_general_dilated" in _primitives(program.traced.jaxpr.jaxpr):
        return "on CPU, convolutions of several runs at once are slower"
    return ""


def _primitives(jaxpr: Any) -> set[str]:
    """Returns the names of the operations in a jaxpr and in those inside it."""
    names = set()
    for equation in jaxpr.eqns:
        names.add(equation.primitive.name)
        params = {**equation.params, **dict(enumerate(equation.params.get("branches", ())))}
        for inner in inner_jaxprs(params):
            names |= _primitives(inner)
    return names


def _columns(numbers: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    return {path: np.array([one[path] for one in numbers], np.float32) for path in numbers[0]}


def report_of(report: Report, run: int) -> Report:
    """Returns the report of one run from that of all, fetched to the host."""

    def pick(tree: Any) -> Any:
        return jax.tree.map(lambda values: values[run], tree)

    return Report(pick(report.figures), report.ran, pick(report.finite), pick(report.squares))
