"""The one train step: phases, exact accumulation, moving average. The only code that takes gradients."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl.training.meters import squared_norms
from jaxdl.training.state import Average, TrainState
from jaxdl.training.task import Array, Evaluation, Outcome, Phase, Task

PyTree = Any


class Report(NamedTuple):
    """What one step says of itself, on the device.

    Attributes:
      figures: {phase: {name: []}}; zeros where the phase did not run.
      ran: {phase: bool []}.
      finite: {phase: bool []}, False when the loss or a gradient was NaN or infinite.
      squares: {phase: [leaves]} squared gradient norm of every leaf, which names the leaves that were not finite.
    """

    figures: Mapping[str, Mapping[str, Array]]
    ran: Mapping[str, Array]
    finite: Mapping[str, Array]
    squares: Mapping[str, Array]


def make_train_step(
    task: Task,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    accumulate: int = 1,
    ema: Average | None = None,
    nonfinite: str = "stop",
    axis_name: str | None = None,
) -> Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, Report]]:
    """The pure function `train_step(state, batch) -> (state, report)`, to be compiled by jit or pmap.

    Args:
      optimizers: one for each phase.
      accumulate: micro-batches a step; the loss is exactly that of the whole batch, since weights are added up first.
      ema: decay of the moving average of parameters and variables, see `average`.
      nonfinite: "skip" leaves the state as it was when a phase's loss or gradient is not finite.
      axis_name: the mapped axis under pmap; None under jit, where a batch is global already.
    """

    def train_step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Report]:
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)
        reports: dict[str, tuple] = {}
        for number, phase in enumerate(task.phases):

            def update(state: TrainState, phase=phase, number=number):
                phase_key = jax.random.fold_in(key, number)
                return run_phase(phase, optimizers[phase.name], state, batch, phase_key, accumulate, axis_name)

            def guarded(state: TrainState, update=update):
                new, report = update(state)
                if nonfinite == "skip":
                    new = jax.tree.map(lambda new, old: jnp.where(report[1], new, old), new, state)
                return new, report

            due = state.step % phase.every == 0
            if phase.every == 1:
                state, report = guarded(state)
            else:
                _, shapes = jax.eval_shape(guarded, state)
                idle = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
                state, report = jax.lax.cond(due, guarded, lambda state, idle=idle: (state, idle), state)
            reports[phase.name] = (*report, due)
        state = state.replace(step=state.step + 1)
        if ema is not None:
            state = state.replace(ema=average(state, ema))
        figures, finite, squares, ran = ({name: r[i] for name, r in reports.items()} for i in range(4))
        return state, Report(figures, ran, finite, squares)

    return train_step


def run_phase(
    phase: Phase,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Mapping[str, Array],
    key: Array,
    accumulate: int,
    axis_name: str | None,
) -> tuple[TrainState, tuple[dict[str, Array], Array, Array]]:
    """One update of one group of parameters. Returns the new state and (figures, finite, squares)."""
    loss, gradients, outcome = phase_gradients(phase, state, batch, key, accumulate, axis_name)
    trained = state.params[phase.trains]
    updates, opt_state = optimizer.update(gradients, state.opt_state[phase.name], trained)
    new = state.replace(
        params={**state.params, phase.trains: optax.apply_updates(trained, updates)},
        opt_state={**state.opt_state, phase.name: opt_state},
        variables=outcome.variables,
        carry=outcome.carry,
    )
    squares = squared_norms(gradients)
    terms = {name: ratio(term.sum, term.weight) for name, term in outcome.terms.items()}
    figures = {
        "loss": loss,
        **(terms if len(terms) > 1 else {}),
        **{name: ratio(total, weight) for name, (total, weight) in outcome.metrics.items()},
        "grad_norm": jnp.sqrt(jnp.sum(squares)),
    }
    return new, (figures, jnp.isfinite(loss) & jnp.all(jnp.isfinite(squares)), squares)


def phase_gradients(
    phase: Phase, state: TrainState, batch: Mapping[str, Any], key: Array, accumulate: int, axis_name: str | None
) -> tuple[Array, PyTree, Outcome]:
    """The loss over the global batch, its gradient, and the outcome with sums over devices and micro-batches.

    A loss is a sum of terms `coefficient * sum / weight`. Its denominators are needed before the first gradient, so
    with micro-batches a first pass adds up the weights alone; XLA drops all of that pass that the weights do not need.
    """

    def loss_fn(trained, variables, inputs, totals):
        params, (batch, carry) = {**state.params, phase.trains: trained}, inputs
        outcome = phase.loss(params, variables, batch, key, state.step, carry)
        if totals is None:
            totals = over_devices({name: term.weight for name, term in outcome.terms.items()}, axis_name)
        parts = [t.coefficient * ratio(t.sum, jax.lax.stop_gradient(totals[n])) for n, t in outcome.terms.items()]
        return sum(parts, start=jnp.float32(0)), outcome

    gradient = jax.value_and_grad(loss_fn, has_aux=True)
    trained, inputs = state.params[phase.trains], (batch, state.carry)
    if accumulate == 1:
        (loss, outcome), gradients = gradient(trained, state.variables, inputs, None)
    else:
        micros = jax.tree.map(lambda array: split(array, accumulate), inputs)

        def micro_weights(micro):
            batch, carry = micro
            terms = phase.loss(state.params, state.variables, batch, key, state.step, carry).terms
            return {name: term.weight for name, term in terms.items()}

        totals = over_devices(jax.tree.map(lambda w: w.sum(0), jax.lax.map(micro_weights, micros)), axis_name)

        def micro_gradient(so_far, micro):
            variables, gradients = so_far
            (loss, outcome), more = gradient(trained, variables, micro, totals)
            gradients = jax.tree.map(jnp.add, gradients, more)
            return (outcome.variables, gradients), (loss, outcome._replace(variables={}))

        start = (state.variables, jax.tree.map(jnp.zeros_like, trained))
        (variables, gradients), (losses, outcomes) = jax.lax.scan(micro_gradient, start, micros)
        loss = losses.sum()
        outcome = Outcome(
            terms=jax.tree.map(lambda array: array.sum(0), outcomes.terms),
            variables=variables,
            metrics=jax.tree.map(lambda array: array.sum(0), outcomes.metrics),
            carry=jax.tree.map(merge, outcomes.carry),
        )
    loss, gradients, terms, metrics = over_devices((loss, gradients, outcome.terms, outcome.metrics), axis_name)
    return loss, gradients, outcome._replace(terms=terms, metrics=metrics)


def over_devices(sums: PyTree, axis_name: str | None) -> PyTree:
    """Adds up over the mapped axis of pmap; under jit arrays are global and there is nothing to add."""
    return sums if axis_name is None else jax.lax.psum(sums, axis_name)


def ratio(total: Array, weight: Array) -> Array:
    """total / weight, and 0 where nothing was counted."""
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), 0.0)


def split(array: Array, parts: int) -> Array:
    """[batch, ...] -> [parts, batch / parts, ...] by stride, so that a sharded batch needs no exchange of rows."""
    return jnp.moveaxis(array.reshape(array.shape[0] // parts, parts, *array.shape[1:]), 1, 0)


def merge(array: Array) -> Array:
    """The inverse of `split`."""
    return jnp.moveaxis(array, 0, 1).reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def average(state: TrainState, decay: Average) -> dict[str, PyTree]:
    """The moving average of parameters and variables after step t; counters are copied.

    Args:
      decay: a number is warmed up as min(decay, (1 + t) / (10 + t)); a function gives the decay at t, from 1 on.
    """
    count = state.step.astype(jnp.float32)
    rate = decay(count) if callable(decay) else jnp.minimum(decay, (1 + count) / (10 + count))

    def blend(old, new):
        return old + (1 - rate) * (new - old) if jnp.issubdtype(new.dtype, jnp.floating) else new

    return jax.tree.map(blend, dict(state.ema), {"params": state.params, "variables": state.variables})


def make_eval_step(task: Task) -> Callable[..., Evaluation]:
    """The pure function `eval_step(params, variables, batch, seed) -> Evaluation`; draws are the same at any step."""

    def eval_step(params: PyTree, variables: PyTree, batch: Mapping[str, Array], seed: Array) -> Evaluation:
        return task.evaluate(params, variables, batch, jax.random.fold_in(jax.random.key(seed), 2**31 - 1))

    return eval_step
