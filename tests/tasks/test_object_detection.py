"""Object detection: assignment, losses in closed form, decoding, scoring, errors, pictures."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import random_weights

from jaxdl.errors import UserError
from jaxdl.metrics.detection import average_precision
from jaxdl.tasks.object_detection import ObjectDetection
from jaxdl.tasks.parts.fcos import assign, locate
from jaxdl.training.step import make_eval_step

SIZES = ((16, 16), (8, 8))
SHAPE = (64, 64)


class Pyramid(nn.Module):
    """Two levels with strides 4 and 8, each linear in its patches."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, image, *, train):
        outputs = {"class_logits": [], "distances": [], "centerness": []}
        for stride in (4, 8):
            x = nn.Conv(self.num_classes + 5, (stride, stride), (stride, stride), name=f"stride{stride}")(image)
            outputs["class_logits"].append(x[..., : self.num_classes])
            outputs["distances"].append(nn.softplus(x[..., self.num_classes : -1]) * stride)
            outputs["centerness"].append(x[..., -1])
        return {name: tuple(levels) for name, levels in outputs.items()}


TASK = ObjectDetection(Pyramid(), num_classes=3, reach=4.0, limit=10, candidates=60)


def make_batch(size=4, seed=0):
    draws = np.random.default_rng(seed)
    start = draws.uniform(0, 30, (size, 3, 2))
    boxes = np.concatenate([start, start + draws.uniform(8, 30, (size, 3, 2))], axis=-1).astype(np.float32)
    weight = np.ones((size, 3), np.float32)
    weight[:, 2] = draws.uniform(size=size) < 0.5
    return {
        "image": draws.integers(0, 256, (size, *SHAPE, 3), dtype=np.uint8),
        "boxes": boxes * weight[..., None],
        "box_label": (draws.integers(0, 3, (size, 3)) * weight).astype(np.int32),
        "box_weight": weight,
        "weight": np.ones(size, np.float32),
        "index": np.arange(size, dtype=np.int32),
    }


@pytest.fixture(scope="module")
def initialized():
    return random_weights(TASK.init, make_batch())


def test_locations_are_the_centers_of_their_cells():
    locations = locate(SHAPE, SIZES, reach=4.0)
    assert len(locations.center) == 16 * 16 + 8 * 8
    np.testing.assert_allclose(locations.center[[0, 1, 16, 256]], [[2, 2], [2, 6], [6, 2], [4, 4]])
    assert set(zip(locations.min_distance, locations.max_distance)) == {(0, 16), (16, np.inf)}


def test_strides_of_odd_image_sizes_are_powers_of_two():
    assert set(locate((50, 35), [(13, 9), (7, 5)], 4.0).stride) == {4, 8}
    with pytest.raises(UserError, match="double the strides"):
        locate((64, 64), [(8, 8), (16, 16)], 4.0)


def test_locations_are_assigned_to_the_smallest_box():
    locations = locate(SHAPE, SIZES, reach=4.0)
    boxes = jnp.array([[8.0, 8.0, 24.0, 24.0], [12.0, 12.0, 20.0, 20.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 64.0, 60.0]])
    targets = assign(locations, boxes, jnp.array([0, 1, 2, 2]), jnp.array([1.0, 1.0, 0.0, 1.0]), 1.5)
    label = np.asarray(targets.label)
    inner = np.flatnonzero((locations.center == [14.0, 14.0]).all(1))[0]
    assert label[inner] == 1
    np.testing.assert_allclose(targets.distances[inner], [2, 2, 6, 6])
    np.testing.assert_allclose(targets.centerness[inner], 1 / 3, rtol=1e-6)
    assert label[0] == -1
    assert set(label[:256]) == {-1, 0, 1}, "level 1 is for boxes with all sides within 16 pixels"
    assert set(label[256:]) == {-1, 2}, "the large box is assigned to level 2, padding to none"
    large = locations.center[256:][label[256:] == 2]
    assert np.all(np.abs(large - [32, 30]) <= 1.5 * 8)


LOCATIONS = locate(SHAPE, SIZES, TASK.reach)


@jax.jit
def assigned(boxes, label, weight):
    return jax.vmap(lambda *box: assign(LOCATIONS, box[0], box[1], box[2], TASK.center_radius))(boxes, label, weight)


@functools.partial(jax.jit, static_argnums=0)
def terms(task, outputs, batch):
    return task.terms(LOCATIONS, outputs, batch)


@jax.jit
def decoded(outputs):
    return TASK.decode(LOCATIONS, SHAPE, outputs)


def perfect(batch, confidence=12.0):
    """Returns outputs equal to the targets, and the targets."""
    targets = jax.device_get(assigned(batch["boxes"], batch["box_label"], batch["box_weight"]))
    logits = confidence * (2.0 * (targets.label[..., None] == np.arange(3)) - 1).astype(np.float32)
    central = np.clip(targets.centerness, 1e-6, 1 - 1e-6)
    centerness = np.log(central / (1 - central))
    return {"class_logits": logits, "distances": targets.distances, "centerness": centerness}, targets


def test_losses_of_perfect_outputs():
    batch = make_batch()
    outputs, targets = perfect(batch)
    losses = terms(TASK, outputs, batch)
    positive = targets.label >= 0
    assert float(losses["focal"][1]) == positive.sum() > 0
    np.testing.assert_allclose(losses["box"][1], targets.centerness[positive].sum(), rtol=1e-5)
    assert float(losses["focal"][0]) < 1e-4
    assert abs(float(losses["box"][0])) < 1e-3
    central = np.clip(targets.centerness[positive], 1e-6, 1 - 1e-6)
    entropy = -(central * np.log(central) + (1 - central) * np.log(1 - central)).sum()
    np.testing.assert_allclose(losses["centerness"][0], entropy, rtol=1e-3)


def test_quality_iou_is_the_overlap_of_the_predicted_box():
    batch = make_batch()
    outputs, _ = perfect(batch)
    outputs["centerness"] = np.full_like(outputs["centerness"], 2.0)
    loss = terms(dataclasses.replace(TASK, quality="iou"), outputs, batch)["centerness"]
    # Boxes are exact, so the quality is 1 at every location and the loss -log(sigmoid(2)).
    np.testing.assert_allclose(loss[0] / loss[1], np.log1p(np.exp(-2.0)), rtol=1e-3)


def test_focal_loss_matches_its_closed_form():
    batch = make_batch()
    outputs, targets = perfect(batch)
    outputs = {**outputs, "class_logits": np.zeros_like(outputs["class_logits"])}
    loss = terms(TASK, outputs, batch)["focal"][0]
    positive, entries = int((targets.label >= 0).sum()), outputs["class_logits"].size
    # At probability 1/2 each entry costs alpha_t * (1/2)^2 * ln 2.
    expected = (0.25 * positive + 0.75 * (entries - positive)) * 0.25 * np.log(2)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_decoding_perfect_outputs_returns_the_true_boxes():
    batch = make_batch(seed=3)
    outputs, targets = perfect(batch)
    detections = jax.device_get(decoded(outputs))
    for row in range(4):
        answered = {int(label) for label in targets.label[row] if label >= 0}
        assert answered == set(detections["labels"][row][detections["scores"][row] > 0])
        for box, label in zip(detections["boxes"][row], detections["labels"][row] * (detections["scores"][row] > 0)):
            candidates = batch["boxes"][row][batch["box_label"][row] == label]
            assert not box.any() or np.abs(candidates - box).max(1).min() < 1e-3


def test_terms_sum_over_batches_and_ignore_padding(initialized):
    loss = jax.jit(TASK.phases[0].loss)
    batch = make_batch(4)
    whole, *parts = (loss(*initialized, part, jax.random.key(0), 0, {}).terms for part in (batch, *halves(batch)))
    for name, expected in whole.items():
        np.testing.assert_allclose(expected.sum, parts[0][name].sum + parts[1][name].sum, rtol=1e-5)
        np.testing.assert_allclose(expected.weight, parts[0][name].weight + parts[1][name].weight, rtol=1e-5)
    padded = {**batch, "weight": np.array([1, 1, 0, 0], np.float32)}
    unpadded = loss(*initialized, padded, jax.random.key(0), 0, {}).terms
    for name, term in unpadded.items():
        np.testing.assert_allclose(term.sum, parts[0][name].sum, rtol=1e-5)


def halves(batch):
    return [{name: value[part] for name, value in batch.items()} for part in (slice(0, 2), slice(2, 4))]


def test_gradients_are_finite_without_boxes(initialized):
    batch = make_batch()
    empty = {**batch, "boxes": batch["boxes"] * 0, "box_weight": batch["box_weight"] * 0}

    def total(params, batch):
        terms = TASK.phases[0].loss(params, initialized[1], batch, jax.random.key(0), 0, {}).terms
        return sum(term.sum for term in terms.values())

    gradient = jax.jit(jax.grad(total))
    for inputs in (batch, empty):
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient(initialized[0], inputs)))


def test_evaluation_records_can_be_scored(initialized):
    batch = make_batch()
    evaluation = jax.jit(make_eval_step(TASK))(*initialized, batch, 0)
    scores = TASK.score(jax.device_get(evaluation.records), {}, {})
    assert set(scores) == {"map", "map50", "map75"}
    assert all(0 <= value <= 1 for value in scores.values())


def records_of(batch, boxes, labels, scores):
    truth = {name: batch[name] for name in ("boxes", "box_label", "box_weight")}
    return {**truth, "predicted_boxes": boxes, "predicted_labels": labels, "predicted_scores": scores}


def test_average_precision_matches_hand_computed_values():
    batch = make_batch()
    perfect = records_of(batch, batch["boxes"], batch["box_label"], batch["box_weight"] * 0.9)
    assert average_precision(perfect, 3) == {"map": 1.0, "map50": 1.0, "map75": 1.0}
    zero_scores = records_of(batch, batch["boxes"], batch["box_label"], batch["box_weight"] * 0)
    assert average_precision(zero_scores, 3)["map50"] == 0.0
    truth = {
        "boxes": np.array([[[0, 0, 10, 10], [20, 20, 40, 40]]], np.float32),
        "box_label": np.zeros((1, 2), np.int32),
        "box_weight": np.ones((1, 2), np.float32),
    }
    # One of two boxes is detected: precision 1 up to recall 1/2, 51 of COCO's 101 points. Its IoU is 0.8.
    records = records_of(
        truth, np.array([[[0, 0, 10, 8], [0, 0, 0, 0]]]), np.zeros((1, 2), int), np.array([[0.9, 0.0]])
    )
    scores = average_precision(records, 1)
    np.testing.assert_allclose(scores["map50"], 51 / 101, rtol=1e-6)
    np.testing.assert_allclose(scores["map"], 51 / 101 * 7 / 10, rtol=1e-6)


def test_crowd_regions_are_ignored():
    truth = {
        "boxes": np.array([[[0, 0, 10, 10], [20, 20, 60, 60]]], np.float32),
        "box_label": np.zeros((1, 2), np.int32),
        "box_weight": np.array([[1, 0]], np.float32),
    }
    predicted = (np.array([[[21, 21, 31, 31], [0, 0, 10, 10]]]), np.zeros((1, 2), int), np.array([[0.9, 0.8]]))
    strict = average_precision(records_of(truth, *predicted), 1)["map50"]
    lenient = records_of(truth, *predicted) | {"box_crowd": np.array([[0, 1]], np.float32)}
    assert strict < 1.0
    assert average_precision(lenient, 1)["map50"] > 0.999


def test_invalid_arguments_and_batches_are_refused(initialized):
    batch = make_batch()
    with pytest.raises(UserError, match="needs 'boxes' in the batch"):
        TASK.phases[0].loss(*initialized, {k: v for k, v in batch.items() if k != "boxes"}, jax.random.key(0), 0, {})
    params, variables = initialized
    with pytest.raises(UserError, match="num_classes=5"):
        ObjectDetection(Pyramid(), num_classes=5).predict(params, variables, batch, jax.random.key(0))
    for make in (
        lambda: ObjectDetection(Pyramid(), num_classes=0),
        lambda: ObjectDetection(Pyramid(), num_classes=3, quality="beauty"),  # pyright: ignore[reportArgumentType]
        lambda: ObjectDetection(Pyramid(), num_classes=3, iou_threshold=2.0),
        lambda: ObjectDetection(Pyramid(), num_classes=3, limit=0),
    ):
        with pytest.raises(UserError):
            make()
    empty = records_of(batch, batch["boxes"], batch["box_label"], batch["box_weight"])
    with pytest.raises(UserError, match="the examples have none"):
        average_precision({**empty, "box_weight": batch["box_weight"] * 0}, 3)
    with pytest.raises(UserError, match="expected 0 to 0; set num_classes"):
        average_precision(empty, 1)


def test_pictures_show_true_and_predicted_boxes():
    batch = make_batch()
    detections = jax.device_get(decoded(perfect(batch)[0]))
    names = {"box_label": ("cat", "dog", "bird")}
    picture = TASK.presentation.pictures(batch, detections, {}, names)["detections"]
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    single = TASK.presentation.picture(
        {"image": batch["image"][0]}, {name: value[0] for name, value in detections.items()}, names
    )
    assert single.shape == (900, 900, 3)
