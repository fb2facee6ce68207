"""Train state."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxdl.errors import UserError
from jaxdl.training.schedule_free import has_evaluation_params
from jaxdl.training.task import Task

PyTree = Any
Average = float | Callable[[jax.Array], jax.Array]  # decay, or decay as a function of the step


class TrainState(flax.struct.PyTreeNode):
    """State of a run, without random keys: every key is derived from `seed`, `step` and the phase.

    Attributes:
      step: int32 [], steps done.
      seed: int32 [], constant, the bits of a uint32. It is part of the state so that runs over seeds share one
        compilation.
      params: {group: tree}, float32.
      variables: Batch statistics and the like, the same on every device.
      carry: Per-example state, leading axis = batch.
      opt_state: {phase: optax state}.
      ema: {"params", "variables"} averaged over steps, by `Experiment.ema` or by an optimizer that defines parameters
        for evaluation (`optax.contrib.schedule_free`); {} without averaging.
    """

    step: jax.Array
    seed: jax.Array
    params: Mapping[str, PyTree]
    variables: PyTree
    carry: PyTree
    opt_state: Mapping[str, PyTree]
    ema: Mapping[str, PyTree]

    @property
    def evaluated(self) -> tuple[PyTree, PyTree]:
        """(params, variables) of evaluation and prediction: averaged if `ema` is not empty."""
        return (self.ema["params"], self.ema["variables"]) if self.ema else (self.params, self.variables)


def leaf_names(tree: PyTree) -> list[str]:
    """Returns the paths of a tree's leaves, such as "params/classifier/stem/kernel", in the order of `jax.tree.leaves`.

    Raises:
      ValueError: Two leaves have the same path, because a key contains "/".
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two leaves are named '{twice}'")
    return names


def init_state(
    task: Task,
    optimizers: Mapping[str, optax.GradientTransformation],
    ema: Average | None,
    seed: jax.Array,
    batch: Mapping[str, jax.Array],
    noise: jax.Array | None = None,
) -> TrainState:
    """Initializes the state; parameters keep their `nn.LogicallyPartitioned` boxes.

    Args:
      task: Task to initialize.
      optimizers: Optimizer of each phase.
      ema: Decay of the moving average. None: no average.
      seed: int32 [].
      batch: Example batch, of which only shapes and types matter.
      noise: Seed of later draws, int32 []. None: `seed`.
    """
    params, variables = task.init(jax.random.key(seed), batch)
    opt_state = {phase.name: optimizers[phase.name].init(params[phase.trains]) for phase in task.phases}
    own = [name for name, state in opt_state.items() if has_evaluation_params(state)]
    if own and ema is not None:
        raise UserError(f"optimizers.{own[0]} averages the parameters itself (schedule_free); set ema=None")
    averaging = own or ema is not None
    averaged = jax.tree.map(jnp.copy, {"params": params, "variables": variables}) if averaging else {}
    noise = seed if noise is None else noise
    return TrainState(jnp.int32(0), jnp.int32(noise), params, variables, task.carry(batch), opt_state, averaged)
