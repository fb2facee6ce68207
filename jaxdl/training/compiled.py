"""Compiled functions of an experiment: initialization, train step, evaluation and prediction on one mesh."""

import copy
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.config.experiment import Experiment
from jaxdl.distributed import mesh as meshes
from jaxdl.training.aggregation import add, finalize, gather
from jaxdl.training.coupling import check_coupling
from jaxdl.training.diagnostics import Diagnostics
from jaxdl.training.ensemble import TrainStep, averaged, init_members, member_shapes, train_members
from jaxdl.training.flops import traced_flops
from jaxdl.training.ids import check_batch
from jaxdl.training.memory import check_memory
from jaxdl.training.state import TrainState, init_state
from jaxdl.training.step import Report, make_eval_step, make_train_step
from jaxdl.training.task import Evaluation, IdRange, Names
from jaxdl.training.tracing import batch_norms, shape_errors

PyTree = Any
Batch = Mapping[str, np.ndarray]

# For functions that run seldom: without LLVM optimization, initialization compiles in a third of the time on CPU.
_QUICK: dict[str, Any] = {"xla_backend_optimization_level": 0}


class Program:
    """Compiled functions of one experiment; each compiles at its first use.

    Attributes:
      task: Task that evaluates and predicts with `TrainState.evaluated`: that of the experiment, or the average of an
        ensemble's members.
      mesh: Device mesh.
      abstract: Train state as shapes, types and shardings, without allocation.
      eval_batch_size: Size of evaluation batches, rounded up to a multiple of the devices.
      flops: FLOPs of one step over the global batch. None before compilation and under pmap.
      coupling: Why the loss depends on how a batch is split, or "". "" before compilation.
      eval_rows: Rows of a global evaluation batch that this process loads.
      boxed: Shapes of the train state with logical axes, the same on every mesh.
    """

    def __init__(
        self,
        experiment: Experiment,
        example: Batch,
        devices: Sequence[Any] | None = None,
        boxed: TrainState | None = None,
    ):
        """
        Args:
          experiment: Experiment to compile.
          example: Training batch of any length, of one member of an ensemble, for shapes and types.
          devices: Devices of the mesh. None: all.
          boxed: `boxed` of a program of the experiment on another mesh. None: the initialization is traced.

        Raises:
          UserError: The mesh does not match the devices.
        """
        self.experiment = experiment
        self.task = experiment.task if experiment.ensemble is None else averaged(experiment.task)
        self.flops: float | None = None
        self.coupling = ""
        parallel, data = experiment.parallel, experiment.data
        self.mesh = meshes.make_mesh(parallel, devices)
        shards = meshes.batch_shards(self.mesh)
        self.eval_batch_size = -(-(data.eval_batch_size or data.batch_size) // shards) * shards
        self.eval_rows = meshes.process_rows(self.mesh, self.eval_batch_size)
        self.batch_shape = {
            name: jax.ShapeDtypeStruct((data.batch_size, *array.shape[1:]), array.dtype)
            for name, array in example.items()
        }
        shapes: Any = boxed
        if shapes is None:
            with meshes.active(self.mesh, parallel), shape_errors("the initial state"):
                shapes = jax.eval_shape(self._boxed_state, self._seeds)
        self.boxed: TrainState = shapes
        self._shardings = meshes.shardings(self.mesh, parallel.rules, shapes)
        per_example = jax.tree.map(lambda _: meshes.batch_sharding(self.mesh), shapes.carry)
        self._shardings = self._shardings.replace(carry=per_example)
        self.abstract: TrainState = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            nn.unbox(shapes),
            self._shardings,
        )

    @functools.cached_property
    def _boxed_state(self) -> Callable[[Any], TrainState]:
        def boxed_state(seeds: jax.Array) -> TrainState:
            batch = {name: jnp.zeros(spec.shape, spec.dtype) for name, spec in self.batch_shape.items()}
            experiment = self.experiment
            init, noise = seeds
            return init_state(experiment.task, self._optimizers, experiment.ema, init, batch, noise)

        members = boxed_state if self.experiment.ensemble is None else init_members(boxed_state)
        return jax.jit(members, inline=True)  # `init` reuses the trace of `__init__`

    @property
    def _optimizers(self) -> Mapping[str, Any]:
        """Optimizers of the phases, with the rule for loss spikes."""
        return self.experiment.skip_spikes.guard(self.experiment.optimizers)

    @property
    def _seeds(self) -> np.ndarray:
        """Seeds of initialization and later draws, int32 [2], or of an ensemble's members, int32 [members, 2]."""
        columns = [self.experiment.seeds_of(source) for source in ("init", "noise")]
        seeds = np.array(columns, np.uint32).astype(np.int32).T  # 2**31 and more become negative
        return seeds[0] if self.experiment.ensemble is None else seeds

    @property
    def _step_shape(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of a training batch, with the members of an ensemble as second axis."""
        members = () if self.experiment.ensemble is None else (self.experiment.ensemble,)
        return {
            name: jax.ShapeDtypeStruct((spec.shape[0], *members, *spec.shape[1:]), spec.dtype)
            for name, spec in self.batch_shape.items()
        }

    @functools.cached_property
    def rows(self) -> slice:
        """Rows of a global training batch that this process loads.

        Raises:
          UserError: The batch is not divisible by the devices and micro-batches.
        """
        size = self.experiment.data.batch_size
        meshes.check_batch(self.mesh, size, self.experiment.accumulate)
        return meshes.process_rows(self.mesh, size)

    @property
    def member(self) -> TrainState:
        """Train state of the experiment without ensemble, or of one member, as shapes and types."""
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self.abstract)
        return shapes if self.experiment.ensemble is None else member_shapes(shapes)

    @functools.cached_property
    def id_ranges(self) -> tuple[IdRange, ...]:
        """Valid ids of the integer features of a batch."""
        params, variables = self.member.evaluated
        return tuple(self.experiment.task.id_ranges(params, variables, self.batch_shape))

    def init(self) -> TrainState:
        """Initializes the state directly in its shardings.

        Raises:
          UserError: The state or a batch exceeds the memory of the devices.
        """
        check_memory(self.abstract, self._step_shape, max(self.experiment.data.batch_size, self.eval_batch_size))
        with meshes.active(self.mesh, self.experiment.parallel):
            return self._init(self._seeds)

    @functools.cached_property
    def _init(self) -> Callable[[np.ndarray], TrainState]:
        return jax.jit(
            lambda seeds: nn.unbox(self._boxed_state(seeds)),
            out_shardings=self._shardings,
            compiler_options=_QUICK if _on_cpu() else None,
        )

    def like(self, experiment: Experiment, same_step: bool = True) -> "Program":
        """Returns the program of an experiment that differs in seeds and optimizers only.

        The programs share what they compile, the train step only if it has been compiled before.

        Args:
          experiment: The other experiment.
          same_step: Whether its optimizers are the same.
        """
        _ = self._boxed_state, self._init, self._evaluate, self._predict, self.id_ranges, self.rows, self.diagnostics
        other = copy.copy(self)
        other.experiment = experiment
        if not same_step:  # nor the initial state of the optimizers
            for name in ("_boxed_state", "_init", "compiled", "traced", "diagnostics", "diagnosing"):
                other.__dict__.pop(name, None)
        return other

    @property
    def is_compiled(self) -> bool:
        """Whether the train step has been compiled."""
        return "compiled" in vars(self)

    def restart_optimizers(self, state: TrainState) -> TrainState:
        """Initializes the optimizers again, for parameters that were loaded; some keep copies of them."""
        phases, optimizers = self.experiment.task.phases, self._optimizers

        def init(params: PyTree) -> PyTree:
            return {phase.name: optimizers[phase.name].init(params[phase.trains]) for phase in phases}

        init = init if self.experiment.ensemble is None else jax.vmap(init)
        with meshes.active(self.mesh, self.experiment.parallel):
            return state.replace(opt_state=jax.jit(init, out_shardings=self._shardings.opt_state)(state.params))

    def place(self, batch: Batch) -> dict[str, jax.Array]:
        """Puts this process's rows of a training batch on its devices.

        Raises:
          UserError: The batch has an id without an output of the model.
        """
        flat = batch
        if self.experiment.ensemble is not None:
            flat = {name: array.reshape(-1 if array.size else 0, *array.shape[2:]) for name, array in batch.items()}
        check_batch(flat, self.id_ranges, "training set")
        return meshes.place_batch(self.mesh, self.experiment.parallel.mode, batch)

    def step(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Report]:
        """Runs one train step. `state` is donated; `batch` is a result of `place`."""
        if self.experiment.parallel.mode == "pmap" and jax.tree.leaves(state.carry):
            per_device = functools.partial(jax.tree.map, lambda a: a.reshape(self.mesh.size, -1, *a.shape[1:]))
            state, report = self.compiled(state.replace(carry=per_device(state.carry)), batch)
            return state.replace(carry=jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), state.carry)), report
        return self.compiled(state, batch)

    @functools.cached_property
    def compiled(self) -> jax.stages.Compiled:
        """Compiled train step."""
        parallel, batch_shape = self.experiment.parallel, self._step_shape
        if parallel.mode == "pmap":
            replicated: Any = None  # everything except the carry is replicated
            axes = TrainState(replicated, replicated, replicated, replicated, 0, replicated, replicated)
            step = jax.pmap(
                self._train_step(axis_name="data"),
                axis_name="data",
                in_axes=(axes, 0),
                out_axes=(axes, None),
                devices=self.mesh.devices.flatten().tolist(),
                donate_argnums=0,
            )
            shard = functools.partial(_per_device, devices=self.mesh.size)
            abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self.abstract)
            state = abstract.replace(carry=jax.tree.map(shard, abstract.carry))
            with shape_errors("the training loss"), batch_norms() as norms:
                lowered = step.lower(state, jax.tree.map(shard, batch_shape))
            self._check_coupling(norms)
            return lowered.compile()
        with meshes.active(self.mesh, parallel):
            return self.traced.lower().compile()

    @functools.cached_property
    def traced(self) -> jax.stages.Traced:
        """Traced train step of jit."""
        step = jax.jit(
            self._train_step(),
            in_shardings=(self._shardings, meshes.batch_sharding(self.mesh)),
            out_shardings=(self._shardings, meshes.replicated(self.mesh)),
            donate_argnums=0,
        )
        parallel = self.experiment.parallel
        with meshes.active(self.mesh, parallel), shape_errors("the training loss"), batch_norms() as norms:
            traced = step.trace(self.abstract, self._step_shape)
        self._check_coupling(norms)
        self.flops = _flops(traced.jaxpr)
        return traced

    def hlo(self) -> str:
        """Returns the optimized HLO of the train step."""
        return self.compiled.as_text() or ""

    def diagnose(self, state: TrainState) -> jax.Array:
        """Returns the values of `diagnostics` for a state, without waiting for the devices."""
        with meshes.active(self.mesh, self.experiment.parallel):
            return self.diagnosing(state.params, state.opt_state)

    @functools.cached_property
    def diagnostics(self) -> Diagnostics:
        """Learning rates and norms of parameters."""
        experiment = self.experiment
        return Diagnostics(experiment.task, experiment.optimizers, self.abstract, experiment.ensemble)

    @functools.cached_property
    def diagnosing(self) -> Callable[..., jax.Array]:
        """Compiled `diagnostics`; under pmap, whose outputs have other shardings, it compiles at its first use."""
        options = {"out_shardings": meshes.replicated(self.mesh), "compiler_options": _QUICK if _on_cpu() else None}
        if self.experiment.parallel.mode == "pmap":
            return jax.jit(self.diagnostics, **options)
        shardings = (self._shardings.params, self._shardings.opt_state)
        function = jax.jit(self.diagnostics, in_shardings=shardings, **options)
        with meshes.active(self.mesh, self.experiment.parallel):
            return function.lower(self.abstract.params, self.abstract.opt_state).compile()

    def _train_step(self, axis_name: str | None = None) -> TrainStep:
        experiment = self.experiment
        step = make_train_step(
            experiment.task,
            self._optimizers,
            accumulate=experiment.accumulate,
            ema=experiment.ema,
            nonfinite=experiment.nonfinite,
            axis_name=axis_name,
        )
        return step if experiment.ensemble is None else train_members(step)

    def _check_coupling(self, norms: Mapping[str, str | None]) -> None:
        task = self.experiment.task
        self.coupling = task.batch_coupled or task.batch_statistics or ("batch normalization" if norms else "")
        check_coupling(self.experiment, norms, self.mesh.size)

    def trace_evaluation(self, example: Batch) -> Evaluation:
        """Traces the evaluation, and the predictions for pictures, of batches like `example`; returns its shapes.

        Raises:
          UserError: The model's outputs do not have the shape that the task needs, or cannot be computed.
        """
        size, sharding = self.eval_batch_size, meshes.batch_sharding(self.mesh)
        # With the shardings of the run's batches, `evaluate` reuses the trace.
        batch = {
            name: jax.ShapeDtypeStruct((size, *array.shape[1:]), array.dtype, sharding=sharding)
            for name, array in example.items()
        }
        params, variables = self.abstract.evaluated
        key = jax.eval_shape(lambda: jax.random.key(0))
        with meshes.active(self.mesh, self.experiment.parallel):
            with shape_errors("the evaluation"):
                evaluation, _ = self._evaluate.trace(params, variables, batch, self.abstract.seed).out_info
            if self.task.presentation.pictures is not None:
                with shape_errors("the predictions"):
                    self._predict.trace(params, variables, batch, key)
        return evaluation

    @functools.cached_property
    def _evaluate(self) -> Any:
        eval_step = make_eval_step(self.task)

        def with_index(params, variables, batch, seed):
            seed = seed if self.experiment.ensemble is None else seed[0]
            return eval_step(params, variables, batch, seed), batch["index"]

        return jax.jit(with_index, out_shardings=meshes.replicated(self.mesh))

    @functools.cached_property
    def _predict(self) -> Any:
        return jax.jit(self.task.predict, out_shardings=meshes.replicated(self.mesh))

    @functools.cached_property
    def _sample(self) -> Callable[..., Any]:
        assert self.task.sample is not None
        return jax.jit(self.task.sample, out_shardings=meshes.replicated(self.mesh))

    def evaluate(
        self, state: TrainState, batches: Iterable[Batch], names: Names | None = None
    ) -> dict[str, float | np.ndarray]:
        """Computes the task's metrics over all batches; sums and weights are accumulated in float64 on the host.

        Args:
          state: Train state.
          batches: Padded evaluation batches with `weight` and `index`.
          names: Class names and tokenizers by feature.

        Returns:
          {metric: value}; a value may be an array (a confusion matrix).
        """
        results = []
        with meshes.active(self.mesh, self.experiment.parallel):
            for batch in batches:
                check_batch(batch, self.id_ranges, "evaluation")
                placed = meshes.place_batch(self.mesh, "jit", batch)
                results.append(self._evaluate(*state.evaluated, placed, state.seed))
        results = jax.device_get(results)
        metrics = finalize(add([evaluation.metrics for evaluation, _ in results]))
        task = self.task
        if task.score is not None:
            records = gather([(evaluation.records, index) for evaluation, index in results])
            metrics |= task.score(records, metrics, {**(names or {}), **task.class_names})
        return metrics

    def predict(self, state: TrainState, batch: Batch) -> dict[str, np.ndarray]:
        """Returns the task's predictions {name: [batch, ...]} for a batch whose size is a multiple of the devices."""
        return self._outputs(self._predict, state, batch)

    def sample(self, state: TrainState, batch: Batch) -> dict[str, np.ndarray]:
        """Returns the task's samples, as `predict`."""
        return self._outputs(self._sample, state, batch)

    def _outputs(self, function: Callable[..., Any], state: TrainState, batch: Batch) -> dict[str, np.ndarray]:
        key = jax.random.key(self.experiment.seed)
        with meshes.active(self.mesh, self.experiment.parallel):
            placed = meshes.place_batch(self.mesh, "jit", batch)
            return dict(jax.device_get(function(*state.evaluated, placed, key)))


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _flops(jaxpr: Any) -> float | None:
    """Counts the FLOPs of a traced step; a failure is one warning and None, since FLOPs are auxiliary."""
    try:
        return traced_flops(jaxpr)
    except Exception as error:  # an equation that the counter does not support
        logging.warning("FLOPs and MFU are not reported: cannot count the step's operations (%r)", error)
        return None


def _per_device(spec: jax.ShapeDtypeStruct, devices: int) -> jax.ShapeDtypeStruct:
    """[batch, ...] -> [devices, batch / devices, ...]."""
    return jax.ShapeDtypeStruct((devices, spec.shape[0] // devices, *spec.shape[1:]), spec.dtype)
