"""Train step: phases, exact gradient accumulation, moving average. No other module computes gradients."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl.training.schedule_free import evaluation_params
from jaxdl.training.state import Average, TrainState
from jaxdl.training.task import Array, Evaluation, Outcome, Phase, Task

PyTree = Any


class Report(NamedTuple):
    """Report of one step, on the device.

    Attributes:
      figures: {phase: {metric: []}}, zeros if the phase did not run.
      ran: {phase: bool []}, whether the phase ran.
      finite: {phase: bool []}, False if the loss or a gradient was NaN or infinite.
      squares: {phase: [leaves]}, squared gradient norm of every leaf, which identifies nonfinite leaves.
    """

    figures: Mapping[str, Mapping[str, Array]]
    ran: Mapping[str, Array]
    finite: Mapping[str, Array]
    squares: Mapping[str, Array]


class Skipping(optax.GradientTransformationExtraArgs):
    """Optimizer that skips some updates."""

    @staticmethod
    def was_skipped(before: PyTree, after: PyTree) -> Array:
        """Returns whether the update between two of its states was skipped, bool []."""
        raise NotImplementedError


def make_train_step(
    task: Task,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    accumulate: int = 1,
    ema: Average | None = None,
    nonfinite: str = "stop",
    axis_name: str | None = None,
) -> Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, Report]]:
    """Creates the pure function `train_step(state, batch) -> (state, report)`, to be compiled by jit or pmap.

    Args:
      task: Task to train.
      optimizers: Optimizer of each phase. Of a `Skipping` one, only its state changes in an update that it skips.
      accumulate: Number of micro-batches. The loss equals that of the whole batch, since weights are summed first.
      ema: Decay of the moving average of parameters and variables, see `average`. None: no average.
      nonfinite: "skip" keeps the state of a phase whose loss or gradient is not finite.
      axis_name: Mapped axis of pmap. None under jit, where arrays are global.
    """

    def train_step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Report]:
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)
        reports: dict[str, tuple] = {}
        for number, phase in enumerate(task.phases):

            def update(state: TrainState, phase=phase, number=number):
                phase_key = jax.random.fold_in(key, number)
                return run_phase(phase, optimizers[phase.name], state, batch, phase_key, accumulate, axis_name)

            def guarded(state: TrainState, update=update, name=phase.name):
                new, (figures, finite, squares) = update(state)
                optimizer = optimizers[name]
                if nonfinite == "skip":
                    new = where(finite, new, state)
                if isinstance(optimizer, Skipping):
                    spike = optimizer.was_skipped(state.opt_state[name], new.opt_state[name])
                    new = where(spike, state.replace(opt_state=new.opt_state), new)
                    figures = {**figures, "spikes_skipped": spike.astype(jnp.float32)}
                return new, (figures, finite, squares)

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
        elif state.ema:
            state = state.replace(ema=evaluated_average(task, state))
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
    """Updates one group of parameters; returns the new state and (figures, finite, squares)."""
    loss, gradients, outcome = phase_gradients(phase, state, batch, key, accumulate, axis_name)
    trained = state.params[phase.trains]
    optimizer = optax.with_extra_args_support(optimizer)
    updates, opt_state = optimizer.update(gradients, state.opt_state[phase.name], trained, value=loss)
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
    """Computes the loss over the global batch, its gradient, and the outcome summed over devices and micro-batches.

    A loss is a sum of terms `coefficient * sum / weight`. The gradient needs the weights of the whole batch, so with
    micro-batches a first pass sums the weights; XLA eliminates the rest of that pass as dead code.
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

        def micro_gradient(carry, micro):
            variables, gradients = carry
            (loss, outcome), gradient_of_micro = gradient(trained, variables, micro, totals)
            gradients = jax.tree.map(jnp.add, gradients, gradient_of_micro)
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


def where(condition: Array, state: TrainState, other: TrainState) -> TrainState:
    """Returns `state` where the condition is true, else `other`; only parts that a phase changes may differ.

    The step is left alone, since the members of an ensemble share it.
    """
    parts = {}
    for name in ("params", "variables", "carry", "opt_state"):
        pair = getattr(state, name), getattr(other, name)
        parts[name] = jax.tree.map(lambda one, two: jnp.where(condition, one, two), *pair)
    return state.replace(**parts)


def squared_norms(tree: PyTree) -> jax.Array:
    """Returns the float32 sum of squares of each leaf, [leaves], in the order of `leaf_names`."""
    leaves = jax.tree.leaves(tree)
    return (
        jnp.stack([jnp.sum(jnp.square(jnp.abs(leaf).astype(jnp.float32))) for leaf in leaves])
        if leaves
        else jnp.zeros(0)
    )


def over_devices(sums: PyTree, axis_name: str | None) -> PyTree:
    """Sums over the mapped axis of pmap; under jit arrays are global already."""
    return sums if axis_name is None else jax.lax.psum(sums, axis_name)


def ratio(total: Array, weight: Array) -> Array:
    """Returns total / weight, 0 where the weight is 0."""
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), 0.0)


def split(array: Array, parts: int) -> Array:
    """Splits [batch, ...] to [parts, batch / parts, ...] by stride, which moves no rows of a sharded batch."""
    return jnp.moveaxis(array.reshape(array.shape[0] // parts, parts, *array.shape[1:]), 1, 0)


def merge(array: Array) -> Array:
    """Inverts `split`."""
    return jnp.moveaxis(array, 0, 1).reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def average(state: TrainState, decay: Average) -> dict[str, PyTree]:
    """Updates the moving average of parameters and variables after step t; integer counters are copied.

    Args:
      state: Train state after step t, with its previous average.
      decay: Number, warmed up as min(decay, (1 + t) / (10 + t)), or function of t, which starts at 1.
    """
    count = state.step.astype(jnp.float32)
    rate = decay(count) if callable(decay) else jnp.minimum(decay, (1 + count) / (10 + count))

    def blend(old, new):
        return old + (1 - rate) * (new - old) if jnp.issubdtype(new.dtype, jnp.floating) else new

    return jax.tree.map(blend, dict(state.ema), {"params": state.params, "variables": state.variables})


def evaluated_average(task: Task, state: TrainState) -> dict[str, PyTree]:
    """Returns the average that the optimizers compute themselves, with the present variables."""
    params = {**state.params}
    for phase in task.phases:
        params[phase.trains] = evaluation_params(state.opt_state[phase.name], params[phase.trains])
    return {"params": params, "variables": state.variables}


def make_eval_step(task: Task) -> Callable[..., Evaluation]:
    """Creates the pure function `eval_step(params, variables, batch, seed)`, with the same draws at every step."""

    def eval_step(params: PyTree, variables: PyTree, batch: Mapping[str, Array], seed: Array) -> Evaluation:
        return task.evaluate(params, variables, batch, jax.random.fold_in(jax.random.key(seed), 2**31 - 1))

    return eval_step
