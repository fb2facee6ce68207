"""Image classification: loss and metrics against numpy, padding, errors, pictures."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import random_weights

from jaxdl.errors import UserError
from jaxdl.models.convnet import ConvNet
from jaxdl.models.layers.norms import batch_norm, group_norm
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.tasks.parts.pixels import Normalize

CLASSES = 7
KEY = jax.random.key(0)


def start(task, batch):
    return random_weights(task.init, batch)


class Linear(nn.Module):
    """Linear classifier."""

    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(CLASSES)(image.reshape(len(image), -1))


def make_batch(size=6, channels=2, mix=False, seed=0):
    draws = np.random.default_rng(seed)
    batch = {
        "image": draws.integers(0, 256, (size, 4, 4, channels), dtype=np.uint8),
        "label": draws.integers(0, CLASSES, size).astype(np.int32),
        "weight": np.ones(size, np.float32),
        "index": np.arange(size),
    }
    if mix:
        batch["mix_label"] = draws.integers(0, CLASSES, size).astype(np.int32)
        batch["mix_weight"] = draws.uniform(size=size).astype(np.float32)
    return batch


def numpy_logits(params, image, mean, std):
    dense = params["classifier"]["Dense_0"]
    normal = (image / 255.0 - np.asarray(mean)) / np.asarray(std)
    return normal.reshape(len(image), -1) @ np.asarray(dense["kernel"], np.float64) + np.asarray(dense["bias"])


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("mix", [False, True])
def test_the_loss_matches_numpy(smoothing, mix):
    mean, std = (0.3, 0.6), (0.2, 0.5)
    task = ImageClassification(Linear(), label_smoothing=smoothing, normalize=Normalize(mean=mean, std=std))
    batch = make_batch(mix=mix)
    batch["weight"] = np.array([1, 1, 0.5, 2, 1, 0], np.float32)
    params, variables = start(task, batch)
    assert variables == {}
    outcome = task.phases[0].loss(params, variables, batch, KEY, 0, {})

    logits = numpy_logits(params, batch["image"], mean, std)
    target = np.eye(CLASSES)[batch["label"]]
    if mix:
        share = batch["mix_weight"][:, None]
        target = (1 - share) * target + share * np.eye(CLASSES)[batch["mix_label"]]
    smooth = (1 - smoothing) * target + smoothing / CLASSES
    expected = (batch["weight"] * -(smooth * log_softmax(logits)).sum(-1)).sum()
    hits = (batch["weight"] * target[np.arange(6), logits.argmax(-1)]).sum()
    assert set(outcome.terms) == {"cross_entropy"}
    np.testing.assert_allclose(outcome.terms["cross_entropy"].sum, expected, rtol=1e-5)
    np.testing.assert_allclose(outcome.terms["cross_entropy"].weight, 5.5)
    np.testing.assert_allclose(outcome.metrics["accuracy"], (hits, 5.5), rtol=1e-6)


def test_evaluation_matches_numpy():
    task = ImageClassification(Linear(), top=(1, 3, 5, 50), label_smoothing=0.3)
    batch = make_batch(size=40)
    params, variables = start(task, batch)
    metrics = task.evaluate(params, variables, batch, jax.random.key(0)).metrics
    assert set(metrics) == {"loss", "accuracy", "accuracy_top3", "accuracy_top5", "confusion"}
    logits = numpy_logits(params, batch["image"], 0.5, 0.25)
    order = np.argsort(-logits, axis=-1)
    label = batch["label"]
    np.testing.assert_allclose(metrics["loss"][0], -log_softmax(logits)[np.arange(40), label].sum(), rtol=1e-5)
    for name, k in (("accuracy", 1), ("accuracy_top3", 3), ("accuracy_top5", 5)):
        np.testing.assert_allclose(metrics[name], ((order[:, :k] == label[:, None]).any(-1).sum(), 40))
    confusion = np.zeros((CLASSES, CLASSES))
    np.add.at(confusion, (label, order[:, 0]), 1)
    np.testing.assert_array_equal(metrics["confusion"][0], confusion)


def test_metrics_and_loss_do_not_depend_on_padding():
    task = ImageClassification(Linear(), top=(1, 5))
    batch = make_batch(size=5)
    params, variables = start(task, batch)
    padded = {name: np.concatenate([value, value[:3] * 0 + 1]) for name, value in batch.items()}
    padded["weight"][5:] = 0
    exact = task.evaluate(params, variables, batch, KEY).metrics
    actual = task.evaluate(params, variables, padded, KEY).metrics
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), exact, actual)
    exact, actual = (task.phases[0].loss(params, variables, b, KEY, 0, {}) for b in (batch, padded))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), exact.terms, actual.terms)


def test_evaluation_sums_over_batches():
    task = ImageClassification(Linear())
    batch = make_batch(size=12)
    params, variables = start(task, batch)
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 5), slice(5, 12))]
    expected = task.evaluate(params, variables, batch, KEY).metrics
    sums = jax.tree.map(jnp.add, *(task.evaluate(params, variables, part, KEY).metrics for part in halves))
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(sums[name], expected[name], rtol=1e-6)
    np.testing.assert_allclose(sums["confusion"][0], expected["confusion"][0])


def test_batch_statistics_are_updated_in_training_and_used_in_evaluation():
    task = ImageClassification(ConvNet(CLASSES, channels=(8,), depth=1))
    batch = make_batch(size=8)
    params, variables = start(task, batch)
    outcome = jax.jit(task.phases[0].loss)(params, variables, batch, KEY, 0, {})
    assert jax.tree.structure(outcome.variables) == jax.tree.structure(variables)
    mean = outcome.variables["classifier"]["batch_stats"]["stage1"]["norm1"]["mean"]
    assert np.all(np.asarray(mean) != 0)
    evaluate = jax.jit(task.evaluate)
    before = evaluate(params, variables, batch, KEY).metrics["loss"][0]
    after = evaluate(params, outcome.variables, batch, KEY).metrics["loss"][0]
    assert before != after


def test_dropout_depends_on_the_key():
    task = ImageClassification(ConvNet(CLASSES, channels=(8,), depth=1, dropout=0.5))
    batch = make_batch(size=8)
    params, variables = start(task, batch)
    loss = jax.jit(lambda key: task.phases[0].loss(params, variables, batch, key, 0, {}).terms["cross_entropy"].sum)
    assert loss(jax.random.key(1)) == loss(jax.random.key(1))
    assert loss(jax.random.key(1)) != loss(jax.random.key(2))


def test_batch_coupling_is_reported():
    def coupling(norm):
        return ImageClassification(ConvNet(CLASSES, norm=norm)).batch_statistics

    assert "batch normalization" in coupling(batch_norm)
    assert "batch normalization" in coupling(functools.partial(batch_norm, momentum=0.5))
    assert coupling(group_norm) == ""


def test_predictions_have_labels_and_probabilities():
    task = ImageClassification(Linear())
    batch = make_batch()
    params, variables = start(task, batch)
    outputs = task.predict(params, variables, {"image": batch["image"]}, jax.random.key(0))
    assert outputs["label"].dtype == jnp.int32
    np.testing.assert_allclose(outputs["probabilities"].sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(outputs["label"], outputs["probabilities"].argmax(-1))
    np.testing.assert_array_equal(outputs["probability"], outputs["probabilities"].max(-1))


@pytest.mark.parametrize("labelled", [True, False])
def test_pictures_show_predictions_and_confusion(labelled):
    task = ImageClassification(Linear())
    batch = make_batch(channels=3, size=5)
    params, variables = start(task, batch)
    outputs = jax.device_get(task.predict(params, variables, batch, KEY))
    confusion = np.asarray(task.evaluate(params, variables, batch, KEY).metrics["confusion"][0])
    if not labelled:
        del batch["label"], batch["weight"]
    metrics = {"confusion": confusion} if labelled else {}
    pictures = task.presentation.pictures(batch, outputs, metrics, {"label": ["a", "b"]})
    assert set(pictures) == ({"predictions", "confusion"} if labelled else {"predictions"})
    for picture in pictures.values():
        assert picture.dtype == np.uint8
        assert picture.ndim == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageClassification(Linear(), label_smoothing=1.0), "label_smoothing=1.0"),
        (lambda: ImageClassification(Linear(), normalize=Normalize(std=0.0)), "std=0.0"),
        (lambda: ImageClassification(Linear(), top=(0,)), "top="),
        (lambda: ImageClassification(Linear(), normalize=Normalize(mean=(0.5, 0.5, 0.5))), "mean has 3 values, but"),
    ],
)
def test_invalid_arguments_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make().init(KEY, make_batch())


def test_images_without_channels_are_refused():
    batch = make_batch()
    with pytest.raises(UserError, match="height, width, channels"):
        ImageClassification(Linear()).init(jax.random.key(0), {**batch, "image": batch["image"][..., 0]})
