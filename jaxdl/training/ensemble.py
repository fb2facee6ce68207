"""Ensembles: several members of an experiment, trained in one program (Lakshminarayanan, Pritzel and Blundell, 2017).

Each member has its own seed, and so its own initialization, order of the data and noise. In the train state every leaf
except the step has the members as its first axis. Training batches and per-example state have them as their second
axis, since the first one is sharded. Evaluation, prediction and export average the outputs of the members' models
(arXiv:1612.01474).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.training.state import TrainState
from jaxdl.training.step import Report
from jaxdl.training.task import PyTree, Task

_STATE = TrainState(None, 0, 0, 0, 1, 0, 0)  # type: ignore[arg-type]  # axis of the members of each field
_BATCH = 1  # axis of the members of a training batch

TrainStep = Callable[[TrainState, Mapping[str, jax.Array]], tuple[TrainState, Report]]


def member_seeds(seed: int, members: int) -> tuple[int, ...]:
    """Returns the seeds of the members: `seed * members` and the following, so that ensembles share no member."""
    return tuple((seed * members + member) % 2**32 for member in range(members))


def init_members(init: Callable[[jax.Array], TrainState]) -> Callable[[jax.Array], TrainState]:
    """Returns the function from seeds int32 [members, 2] to the state of all members.

    Args:
      init: Function from seeds int32 [2] to the state of one member, whose parameters have `nn.LogicallyPartitioned`
        boxes. Their new axis has no logical name.
    """

    def init_all(seeds: jax.Array) -> TrainState:
        return jax.tree.map(_named, jax.vmap(init, out_axes=_STATE)(seeds), is_leaf=_boxed)

    return init_all


def member_shapes(state: TrainState) -> TrainState:
    """Returns the shapes of one member's state from those of all members."""
    carry = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((leaf.shape[0], *leaf.shape[2:]), leaf.dtype), state.carry)
    rest = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state.replace(step=None))
    return rest.replace(step=state.step, carry=carry)


def _boxed(leaf: Any) -> bool:
    return isinstance(leaf, nn.LogicallyPartitioned)


def _named(leaf: Any) -> Any:
    return leaf.replace(names=(None, *leaf.names)) if _boxed(leaf) else leaf


def map_members(step: Callable[..., Any]) -> Callable[..., tuple[TrainState, Report]]:
    """Returns the train step of all members, whose report has them as first axis.

    Args:
      step: Train step of one member, a function of numbers of the member, the state and the batch.
    """
    axes: Any = (0, _STATE, _BATCH)
    return jax.vmap(step, in_axes=axes, out_axes=(_STATE, Report(0, None, 0, 0)))  # type: ignore[arg-type]


def train_members(step: TrainStep) -> TrainStep:
    """Returns the train step of all members; its report has means over them, and sums of squared gradient norms.

    Args:
      step: Train step of one member.
    """
    mapped = map_members(lambda _, state, batch: step(state, batch))

    def train_step(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Report]:
        state, report = mapped({}, state, batch)
        return state, Report(
            figures=jax.tree.map(lambda values: values.mean(0), report.figures),
            ran=report.ran,
            finite=jax.tree.map(lambda values: values.all(0), report.finite),
            squares=jax.tree.map(lambda values: values.sum(0), report.squares),
        )

    return train_step


def stack_members(states: Sequence[TrainState]) -> TrainState:
    """Returns the state of all members; they are at the same step."""
    first = states[0]
    rest = [state.replace(step=None, carry=None) for state in states]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rest)
    carry = jax.tree.map(lambda *leaves: jnp.stack(leaves, _BATCH), *(state.carry for state in states))
    return stacked.replace(step=first.step, carry=carry)


def split_members(state: TrainState, members: int) -> list[TrainState]:
    """Inverts `stack_members`."""

    def one(member: int) -> TrainState:
        rest = jax.tree.map(lambda leaf: leaf[member], state.replace(step=None, carry=None))
        return rest.replace(step=state.step, carry=jax.tree.map(lambda leaf: leaf[:, member], state.carry))

    return [one(member) for member in range(members)]


@dataclass(frozen=True)
class Members:
    """The models of an ensemble, which evaluate like one.

    Attributes:
      model: Module of one member.
      average: `Task.average`.
    """

    model: Any
    average: Callable[[PyTree], PyTree]

    def apply(self, variables: Mapping[str, PyTree], *args: Any, **options: Any) -> PyTree:
        """Returns the average of `model.apply` over the members, the first axis of `variables`."""
        return self.average(jax.vmap(lambda tree: self.model.apply(tree, *args, **options))(variables))

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "model"), name)


def averaged(task: Task) -> Task:
    """Returns the task that evaluates and predicts with the parameters of all members.

    Raises:
      UserError: The task does not average.
    """
    check_averages(task)
    changed: Any = replace(task, model=Members(task.model, task.average))  # type: ignore[attr-defined, call-arg]
    return changed


def check_averages(task: Task) -> None:
    """Raises UserError if the task does not average."""
    if task.average is None:
        raise UserError(f"ensemble: {type(task).__name__} has no average of several models; omit ensemble")
