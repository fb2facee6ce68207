"""Sequence regression: loss and metrics against NumPy, gradient norms, errors, pictures."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import random_weights

from jaxdl.errors import UserError
from jaxdl.tasks.sequence_regression import SequenceRegression, vector_norms
from jaxdl.viz.gradients import gradient_norms

KEY = jax.random.key(3)


class Fading(nn.Module):
    """Linear recurrent model h <- rate h + x with linear outputs: gradients have a closed form."""

    outputs: int = 1
    rate: float = 0.5

    @nn.compact
    def __call__(self, x, *, length, train):
        length = jnp.full(len(x), x.shape[1]) if length is None else length
        back = length[:, None] - 1 - jnp.arange(x.shape[1])
        share = jnp.where(back >= 0, jnp.float32(self.rate) ** jnp.maximum(back, 0), 0.0)
        return nn.Dense(self.outputs)(jnp.einsum("bt,btc->bc", share, x))


def make_batch(size=5, time=6, outputs=None, lengths=False, seed=0):
    draws = np.random.default_rng(seed)
    batch = {
        "inputs": draws.normal(size=(size, time, 2)).astype(np.float32),
        "target": draws.normal(size=(size,) if outputs is None else (size, outputs)).astype(np.float32),
        "weight": np.ones(size, np.float32),
        "index": np.arange(size, dtype=np.int32),
    }
    return batch | ({"inputs_length": draws.integers(1, time + 1, size).astype(np.int32)} if lengths else {})


def start(task, batch):
    return random_weights(task.init, batch)


def loss_of(task, params, variables, batch, key):
    return jax.jit(task.phases[0].loss)(params, variables, batch, key, 0, {})


def evaluated(task, params, variables, batch):
    return jax.jit(task.evaluate)(params, variables, batch, KEY).metrics


def reference(params, batch, rate=0.5):
    """Computes errors [batch, outputs] and norms of d loss_i / d inputs_i[t], [batch, time]."""
    dense = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["regressor"]["Dense_0"])
    time = batch["inputs"].shape[1]
    back = batch.get("inputs_length", np.full(len(batch["inputs"]), time))[:, None] - 1 - np.arange(time)
    share = np.where(back >= 0, rate ** np.maximum(back, 0.0), 0.0)
    outputs = np.einsum("bt,btc->bc", share, batch["inputs"]) @ dense["kernel"] + dense["bias"]
    errors = outputs - batch["target"].reshape(len(outputs), -1)
    pulled = 2 * errors / errors.shape[1] @ dense["kernel"].T
    return errors, share * np.linalg.norm(pulled, axis=-1)[:, None]


@pytest.mark.parametrize(("outputs", "lengths"), [(None, False), (3, True)])
def test_loss_metrics_and_gradients_match_numpy(outputs, lengths):
    task = SequenceRegression(Fading(outputs or 1))
    batch = make_batch(outputs=outputs, lengths=lengths)
    batch["weight"] = np.array([1, 0.5, 2, 1, 0], np.float32)
    params, variables = start(task, batch)
    errors, norms = reference(params, batch)
    squared = (batch["weight"] * np.square(errors).mean(-1)).sum()
    absolute = (batch["weight"] * np.abs(errors).mean(-1)).sum()

    outcome = loss_of(task, params, variables, batch, KEY)
    assert set(outcome.terms) == {"squared_error"}
    np.testing.assert_allclose(outcome.terms["squared_error"][:2], (squared, 4.5), rtol=1e-5)
    np.testing.assert_allclose(outcome.metrics["mae"], (absolute, 4.5), rtol=1e-5)

    metrics = evaluated(task, params, variables, batch)
    assert set(metrics) == {"mse", "mae", "gradient_norm"}
    np.testing.assert_allclose(metrics["mse"], (squared, 4.5), rtol=1e-5)
    np.testing.assert_allclose(metrics["mae"], (absolute, 4.5), rtol=1e-5)
    valid = np.arange(6) < batch.get("inputs_length", np.full(5, 6))[:, None]
    total, weight = metrics["gradient_norm"]
    assert total.dtype == jnp.float32
    np.testing.assert_allclose(total, (batch["weight"][:, None] * norms).sum(0), rtol=1e-5)
    np.testing.assert_allclose(weight, (batch["weight"][:, None] * valid).sum(0))


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_gradient_norms_are_geometric_in_time(rate):
    task = SequenceRegression(Fading(rate=rate))
    batch = make_batch(time=10)
    params, variables = start(task, batch)
    total, weight = evaluated(task, params, variables, batch)["gradient_norm"]
    norms = np.asarray(total / weight)
    np.testing.assert_allclose(norms[:-1] / norms[1:], rate, rtol=1e-5)


def test_gradient_norms_do_not_underflow():
    vectors = jnp.array([[3e-30, 4e-30], [0.0, 0.0], [3e25, -4e25]])
    np.testing.assert_allclose(vector_norms(vectors), [5e-30, 0, 5e25], rtol=1e-6)


def test_metrics_do_not_depend_on_padding():
    task = SequenceRegression(Fading())
    batch = make_batch(size=3, lengths=True)
    params, variables = start(task, batch)
    rows = {name: np.concatenate([value, value[:2]]) for name, value in batch.items()}
    rows["weight"][3:] = 0
    steps = batch | {"inputs": np.pad(batch["inputs"], ((0, 0), (0, 4), (0, 0)), constant_values=7.0)}
    exact = evaluated(task, params, variables, batch)
    for inputs in (rows, steps):
        actual = evaluated(task, params, variables, inputs)
        cut = {name: tuple(part[:6] if part.ndim else part for part in pair) for name, pair in actual.items()}
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), exact, cut)
    longer = evaluated(task, params, variables, steps)["gradient_norm"]
    np.testing.assert_array_equal(np.asarray(longer)[:, 6:], 0)


def test_evaluation_sums_over_batches():
    task = SequenceRegression(Fading())
    batch = make_batch(size=9, lengths=True)
    params, variables = start(task, batch)
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 4), slice(4, 9))]
    expected = evaluated(task, params, variables, batch)
    sums = jax.tree.map(jnp.add, *(evaluated(task, params, variables, part) for part in halves))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), expected, sums)


@pytest.mark.parametrize("outputs", [None, 2])
def test_predictions_are_scalars_or_vectors(outputs):
    task = SequenceRegression(Fading(outputs or 1))
    batch = make_batch(outputs=outputs)
    params, variables = start(task, batch)
    unknown = {name: value for name, value in batch.items() if name != "target"}
    value = jax.jit(task.predict)(params, variables, unknown, KEY)["value"]
    assert value.shape == batch["target"].shape
    expected = batch["target"].reshape(5, -1) + reference(params, batch)[0]
    np.testing.assert_allclose(np.asarray(value).reshape(5, -1), expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_picture_shows_evaluated_norms():
    task = SequenceRegression(Fading())
    pictures = task.presentation.pictures({}, {}, {"mse": 0.1, "gradient_norm": np.geomspace(1e-12, 1, 50)}, {})
    assert pictures["gradient_norm"].shape == (420, 720, 3)
    assert task.presentation.pictures({}, {}, {"mse": 0.1}, {}) == {}


def test_curves_are_overlaid_and_nonpositive_values_omitted():
    single = gradient_norms({"LSTM": np.ones(5)})
    two = gradient_norms({"LSTM": np.ones(5), "RNN": [0.0, 1e-30, np.nan, np.inf, 1.0]})
    assert single.dtype == two.dtype == np.uint8
    assert single.shape == two.shape == (420, 720, 3)
    assert np.any(single != two)
    empty = gradient_norms({"RNN": np.zeros(5)})
    assert empty.shape == (120, 480, 3)
    with pytest.raises(ValueError, match="expected"):
        gradient_norms({"RNN": np.ones((2, 3))})


def test_incompatible_models_and_batches_are_refused():
    task = SequenceRegression(Fading())
    batch = make_batch()
    params, variables = start(task, batch)
    with pytest.raises(UserError, match="needs 'inputs'"):
        task.init(KEY, {"tokens": np.ones((2, 3), np.int32)})
    with pytest.raises(UserError, match="float"):
        task.evaluate(params, variables, batch | {"inputs": np.ones((5, 6, 2), np.int32)}, KEY)
    with pytest.raises(UserError, match="set the model's outputs"):
        task.evaluate(params, variables, batch | {"target": np.ones((5, 2), np.float32)}, KEY)
