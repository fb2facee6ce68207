"""All that a run carries from one step to the next."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxdl.training.task import Task

PyTree = Any
Average = float | Callable[[jax.Array], jax.Array]  # a decay, or the decay after so many steps


class TrainState(flax.struct.PyTreeNode):
    """The state of a run. No random key is in it: every key is derived from `seed`, `step` and the phase.

    Attributes:
      step: int32 [], updates done so far.
      seed: int32 [], constant; an argument of the compiled step so that runs over seeds share one compilation.
      params: {group: tree}, float32.
      variables: batch statistics and the like, the same on every device.
      carry: per-example state, leading axis = batch.
      opt_state: {phase: optax state}.
      ema: {"params", "variables"} averaged over steps, or {} without averaging.
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
        """The (params, variables) that evaluation and prediction use: the averaged ones if there are any."""
        return (self.ema["params"], self.ema["variables"]) if self.ema else (self.params, self.variables)


def init_state(
    task: Task,
    optimizers: Mapping[str, optax.GradientTransformation],
    ema: Average | None,
    seed: jax.Array,
    batch: Mapping[str, jax.Array],
) -> TrainState:
    """The state before the first step; parameters keep their `nn.LogicallyPartitioned` boxes.

    Args:
      seed: int32 [].
      batch: an example batch; only shapes matter.
    """
    params, variables = task.init(jax.random.key(seed), batch)
    opt_state = {phase.name: optimizers[phase.name].init(params[phase.trains]) for phase in task.phases}
    averaged = {} if ema is None else jax.tree.map(jnp.copy, {"params": params, "variables": variables})
    return TrainState(jnp.int32(0), jnp.int32(seed), params, variables, task.carry(batch), opt_state, averaged)
