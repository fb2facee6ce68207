"""Loss spikes: updates whose loss or gradient norm is far above the recent ones are skipped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl.training.step import Skipping, squared_norms

PyTree = Any


@dataclass(frozen=True)
class Spikes:
    """Rule by which updates are skipped at loss spikes.

    An update of a phase is skipped if its loss or its global gradient norm exceeds the mean over the window by more
    than `deviations` sample standard deviations. The parameters, optimizer state, variables and carry of the phase are
    kept, as with `nonfinite="skip"`. Updates are skipped from half a window on.

    The rule is that of `SkipStepAdamW` in OLMo-core, with one change: values above the limit enter the window clipped
    to it. A spike does not hide the next one, and a lasting change of the level is accepted after about ten updates.

    Members of an ensemble skip their own updates; the rows of metrics.jsonl have the mean of their counts.

    Attributes:
      window: Number of recent updates of the phase.
      deviations: Number of standard deviations. None skips no update.
    """

    window: int = 128
    deviations: float | None = None

    def guard(
        self, optimizers: Mapping[str, optax.GradientTransformation]
    ) -> Mapping[str, optax.GradientTransformation]:
        """Returns the optimizers of the phases with this rule; unchanged ones if it skips no update."""
        if self.deviations is None:
            return optimizers
        return {phase: skip_spikes(optimizer, self) for phase, optimizer in optimizers.items()}


class SpikeState(NamedTuple):
    """Optimizer state with a window, which is saved in checkpoints.

    Attributes:
      inner: State of the optimizer.
      recent: float32 [2, window], losses and gradient norms; update n is at n modulo the window.
      count: int32 [], values that entered.
      skipped: int32 [], skipped updates.
    """

    inner: PyTree
    recent: jax.Array
    count: jax.Array
    skipped: jax.Array


class SpikeSkipping(Skipping):
    """Optimizer with the state `SpikeState`, see `skip_spikes`."""

    @staticmethod
    def was_skipped(before: SpikeState, after: SpikeState) -> jax.Array:
        return after.skipped > before.skipped


def skip_spikes(optimizer: optax.GradientTransformation, rule: Spikes) -> SpikeSkipping:
    """Keeps the state of an optimizer at spikes; `update` needs the loss as `value`.

    The train step keeps the parameters, since `update` returns the updates of a spike, too.
    """
    inner = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> SpikeState:
        return SpikeState(inner.init(params), jnp.zeros((2, rule.window)), jnp.int32(0), jnp.int32(0))

    def update(
        updates: PyTree, state: SpikeState, params: PyTree | None = None, *, value: jax.Array, **extra: Any
    ) -> tuple[PyTree, SpikeState]:
        values = jnp.stack([value, jnp.sqrt(jnp.sum(squared_norms(updates)))])
        limits = _limits(state, rule)
        spike = jnp.any(values > limits)
        updates, after = inner.update(updates, state.inner, params, value=value, **extra)
        after = jax.tree.map(lambda new, old: jnp.where(spike, old, new), after, state.inner)
        recent = state.recent.at[:, state.count % rule.window].set(jnp.minimum(values, limits))
        return updates, SpikeState(after, recent, state.count + 1, state.skipped + spike)

    return SpikeSkipping(init, update)  # type: ignore[arg-type]


def _limits(state: SpikeState, rule: Spikes) -> jax.Array:
    """Returns the largest accepted loss and gradient norm, float32 [2]."""
    assert rule.deviations is not None
    size = jnp.minimum(state.count, rule.window)
    present = jnp.arange(rule.window) < size
    mean = jnp.sum(jnp.where(present, state.recent, 0.0), axis=1) / jnp.maximum(size, 1)
    squares = jnp.where(present, jnp.square(state.recent - mean[:, None]), 0.0)
    std = jnp.sqrt(jnp.sum(squares, axis=1) / jnp.maximum(size - 1, 1))
    return jnp.where(size >= max(2, rule.window // 2), mean + rule.deviations * std, jnp.inf)


def skipped_updates(opt_state: Mapping[str, PyTree]) -> int | None:
    """Returns the skipped updates of all phases and members so far; None for optimizers without the rule."""
    states = [state for state in opt_state.values() if isinstance(state, SpikeState)]
    return sum(int(jnp.sum(state.skipped)) for state in states) if states else None
