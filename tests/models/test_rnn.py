"""Recurrent layers and networks: padding, carried state, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import apply, random_weights

from jaxdl.models.layers.recurrence import linear_recurrence, lstm, lstm_gates, scan_cell
from jaxdl.models.rnn import GRU, LSTM, RNN, LayerNormLSTM, MinGRU, Stack, reflections
from jaxdl.models.seq2seq import AttentionDecoder, EncoderDecoder, TokenEncoder
from jaxdl.models.speech import SpeechRecognizer

KEY = jax.random.key(0)
LENGTH = np.array([7, 3, 1, 5])
X = np.random.default_rng(0).normal(size=(4, 7, 5)).astype(np.float32)
each_cell = pytest.mark.parametrize("cell", [RNN, GRU, LSTM, LayerNormLSTM, MinGRU])


@each_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_do_not_depend_on_padding(cell, bidirectional):
    stack = Stack(6, 2, cell, bidirectional)
    variables = random_weights(stack.init, X, length=LENGTH, train=False)
    outputs, state = apply(stack, variables, X, length=LENGTH, train=False)
    valid = (np.arange(7)[None] < LENGTH[:, None])[..., None]
    longer = np.concatenate([np.where(valid, X, 100.0), np.ones((4, 3, 5))], axis=1).astype(np.float32)
    others, other_state = apply(stack, variables, longer, length=LENGTH, train=False)
    np.testing.assert_allclose(others[:, :7], outputs, atol=1e-6)
    assert np.all(np.asarray(outputs)[~np.broadcast_to(valid, outputs.shape)] == 0)
    jax.tree.map(lambda leaf, other_leaf: np.testing.assert_allclose(other_leaf, leaf, atol=1e-6), state, other_state)


@each_cell
def test_a_carried_state_continues_a_sequence(cell):
    stack = Stack(6, 2, cell)
    variables = random_weights(stack.init, X, train=False)
    outputs, last = apply(stack, variables, X, train=False)
    first_outputs, state = apply(stack, variables, X[:, :4], train=False)
    remaining_outputs, after = apply(stack, variables, X[:, 4:], state=state, train=False)
    np.testing.assert_allclose(np.concatenate([first_outputs, remaining_outputs], axis=1), outputs, atol=1e-6)
    jax.tree.map(lambda leaf, other_leaf: np.testing.assert_allclose(other_leaf, leaf, atol=1e-6), last, after)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_the_derivatives_of_the_lstm_match_those_of_a_differentiated_scan(reverse, padded):
    draws = np.random.default_rng(0)
    shapes = ((7, 4, 5), (5, 24), (6, 24), (24,))
    inputs, kernel, recurrent, bias = (0.5 * draws.normal(size=shape).astype(np.float32) for shape in shapes)
    state = tuple(draws.normal(size=(2, 4, 6)).astype(np.float32))
    mask = (np.arange(7)[:, None] < LENGTH[None])[..., None] if padded else None

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
        tangents = jax.tree.map(np.cos, arguments)
        return jax.jit(lambda *inputs: jax.jvp(jax.value_and_grad(loss), *inputs))((arguments,), (tangents,))

    jax.tree.map(
        lambda actual, expected: np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5),
        derivatives(lstm),
        derivatives(scanned),
    )


def test_the_associative_scan_matches_a_sequential_loop():
    decay, inputs = np.random.default_rng(0).random((2, 6, 3, 4), np.float32)
    state = expected = np.ones((3, 4), np.float32)
    outputs = jax.jit(linear_recurrence)(decay, inputs, state)
    for time in range(6):
        expected = decay[time] * expected + inputs[time]
        np.testing.assert_allclose(outputs[time], expected, rtol=1e-5)


@pytest.mark.parametrize("attention", ["dot", "additive"])
@pytest.mark.parametrize("layers", [1, 2])
def test_stepwise_decoding_matches_teacher_forcing(attention, layers):
    model = EncoderDecoder(TokenEncoder(20, 8, 6), AttentionDecoder(20, 8, 6, layers, attention))
    source, target = np.random.default_rng(0).integers(3, 20, (2, 3, 7), np.int32)
    length = np.array([7, 3, 1])
    variables = random_weights(model.init, source, target, length=length, train=False)
    logits = np.asarray(apply(model, variables, source, target, length=length, train=False))
    memory = apply(model, variables, source, length=length, method="encode")
    carry = apply(model, variables, memory, method="start")
    for time in range(target.shape[1]):
        step, carry = apply(model, variables, memory, carry, target[:, time], method="decode")
        np.testing.assert_allclose(step, logits[:, time], atol=1e-5)


def test_recognition_does_not_depend_on_padding():
    model = SpeechRecognizer(12, 8, (8, 8))
    frames, length = np.random.default_rng(0).normal(size=(2, 20, 5)).astype(np.float32), np.array([20, 9])
    variables = random_weights(model.init, frames, length=length, train=False)
    logits, steps = apply(model, variables, frames, length=length, train=False)
    longer = np.concatenate([frames, np.ones((2, 5, 5), np.float32)], axis=1)
    longer[1, 9:] = 50.0
    others, other_steps = apply(model, variables, longer, length=length, train=False)
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
