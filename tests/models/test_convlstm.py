"""ConvLSTM and ConvSSM: against the LSTM layer, a loop over time, and the geometry of patches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from jaxdl.models.conv_ssm import ConvSSM, DiagonalSSM
from jaxdl.models.convlstm import ConvLSTM, ConvLSTMForecaster, to_frames, to_tubelets
from jaxdl.models.layers.recurrence import lstm

KEY = jax.random.key(0)
MODELS = [ConvLSTMForecaster(features=8), ConvSSM(features=8, layers=2, states=4)]


def variables_of(model, *inputs, **options):
    return meta.unbox(model.init(KEY, *inputs, **options))


def applied(layer, variables, *inputs) -> Any:
    return layer.apply(variables, *inputs)


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_with_kernels_of_size_1_every_position_is_an_lstm():
    x, state = random(5, 2, 3, 3, 4), (random(2, 3, 3, 6, seed=1), random(2, 3, 3, 6, seed=2))
    layer = ConvLSTM(6, size=1)
    variables = variables_of(layer, x, state, 5)
    outputs, last = applied(layer, variables, x, state, 5)
    weights = variables["params"]
    kernels = (weights[name]["kernel"][0, 0] for name in ("inputs", "recurrent"))
    flat = tuple(part.reshape(-1, 6) for part in state)
    expected, expected_last = lstm(x.reshape(5, -1, 4), *kernels, weights["bias"], None, flat, False)
    np.testing.assert_allclose(outputs.reshape(5, -1, 6), expected, atol=1e-5)
    np.testing.assert_allclose(last[1].reshape(-1, 6), expected_last[1], atol=1e-5)


def test_a_layer_without_inputs_equals_one_with_zeros():
    state = (random(1, 4, 4, 3), random(1, 4, 4, 3, seed=1))
    layer = ConvLSTM(3)
    zeros = jnp.zeros((4, 1, 4, 4, 2))
    variables = variables_of(layer, zeros, state, 4)
    np.testing.assert_allclose(
        applied(layer, variables, None, state, 4)[0], applied(layer, variables, zeros, state, 4)[0], atol=1e-6
    )


def test_the_diagonal_ssm_equals_a_loop_over_time():
    x, layer = random(6, 2, 1, 1, 3), DiagonalSSM(features=5, states=4)
    variables = variables_of(layer, x)
    weights = {name: jax.tree.map(np.asarray, leaf) for name, leaf in variables["params"].items()}
    decay = np.exp(-np.exp(weights["nu"]) + 1j * weights["theta"])
    assert (abs(decay) > 0.4).all()
    assert (abs(decay) < 0.99).all()
    gain, h, outputs = np.sqrt(1 - abs(decay) ** 2), np.zeros((2, 4), complex), []
    for now in np.asarray(x)[:, :, 0, 0]:
        both = now @ weights["B"]["kernel"]
        h = decay * h + gain * (both[:, :4] + 1j * both[:, 4:])
        outputs.append(np.concatenate([h.real, h.imag], axis=-1) @ weights["C"]["kernel"] + weights["C"]["bias"])
    np.testing.assert_allclose(applied(layer, variables, x)[:, :, 0, 0], np.stack(outputs), atol=1e-5)


def test_tubelets_are_squares_of_consecutive_frames():
    frames = random(2, 4, 6, 4, 1)
    x = to_tubelets(frames, 2, 2)
    assert x.shape == (2, 2, 3, 2, 8)
    np.testing.assert_array_equal(np.sort(x[1, 0, 2, 1]), np.sort(frames[0, 2:4, 4:6, 2:4].reshape(-1)))
    np.testing.assert_array_equal(to_frames(x, 2, 2), frames)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_the_first_predicted_frames_do_not_depend_on_the_horizon(model):
    """The recurrence runs forward in time only."""
    frames = random(2, 4, 8, 8, 1)
    variables = variables_of(model, frames, horizon=2, train=False)
    short, long = (model.apply(variables, frames, horizon=horizon, train=False) for horizon in (2, 6))
    assert (short.shape, long.shape) == ((2, 2, 8, 8, 1), (2, 6, 8, 8, 1))
    np.testing.assert_allclose(long[:, :2], short, atol=1e-5)
    assert np.abs(long[:, 4:] - long[:, 2:4]).max() > 1e-4


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_predictions_depend_on_the_first_frame(model):
    frames = random(1, 8, 8, 8, 1)
    variables = variables_of(model, frames, horizon=2, train=False)
    changed = frames.at[:, 0].add(1.0)
    difference = model.apply(variables, changed, horizon=2, train=False) - model.apply(
        variables, frames, horizon=2, train=False
    )
    assert np.abs(difference).max() > 1e-5


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize(
    ("shape", "horizon", "message"),
    [((1, 4, 9, 8, 1), 2, "patch=4"), ((1, 3, 8, 8, 1), 2, "tubelet=2"), ((1, 4, 8, 8, 1), 3, "horizon=3")],
)
def test_sizes_that_do_not_fit_are_refused(model, shape, horizon, message):
    with pytest.raises(ValueError, match=message):
        model.init(KEY, jnp.zeros(shape), horizon=horizon, train=False)
