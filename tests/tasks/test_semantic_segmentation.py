"""Semantic segmentation: loss and metrics against numpy, unlabelled pixels, pictures."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxdl.errors import UserError
from jaxdl.tasks.parts.dense_prediction import soft_dice
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.tasks.semantic_segmentation import SemanticSegmentation

CLASSES = 3
KEY = jax.random.key(0)
PIXELS = Normalize(mean=0.0, std=1.0)


class Conv(nn.Module):
    outputs: int = CLASSES

    @nn.compact
    def __call__(self, image, *, train):
        return nn.Conv(self.outputs, (3, 3))(image)


class Oracle(nn.Module):
    """Predicts the class id of the first channel; pixels are `image / 255`."""

    confidence: float = 30.0

    @nn.compact
    def __call__(self, image, *, train):
        scale = self.param("scale", nn.initializers.ones, ())
        return self.confidence * scale * jax.nn.one_hot(jnp.rint(image[..., 0] * 255).astype(jnp.int32), CLASSES)


def make_batch(size=4, shape=(5, 6), seed=0, unlabelled=0.2):
    draws = np.random.default_rng(seed)
    mask = draws.integers(0, CLASSES, (size, *shape)).astype(np.uint8)
    mask[draws.random(mask.shape) < unlabelled] = 255
    return {
        "image": draws.integers(0, 256, (size, *shape, 2), dtype=np.uint8),
        "mask": mask,
        "weight": np.ones(size, np.float32),
        "index": np.arange(size),
    }


def start(task, batch):
    return jax.jit(task.init)(KEY, batch)


def losses(task, params, variables, batch):
    return jax.jit(task.phases[0].loss)(params, variables, batch, KEY, 0, {})


def numpy_probabilities(task, params, variables, batch):
    kernel, bias = (np.asarray(params["segmenter"]["Conv_0"][name], np.float64) for name in ("kernel", "bias"))
    image = np.pad((batch["image"] / 255.0 - 0.5) / 0.25, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = batch["mask"].shape[1:]
    patches = [(image[:, i : i + height, j : j + width] @ kernel[i, j]) for i in range(3) for j in range(3)]
    logits = sum(patches) + bias
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_matches_numpy(smoothing):
    task = SemanticSegmentation(Conv(), num_classes=CLASSES, label_smoothing=smoothing, dice=0.7)
    batch = make_batch()
    batch["weight"] = np.array([1, 2, 0.5, 0], np.float32)
    batch["mask"][1][batch["mask"][1] == 2] = 255  # class 2 is absent from example 1
    params, variables = start(task, batch)
    terms = losses(task, params, variables, batch).terms
    probabilities = numpy_probabilities(task, params, variables, batch)
    entropy = pixels = dice = 0.0
    for weight, guess, mask in zip(batch["weight"], probabilities, batch["mask"]):
        labelled = mask != 255
        target = np.eye(CLASSES)[mask[labelled]]
        smooth = (1 - smoothing) * target + smoothing / CLASSES
        entropy -= weight * (smooth * np.log(guess[labelled])).sum()
        pixels += weight * labelled.sum()
        coefficients = [
            2 * (guess[labelled][:, c] * target[:, c]).sum() / ((guess[labelled][:, c] ** 2).sum() + target[:, c].sum())
            for c in range(CLASSES)
            if target[:, c].any()
        ]
        dice += weight * (1 - np.mean(coefficients))
    np.testing.assert_allclose(terms["cross_entropy"], (entropy, pixels, 1.0), rtol=1e-5)
    np.testing.assert_allclose(terms["dice"], (dice, 3.5, 0.7), rtol=1e-5)


def test_soft_dice_matches_hand_computed_values():
    target = np.zeros((1, 2, 2, 2), np.float32)
    target[0, 0, :, 1], target[0, 1, :, 0] = 1, 1
    uniform = np.full_like(target, 0.5)
    # Each class: 2 * (2 * 0.5) / (4 * 0.25 + 2) = 2 / 3.
    np.testing.assert_allclose(soft_dice(jnp.asarray(uniform), jnp.asarray(target)), ([1 / 3], [1.0]), rtol=1e-6)
    np.testing.assert_allclose(soft_dice(jnp.asarray(target), jnp.asarray(target)), ([0.0], [1.0]))
    np.testing.assert_allclose(soft_dice(jnp.asarray(1 - target), jnp.asarray(target)), ([1.0], [1.0]))
    np.testing.assert_allclose(soft_dice(jnp.asarray(uniform), jnp.asarray(0 * target)), ([0.0], [0.0]))


@settings(deadline=None, max_examples=50)
@given(arrays(np.float32, (2, 3, 3, 2), elements=st.floats(0, 1, width=32)), arrays(np.bool_, (2, 3, 3)))
def test_soft_dice_is_between_0_and_1(probabilities, occupied):
    target = np.stack([occupied, ~occupied], -1).astype(np.float32)
    loss, counted = soft_dice(jnp.asarray(probabilities), jnp.asarray(target))
    assert np.all((loss >= -1e-6) & (loss <= 1 + 1e-6))
    assert np.all(np.asarray(counted) == 1)


def test_perfect_predictions_have_zero_loss():
    task = SemanticSegmentation(Oracle(), num_classes=CLASSES, normalize=PIXELS)
    batch = make_batch(unlabelled=0.0)
    batch["image"][..., 0] = batch["mask"]
    params, variables = start(task, batch)
    for term in losses(task, params, variables, batch).terms.values():
        assert abs(float(term.sum)) < 1e-5
    evaluation = task.evaluate(params, variables, batch, KEY)
    metrics = {name: np.asarray(total) / np.asarray(weight) for name, (total, weight) in evaluation.metrics.items()}
    assert task.score(jax.device_get(evaluation.records), metrics, {}) == {"mean_iou": 1.0, "mean_dice": 1.0}
    assert metrics["pixel_accuracy"] == 1
    outputs = task.predict(params, variables, {"image": batch["image"]}, KEY)
    np.testing.assert_array_equal(outputs["mask"], batch["mask"])
    assert outputs["mask"].dtype == jnp.uint8
    np.testing.assert_allclose(outputs["probability"], 1, rtol=1e-6)


def test_evaluation_matches_hand_computed_values():
    task = SemanticSegmentation(Oracle(confidence=3.0), num_classes=CLASSES, normalize=PIXELS, label_smoothing=0.5)
    batch = make_batch(size=2, shape=(1, 4))
    batch["mask"][:] = [[[0, 0, 1, 1]], [[1, 255, 255, 255]]]
    batch["image"][..., 0] = [[[0, 1, 1, 1]], [[0, 0, 1, 2]]]
    params, variables = start(task, batch)
    evaluation = jax.device_get(jax.jit(task.evaluate)(params, variables, batch, KEY))
    np.testing.assert_array_equal(evaluation.metrics["confusion"][0], [[1, 1, 0], [1, 2, 0], [0, 0, 0]])
    assert evaluation.metrics["confusion"][1] == 5
    assert evaluation.metrics["pixel_accuracy"][0] == 3
    expected = 3 * np.log(1 + 2 * np.exp(-3)) + 2 * np.log(np.exp(3) + 2)
    np.testing.assert_allclose(evaluation.metrics["loss"][0], expected, rtol=1e-6)
    scores = task.score(evaluation.records, {"confusion": evaluation.metrics["confusion"][0] / 5}, {})
    assert scores["mean_iou"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert scores["mean_dice"] == pytest.approx((2 / 4 + 4 / 6) / 2)


def test_two_classes_are_scored_by_dice():
    task = SemanticSegmentation(Conv(2), num_classes=2)
    scores = task.score({}, {"confusion": np.array([[5, 1], [2, 4]])}, {})
    assert scores["dice"] == pytest.approx(8 / 11)


def test_dice_of_the_foreground_is_the_mean_of_its_classes():
    task = SemanticSegmentation(Oracle(), num_classes=3, background=True, normalize=PIXELS)
    confusion = np.array([[5, 1, 0], [1, 2, 0], [0, 1, 4]]) / 14
    scores = task.score({}, {"confusion": confusion}, {"mask": ("background", "grey", "white")})
    assert scores["dice_grey"] == pytest.approx(2 * 2 / (3 + 4))
    assert scores["dice_white"] == pytest.approx(2 * 4 / (5 + 4))
    assert scores["dice"] == pytest.approx((4 / 7 + 8 / 9) / 2)
    assert "dice_background" not in scores
    assert task.score({}, {"confusion": confusion}, {})["dice_2"] == scores["dice_white"]


def test_unlabelled_pixels_and_padding_are_ignored():
    task = SemanticSegmentation(Conv(), num_classes=CLASSES)
    batch = make_batch()
    batch["weight"][3] = 0
    params, variables = start(task, batch)
    altered = {name: value.copy() for name, value in batch.items()}
    altered["image"][3], altered["mask"][3] = 0, 77  # not a class id

    def everything(params, batch):
        outcome = task.phases[0].loss(params, variables, batch, KEY, 0, {})
        evaluation = task.evaluate(params, variables, batch, KEY)
        return outcome.terms, outcome.metrics, evaluation.metrics

    assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(assert_close, everything(params, batch), everything(params, altered))

    def terms(logits_bias):  # outputs at unlabelled pixels are ignored
        class Shifted(nn.Module):
            @nn.compact
            def __call__(self, image, *, train):
                unlabelled = (batch["mask"] == 255)[..., None]
                return Conv(name="conv")(image, train=train) + unlabelled * logits_bias * jnp.arange(CLASSES)

        task = SemanticSegmentation(Shifted(), num_classes=CLASSES)
        return task.phases[0].loss({"segmenter": {"conv": params["segmenter"]}}, {}, batch, KEY, 0, {}).terms

    jax.tree.map(assert_close, terms(0.0), terms(5.0))


def test_examples_without_labels_have_no_weight():
    task = SemanticSegmentation(Conv(), num_classes=CLASSES)
    batch = make_batch()
    batch["mask"][:] = 255
    params, variables = start(task, batch)
    for term in losses(task, params, variables, batch).terms.values():
        assert (term.sum, term.weight) == (0, 0)


def test_terms_and_metrics_sum_over_batches():
    task = SemanticSegmentation(Conv(), num_classes=CLASSES)
    batch = make_batch(size=6)
    batch["weight"][2] = 0
    params, variables = start(task, batch)
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 2), slice(2, 6))]
    expected = losses(task, params, variables, batch).terms
    first, second = (losses(task, params, variables, part).terms for part in halves)
    for name, term in expected.items():
        np.testing.assert_allclose(first[name].sum + second[name].sum, term.sum, rtol=1e-5)
        np.testing.assert_allclose(first[name].weight + second[name].weight, term.weight)
    metrics = task.evaluate(params, variables, batch, KEY).metrics
    sums = jax.tree.map(jnp.add, *(task.evaluate(params, variables, part, KEY).metrics for part in halves))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), sums, metrics)


@pytest.mark.parametrize("name", ["cross_entropy", "dice"])
def test_gradients_are_finite_for_confident_errors(name):
    task = SemanticSegmentation(Oracle(confidence=300.0), num_classes=CLASSES, normalize=PIXELS)
    batch = make_batch()
    batch["image"][..., 0] = 0
    batch["mask"][0] = 255
    params, variables = start(task, batch)
    value, gradient = jax.value_and_grad(lambda p: losses(task, p, variables, batch).terms[name].sum)(params)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes=1"),
        ({"num_classes": 256}, "num_classes=256"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"dice": -1.0}, "dice=-1.0"),
        ({"names": ("a", "b")}, "names has 2 class names, but num_classes=3"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        SemanticSegmentation(Conv(), **{"num_classes": CLASSES, **arguments})


def test_wrong_shapes_are_refused():
    batch = make_batch()
    task = SemanticSegmentation(Conv(), num_classes=CLASSES)
    params, variables = start(task, batch)
    for mask, message in [(batch["mask"][:, :3], "mask must have"), (batch["mask"] / 255, "integers")]:
        with pytest.raises(UserError, match=message):
            jax.eval_shape(task.phases[0].loss, params, variables, {**batch, "mask": mask}, KEY, 0, {})
    narrow = SemanticSegmentation(Conv(2), num_classes=CLASSES)
    params, variables = start(narrow, batch)
    with pytest.raises(UserError, match=r"the model returns the shape \(4, 5, 6, 2\)"):
        jax.eval_shape(narrow.evaluate, params, variables, batch, KEY)


@pytest.mark.parametrize("labelled", [True, False])
def test_pictures_have_the_expected_names_and_sizes(labelled):
    task = SemanticSegmentation(Conv(), num_classes=CLASSES)
    batch = make_batch(shape=(12, 16))
    params, variables = start(task, batch)
    outputs = jax.device_get(task.predict(params, variables, batch, KEY))
    confusion = np.asarray(task.evaluate(params, variables, batch, KEY).metrics["confusion"][0])
    if not labelled:
        del batch["mask"], batch["weight"]
    names = {"mask": ["background", "cell"]}
    pictures = task.presentation.pictures(batch, outputs, {"confusion": confusion} if labelled else {}, names)
    assert set(pictures) == ({"predictions", "confusion"} if labelled else {"predictions"})
    output = {name: value[0] for name, value in outputs.items()}
    single = task.presentation.picture({"image": batch["image"][0]}, output, names)
    for picture in (*pictures.values(), single):
        assert picture.dtype == np.uint8
        assert picture.shape[-1] == 3
    assert min(single.shape[:2]) > 300  # enlarged from 12 x 16 pixels
