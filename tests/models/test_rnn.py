"""Recurrent layers and networks: padding, carried state, gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.layers.recurrence import linear_recurrence, lstm, lstm_gates, scan_cell
from jaxdl.models.rnn import GRU, LSTM, RNN, LayerNormLSTM, MinGRU, Stack, reflections
from jaxdl.models.seq2seq import AttentionDecoder, EncoderDecoder, TokenEncoder
from jaxdl.models.speech import SpeechRecognizer

KEY = jax.random.key(0)
LENGTH = jnp.array([7, 3, 1, 5])
each_cell = pytest.mark.parametrize("cell", [RNN, GRU, LSTM, LayerNormLSTM, MinGRU])


@each_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_do_not_depend_on_padding(cell, bidirectional):
    stack = Stack(6, 2, cell, bidirectional)
    x = jax.random.normal(KEY, (4, 7, 5))
    variables = stack.init(KEY, x, length=LENGTH, train=False)
    outputs, state = stack.apply(variables, x, length=LENGTH, train=False)
    valid = (jnp.arange(7)[None] < LENGTH[:, None])[..., None]
    longer = jnp.concatenate([jnp.where(valid, x, 100.0), jnp.ones((4, 3, 5))], axis=1)
    others, other_state = stack.apply(variables, longer, length=LENGTH, train=False)
    np.testing.assert_allclose(others[:, :7], outputs, atol=1e-6)
    assert np.all(np.asarray(outputs)[~np.broadcast_to(valid, outputs.shape)] == 0)
    jax.tree.map(lambda leaf, other_leaf: np.testing.assert_allclose(other_leaf, leaf, atol=1e-6), state, other_state)


@each_cell
def test_a_carried_state_continues_a_sequence(cell):
    stack = Stack(6, 2, cell)
    x = jax.random.normal(KEY, (4, 7, 5))
    variables = stack.init(KEY, x, train=False)
    outputs, last = stack.apply(variables, x, train=False)
    first_outputs, state = stack.apply(variables, x[:, :4], train=False)
    remaining_outputs, after = stack.apply(variables, x[:, 4:], state=state, train=False)
    np.testing.assert_allclose(jnp.concatenate([first_outputs, remaining_outputs], axis=1), outputs, atol=1e-6)
    jax.tree.map(lambda leaf, other_leaf: np.testing.assert_allclose(other_leaf, leaf, atol=1e-6), last, after)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_the_derivatives_of_the_lstm_match_those_of_a_differentiated_scan(reverse, padded):
    keys = jax.random.split(KEY, 5)
    shapes = ((7, 4, 5), (5, 24), (6, 24), (24,))
    inputs, kernel, recurrent, bias = (0.5 * jax.random.normal(key, shape) for key, shape in zip(keys, shapes))
    state = tuple(jax.random.normal(key, (4, 6)) for key in jax.random.split(keys[4]))
    mask = (jnp.arange(7)[:, None] < LENGTH[None])[..., None] if padded else None

    def scanned(inputs, kernel, recurrent, bias, mask, state, reverse):
        def step(state, x):
            i, f, g, o = lstm_gates(x @ kernel + bias + state[0] @ recurrent)
            cell = f * state[1] + i * g
            return o * jnp.tanh(cell), cell

        return scan_cell(step, inputs, mask, state, reverse)

    def derivatives(function):
        """Reverse mode, and forward over reverse mode."""

        def loss(arguments):
            *arrays, state = arguments
            return sum(
                jnp.sum(jnp.sin(leaf) * leaf) for leaf in jax.tree.leaves(function(*arrays, mask, state, reverse))
            )

        arguments = (inputs, kernel, recurrent, bias, state)
        return jax.jvp(jax.value_and_grad(loss), (arguments,), (jax.tree.map(jnp.cos, arguments),))

    jax.tree.map(
        lambda actual, expected: np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5),
        derivatives(lstm),
        derivatives(scanned),
    )


def test_the_associative_scan_matches_a_sequential_loop():
    decay, inputs = jax.random.uniform(KEY, (2, 6, 3, 4))
    state = expected = jnp.ones((3, 4))
    outputs = linear_recurrence(decay, inputs, state)
    for time in range(6):
        expected = decay[time] * expected + inputs[time]
        np.testing.assert_allclose(outputs[time], expected, rtol=1e-5)


@pytest.mark.parametrize("attention", ["dot", "additive"])
@pytest.mark.parametrize("layers", [1, 2])
def test_stepwise_decoding_matches_teacher_forcing(attention, layers):
    model = EncoderDecoder(TokenEncoder(20, 8, 6), AttentionDecoder(20, 8, 6, layers, attention))
    source, target = jax.random.randint(KEY, (2, 3, 7), 3, 20)
    length = jnp.array([7, 3, 1])
    variables = nn.unbox(model.init(KEY, source, target, length=length, train=False))
    logits = np.asarray(model.apply(variables, source, target, length=length, train=False))
    memory = model.apply(variables, source, length=length, method="encode")
    carry = model.apply(variables, memory, method="start")
    for time in range(target.shape[1]):
        step, carry = model.apply(variables, memory, carry, target[:, time], method="decode")
        np.testing.assert_allclose(step, logits[:, time], atol=1e-5)


def test_recognition_does_not_depend_on_padding():
    model = SpeechRecognizer(12, 8, (8, 8))
    frames, length = jax.random.normal(KEY, (2, 20, 5)), jnp.array([20, 9])
    variables = model.init(KEY, frames, length=length, train=False)
    logits, steps = jax.device_get(model.apply(variables, frames, length=length, train=False))
    longer = jnp.concatenate([frames, jnp.ones((2, 5, 5))], axis=1).at[1, 9:].set(50.0)
    others, other_steps = jax.device_get(model.apply(variables, longer, length=length, train=False))
    np.testing.assert_array_equal(steps, [5, 3])
    np.testing.assert_array_equal(other_steps, steps)
    np.testing.assert_allclose(others[:, :5], logits, atol=1e-5)


def test_recurrent_kernels_are_uniform_orthogonal_matrices():
    kernels = np.asarray(reflections(KEY, 200, 6))
    np.testing.assert_allclose(
        np.einsum("nij,nik->njk", kernels, kernels), np.broadcast_to(np.eye(6), kernels.shape), atol=1e-5
    )
    # The mean square of every entry is 1/6, and the mean fourth power 3 / (6 * 8).
    np.testing.assert_allclose(np.mean(kernels**2, axis=0), 1 / 6, atol=0.06)
    np.testing.assert_allclose(np.mean(kernels**4), 3 / 48, rtol=0.1)
