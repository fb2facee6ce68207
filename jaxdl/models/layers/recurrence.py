"""Recurrences over time: scan over a cell, fast LSTM, and linear recurrence.

All are time-major, [time, batch, features]. Where a mask is False the state is unchanged, so padding at either end has
no effect.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

Array = jax.Array
State = tuple[Array, ...]  # arrays [batch, features]; the first is the cell's output


def scan_cell(
    step: Callable[[State, Array], State], inputs: Array, mask: Array | None, state: State, reverse: bool = False
) -> tuple[Array, State]:
    """Runs a cell over time and returns outputs [time, batch, features] and the final state.

    Args:
      step: `(state, inputs [batch, channels]) -> next state`.
      inputs: [time, batch, channels].
      mask: bool [time, batch, 1]. None: no padding.
      state: Initial state.
      reverse: Runs from the last step to the first.
    """

    def body(state: State, now: tuple[Array, Array | None]) -> tuple[State, Array]:
        x, valid = now
        state = keep(valid, step(state, x), state)
        return state, state[0]

    state, outputs = jax.lax.scan(body, state, (inputs, mask), reverse=reverse)
    return outputs, state


def keep(valid: Array | None, new: State, old: State) -> State:
    """Returns the new state where `valid` [batch, 1], the old one elsewhere."""
    return new if valid is None else tuple(jnp.where(valid, after, before) for after, before in zip(new, old))


@functools.partial(jax.custom_jvp, nondiff_argnums=(6,))
def lstm(
    inputs: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    mask: Array | None,
    state: State,
    reverse: bool,
) -> tuple[Array, State]:
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gates: Gers et al. 2000).

    Equal to `scan_cell` over the same step, but the gradient stores the gates instead of recomputing them, and computes
    kernel gradients in one matrix product over all steps.

    Args:
      inputs: [time, batch, channels].
      kernel: [channels, 4 * features], gates in the order input, forget, candidate, output.
      recurrent_kernel: [features, 4 * features].
      bias: [4 * features].
      mask: bool [time, batch, 1]. None: no padding.
      state: (output, cell), each [batch, features].
      reverse: Runs from the last step to the first.

    Returns:
      Outputs [time, batch, features] and the final state.
    """
    last, states, _ = _lstm_states(inputs, kernel, recurrent_kernel, bias, mask, state, reverse)
    return states[0], last


def lstm_gates(pre: Array) -> tuple[Array, Array, Array, Array]:
    """Returns input gate, forget gate, candidate and output gate from preactivations."""
    i, f, g, o = jnp.split(pre, 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _lstm_states(inputs, kernel, recurrent_kernel, bias, mask, state, reverse):
    """Returns the final state, and states and gates of all steps."""

    def body(state: State, now: tuple[Array, Array | None]):
        x, valid = now
        output, cell = state
        i, f, g, o = gates = lstm_gates(x @ kernel + bias + output @ recurrent_kernel)
        after = f * cell + i * g
        new = keep(valid, (o * jnp.tanh(after), after), state)
        return new, (new, gates)

    last, (states, gates) = jax.lax.scan(body, state, (inputs, mask), reverse=reverse)
    return last, states, gates


@lstm.defjvp
def _lstm_jvp(reverse, primals, tangents):
    inputs, kernel, recurrent_kernel, bias, mask, state = primals
    d_inputs, d_kernel, d_recurrent_kernel, d_bias, _, d_state = tangents
    last, states, gates = _lstm_states(inputs, kernel, recurrent_kernel, bias, mask, state, reverse)
    before = tuple(_shifted(first, after, reverse) for first, after in zip(state, states))
    of_kernels = _product(inputs, d_kernel) + _product(before[0], d_recurrent_kernel)

    @functools.partial(jax.checkpoint, prevent_cse=False)  # the gradient stores the gates only
    def body(d_state: State, now):
        d_pre, (i, f, g, o), cell_before, cell, valid = now
        d_output, d_cell = d_state
        d_i, d_f, d_g, d_o = jnp.split(d_pre + d_output @ recurrent_kernel, 4, axis=-1)
        squashed = jnp.tanh(cell)
        d_after = f * d_cell + g * i * (1 - i) * d_i + cell_before * f * (1 - f) * d_f + i * (1 - g**2) * d_g
        d_after_output = o * (1 - squashed**2) * d_after + squashed * o * (1 - o) * d_o
        new = keep(valid, (d_after_output, d_after), d_state)
        return new, new[0]

    d_pre = d_inputs @ kernel + of_kernels + d_bias
    d_last, d_outputs = jax.lax.scan(body, d_state, (d_pre, gates, before[1], states[1], mask), reverse=reverse)
    return (states[0], last), (d_outputs, d_last)


def _product(x: Array, kernel: Array) -> Array:
    """Computes x [time, batch, n] @ kernel [n, m], on one device as a product of two matrices (`cpu.product`).

    On several devices time and a sharded batch cannot be one axis without gathering the batch.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.size > 1 and AxisType.Manual not in mesh.axis_types:
        return x @ kernel
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


def _shifted(first: Array, states: Array, reverse: bool) -> Array:
    """Returns the state before each step from the initial state and those after each step."""
    return jnp.concatenate([states[1:], first[None]] if reverse else [first[None], states[:-1]])


def linear_recurrence(decay: Array, inputs: Array, state: Array, reverse: bool = False) -> Array:
    """Computes h[t] = decay[t] * h[t - 1] + inputs[t] by a parallel scan (arXiv:1709.04057).

    Args:
      decay: [time, batch, features].
      inputs: [time, batch, features].
      state: Initial h, [batch, features].
      reverse: Runs from the last step to the first.

    Returns:
      h, [time, batch, features].
    """

    def join(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        return left[0] * right[0], right[0] * left[1] + right[1]

    total, outputs = jax.lax.associative_scan(join, (decay, inputs), reverse=reverse)
    return outputs + total * state
