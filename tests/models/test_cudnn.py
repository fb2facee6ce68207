"""LSTM by cuDNN: the same outputs and gradients as the scan, from the same parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn
from modules import apply, random_weights

from jaxdl.models.layers.cudnn import cudnn_weights
from jaxdl.models.layers.recurrence import lstm
from jaxdl.models.rnn import LSTM, CudnnLSTM, Stack

BATCH, TIME, CHANNELS, FEATURES = 4, 7, 5, 6
X = np.random.default_rng(0).normal(size=(BATCH, TIME, CHANNELS)).astype(np.float32)


def test_the_weights_are_those_of_cudnn_s_definition():
    draws = np.random.default_rng(1)
    shapes = ((CHANNELS, 4 * FEATURES), (FEATURES, 4 * FEATURES), (4 * FEATURES,), (2, BATCH, FEATURES))
    kernel, recurrent, bias, state = (draws.normal(size=shape).astype(np.float32) for shape in shapes)
    weights = cudnn_weights(jnp.array(kernel), jnp.array(recurrent), jnp.array(bias))
    assert weights.size == rnn.get_num_params_in_lstm(CHANNELS, FEATURES, 1, False)
    parts = rnn.unpack_lstm_weights(weights, CHANNELS, FEATURES, 1, False)
    lengths = jnp.full(BATCH, TIME, jnp.int32)
    start = (part[None] for part in state)
    defined = rnn.lstm_ref(X, *start, *parts, lengths, CHANNELS, FEATURES, 1, 0.0, False)
    outputs, last = lstm(X.swapaxes(0, 1), kernel, recurrent, bias, None, tuple(state), False)  # pyright: ignore
    for expected, value in zip(defined, (outputs.swapaxes(0, 1), last[0][None], last[1][None])):
        np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_outputs_and_gradients_equal_those_of_the_lstm(bidirectional, padded):
    """On a GPU this is the law of cuDNN's kernel; elsewhere both are the scan."""
    stacks = [Stack(FEATURES, 2, cell, bidirectional) for cell in (LSTM, CudnnLSTM)]
    length = np.array([7, 3, 1, 5]) if padded else None
    variables = random_weights(stacks[0].init, X, train=False)

    def loss(variables, stack):
        outputs, state = apply(stack, variables, X, length=length, train=False)
        return jnp.sum(outputs**2) + sum(jnp.sum(part) for part in jax.tree.leaves(state)), outputs

    with jax.default_matmul_precision("highest"):
        pairs = [jax.grad(loss, has_aux=True)(variables, stack) for stack in stacks]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *pairs)
