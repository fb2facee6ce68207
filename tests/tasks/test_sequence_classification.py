"""Sequence classification: loss and metrics against NumPy, lengths, padding, pictures."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import random_weights

from jaxdl.errors import UserError
from jaxdl.tasks.sequence_classification import SequenceClassification

CLASSES, VOCABULARY = 3, 12
KEY = jax.random.key(3)


class Mean(nn.Module):
    """Linear classifier of the mean over valid steps."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, *, length, train):
        x = nn.Embed(VOCABULARY, 4)(x) if x.ndim == 2 else x
        length = jnp.full(len(x), x.shape[1]) if length is None else length
        valid = jnp.arange(x.shape[1]) < length[:, None]
        mean = jnp.sum(x * valid[..., None], axis=1) / length[:, None]
        return nn.Dense(CLASSES)(nn.Dropout(self.dropout, deterministic=not train)(mean))


def make_batch(size=6, time=5, tokens=True, seed=0):
    draws = np.random.default_rng(seed)
    values = draws.integers(4, VOCABULARY, (size, time)) if tokens else draws.normal(size=(size, time, 4))
    name = "tokens" if tokens else "inputs"
    return {
        name: values.astype(np.int32 if tokens else np.float32),
        f"{name}_length": draws.integers(1, time + 1, size).astype(np.int32),
        "label": draws.integers(0, CLASSES, size).astype(np.int32),
        "weight": np.ones(size, np.float32),
        "index": np.arange(size, dtype=np.int32),
    }


def log_probabilities(params, batch):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["classifier"])
    x = params["Embed_0"]["embedding"][batch["tokens"]] if "tokens" in batch else batch["inputs"]
    length = batch.get("tokens_length", batch.get("inputs_length", np.full(len(x), x.shape[1])))
    mean = np.stack([row[:steps].mean(0) for row, steps in zip(x, length)])
    logits = mean @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def start(task, batch):
    return random_weights(task.init, batch)


def loss_of(task, params, variables, batch, key):
    return jax.jit(task.phases[0].loss)(params, variables, batch, key, 0, {})


def evaluated(task, params, variables, batch):
    return jax.jit(task.evaluate)(params, variables, batch, KEY).metrics


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("tokens", [True, False])
def test_the_loss_matches_numpy(smoothing, tokens):
    task = SequenceClassification(Mean(), label_smoothing=smoothing)
    batch = make_batch(tokens=tokens)
    batch["weight"] = np.array([1, 1, 0.5, 2, 1, 0], np.float32)
    params, variables = start(task, batch)
    outcome = loss_of(task, params, variables, batch, KEY)
    expected = log_probabilities(params, batch)
    target = (1 - smoothing) * np.eye(CLASSES)[batch["label"]] + smoothing / CLASSES
    hits = (batch["weight"] * (expected.argmax(-1) == batch["label"])).sum()
    assert set(outcome.terms) == {"cross_entropy"}
    total = -(batch["weight"] * (target * expected).sum(-1)).sum()
    np.testing.assert_allclose(outcome.terms["cross_entropy"][:2], (total, 5.5), rtol=1e-5)
    np.testing.assert_allclose(outcome.metrics["accuracy"], (hits, 5.5))


def test_evaluation_and_prediction_match_numpy():
    task = SequenceClassification(Mean(), label_smoothing=0.3)
    batch = make_batch(size=30)
    params, variables = start(task, batch)
    metrics = evaluated(task, params, variables, batch)
    assert set(metrics) == {"loss", "accuracy", "confusion"}
    expected, label = log_probabilities(params, batch), batch["label"]
    np.testing.assert_allclose(metrics["loss"], (-expected[np.arange(30), label].sum(), 30), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], ((expected.argmax(-1) == label).sum(), 30))
    confusion = np.zeros((CLASSES, CLASSES))
    np.add.at(confusion, (label, expected.argmax(-1)), 1)
    np.testing.assert_array_equal(metrics["confusion"][0], confusion)
    outputs = jax.jit(task.predict)(params, variables, batch, KEY)
    np.testing.assert_array_equal(outputs["label"], expected.argmax(-1))
    np.testing.assert_allclose(outputs["probabilities"], np.exp(expected), rtol=1e-4)
    np.testing.assert_allclose(outputs["probability"], np.exp(expected).max(-1), rtol=1e-4)


def test_metrics_and_loss_do_not_depend_on_padding():
    task = SequenceClassification(Mean())
    batch = make_batch(size=3)
    params, variables = start(task, batch)
    rows = {name: np.concatenate([value, value[:2]]) for name, value in batch.items()}
    rows["weight"][3:] = 0
    steps = batch | {"tokens": np.pad(batch["tokens"], ((0, 0), (0, 4)), constant_values=1)}
    exact = evaluated(task, params, variables, batch)
    loss = loss_of(task, params, variables, batch, KEY).terms
    for inputs in (rows, steps):
        actual = evaluated(task, params, variables, inputs)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), exact, actual)
        terms = loss_of(task, params, variables, inputs, KEY).terms
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), loss, terms)


def test_all_steps_are_valid_without_lengths():
    task = SequenceClassification(Mean())
    batch = make_batch()
    params, variables = start(task, batch)
    batch["tokens_length"][:] = 5
    probabilities = [
        jax.jit(task.predict)(params, variables, inputs, KEY)["probabilities"]
        for inputs in (batch, {name: value for name, value in batch.items() if name != "tokens_length"})
    ]
    np.testing.assert_array_equal(probabilities[0], probabilities[1])


def test_dropout_depends_on_the_key():
    task = SequenceClassification(Mean(dropout=0.5))
    batch = make_batch()
    params, variables = start(task, batch)
    losses = [
        float(loss_of(task, params, variables, batch, jax.random.key(seed)).terms["cross_entropy"].sum)
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


class Words(tuple):
    """Tokenizer stub."""

    def decode(self, ids):
        return " ".join(self[token] for token in ids)


def test_pictures_show_texts_and_confusion():
    task = SequenceClassification(Mean())
    batch = make_batch()
    batch["weight"][4:] = 0
    params, variables = start(task, batch)
    outputs = {name: np.asarray(value) for name, value in jax.jit(task.predict)(params, variables, batch, KEY).items()}
    names = {"tokens": Words(f"word{number}" for number in range(VOCABULARY)), "label": ("bad", "fair", "good")}
    pictures = task.presentation.pictures(batch, outputs, {"confusion": np.eye(CLASSES) / CLASSES}, names)
    assert set(pictures) == {"predictions", "confusion"}
    assert all(picture.dtype == np.uint8 and picture.shape[-1] == 3 for picture in pictures.values())
    right = task.presentation.pictures(batch | {"label": outputs["label"]}, outputs, {}, names)["predictions"]
    errors = task.presentation.pictures(batch | {"label": (outputs["label"] + 1) % CLASSES}, outputs, {}, names)[
        "predictions"
    ]
    vermilion = np.array([0xD5, 0x5E, 0x00])
    assert not (right == vermilion).all(-1).any()
    assert (errors == vermilion).all(-1).any()
    unlabelled = {name: value for name, value in batch.items() if name != "label"}
    assert task.presentation.pictures(unlabelled, outputs, {}, {})["predictions"].shape[1:] == (900, 3)


def test_numeric_sequences_have_no_text_table():
    task = SequenceClassification(Mean())
    batch = make_batch(tokens=False)
    outputs = {
        name: np.asarray(value) for name, value in jax.jit(task.predict)(*start(task, batch), batch, KEY).items()
    }
    assert task.presentation.pictures(batch, outputs, {}, {}) == {}


def test_incompatible_models_and_batches_are_refused():
    with pytest.raises(UserError, match="label_smoothing"):
        SequenceClassification(Mean(), label_smoothing=1.0)
    task = SequenceClassification(Mean())
    batch = make_batch()
    params, variables = start(task, batch)
    with pytest.raises(UserError, match="needs 'tokens' or 'inputs'"):
        task.evaluate(params, variables, {"image": batch["tokens"]}, KEY)
    with pytest.raises(UserError, match=r"tokens has shape \(6,\)"):
        task.evaluate(params, variables, batch | {"tokens": batch["label"]}, KEY)

    class OneNumber(nn.Module):
        @nn.compact
        def __call__(self, x, *, length, train):
            return nn.Dense(1)(x.astype(jnp.float32))[:, 0]

    task = SequenceClassification(OneNumber())
    params, variables = start(task, batch)
    with pytest.raises(UserError, match=r"the task needs \[6, outputs\]"):
        jax.jit(task.predict)(params, variables, batch, KEY)
