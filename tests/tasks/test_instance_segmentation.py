"""Instance segmentation: targets, grouping, terms, scores, errors, pictures."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.decoding.instances import local_maxima
from jaxdl.errors import UserError
from jaxdl.metrics.segmentation import instance_precision
from jaxdl.tasks.instance_segmentation import HEATMAP_PRIOR, InstanceSegmentation
from jaxdl.tasks.parts.center_offsets import Maps, center_targets

KEY = jax.random.key(0)
SHAPE = (32, 40)
SMALL: dict[str, Any] = {"limit": 20, "max_centers": 12, "min_pixels": 4}

targets_of = jax.jit(functools.partial(center_targets, limit=20, sigma=2.0))
find_maxima = jax.jit(local_maxima, static_argnums=1)


class Conv(nn.Module):
    outputs: int = 4

    @nn.compact
    def __call__(self, image, *, train):
        return nn.Conv(self.outputs, (3, 3))(image)


class Fixed(nn.Module):
    """Model with fixed outputs times a parameter."""

    outputs: np.ndarray

    @nn.compact
    def __call__(self, image, *, train):
        return self.param("scale", nn.initializers.ones, ()) * jnp.asarray(self.outputs)


group = jax.jit(InstanceSegmentation(Conv(), **SMALL).group_pixels)


def discs(*places, shape=SHAPE):
    """Draws discs (row, column, radius, number), earlier ones in front."""
    rows, columns = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for row, column, radius, number in places:
        inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        labels[inside & (labels == 0)] = number
    return labels


TOUCHING = discs((10, 8, 5, 3), (10, 19, 5, 7), (20, 13.5, 6, 20), (26, 33, 4, 1))
CROPPED = discs((0, 0, 7, 2), (31, 20, 6, 5), (12, 39, 5, 9))


def make_batch(*labels, channels=1, seed=0):
    draws = np.random.default_rng(seed)
    labels = np.stack(labels)
    return {
        "image": draws.integers(0, 256, (*labels.shape, channels), dtype=np.uint8),
        "instances": labels,
        "weight": np.ones(len(labels), np.float32),
        "index": np.arange(len(labels)),
    }


def perfect_outputs(labels, *, confidence=12.0, scale=16.0):
    """Returns the outputs [batch, h, w, 4] of a perfect model."""
    targets = jax.device_get(targets_of(labels))
    heatmap = np.clip(targets.heatmap, 1e-5, 1 - 1e-5)
    logits = np.log(heatmap / (1 - heatmap)) - HEATMAP_PRIOR
    return np.stack(
        [confidence * (2 * targets.foreground - 1), logits, *np.moveaxis(targets.offset / scale, -1, 0)], -1
    )


def maps_of(labels):
    outputs = jnp.asarray(perfect_outputs(labels, scale=1.0))
    return Maps(outputs[..., 0], outputs[..., 1] + HEATMAP_PRIOR, outputs[..., 2:])


def same_instances(truth, predicted):
    """Returns whether two label images are equal up to the order of their numbers."""
    pairs = np.unique(np.stack([truth.ravel(), predicted.ravel()]), axis=1)
    return np.array_equal(truth > 0, predicted > 0) and all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


def start(task, batch):
    return jax.jit(task.init)(KEY, batch)


def losses(task, params, variables, batch):
    return jax.jit(task.phases[0].loss)(params, variables, batch, KEY, 0, {}).terms


def evaluated(task, params, variables, batch):
    return jax.device_get(jax.jit(task.evaluate)(params, variables, batch, KEY))


def test_targets_of_a_disc():
    labels = discs((12, 20, 5, 4))
    targets = jax.device_get(targets_of(labels[None]))
    rows, columns = np.indices(SHAPE)
    np.testing.assert_array_equal(targets.foreground[0], labels > 0)
    near = (abs(rows - 12) <= 6) & (abs(columns - 20) <= 6)
    gaussian = np.exp(-((rows - 12) ** 2 + (columns - 20) ** 2) / 8) * near
    np.testing.assert_allclose(targets.heatmap[0], gaussian, rtol=1e-5, atol=1e-7)
    offset = np.stack([12 - rows, 20 - columns], -1) * (labels > 0)[..., None]
    np.testing.assert_allclose(targets.offset[0], offset, atol=1e-5)
    assert targets.objects[0] == 1


def test_targets_of_several_objects_and_of_an_empty_image():
    targets = jax.device_get(targets_of(np.stack([TOUCHING, 0 * TOUCHING])))
    np.testing.assert_array_equal(targets.objects, [4, 0])
    for number in (3, 7, 20, 1):
        where = np.argwhere(number == TOUCHING)
        row, column = where[0]
        np.testing.assert_allclose(targets.offset[0, row, column], where.mean(0) - where[0], atol=1e-4)
    assert np.sum(targets.heatmap[0] == 1) == 4
    assert not any(np.any(target[1]) for target in (targets.heatmap, targets.offset))


@pytest.mark.parametrize("labels", [TOUCHING, CROPPED], ids=["touching", "cropped"])
def test_instances_are_recovered_from_exact_maps(labels):
    instances, score, count = jax.device_get(group(maps_of(labels[None])))
    assert same_instances(labels, instances[0])
    assert count[0] == len(np.unique(labels)) - 1
    assert np.all(score[0, : count[0]] > 0.9)
    assert not score[0, count[0] :].any()
    assert (instances.dtype, score.shape) == (np.int32, (1, 12))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(2, 3), st.integers(1, 20)),
        max_size=12,
        unique_by=(lambda d: d[:2], lambda d: d[3]),
    ),
    st.integers(0, 2),
)
def test_discs_on_a_grid_are_recovered(places, shift):
    labels = discs(
        *((8 * row + 4, 8 * column + 4 + shift % 2, radius, number) for row, column, radius, number in places)
    )
    instances, _, count = jax.device_get(group(maps_of(labels[None])))
    assert same_instances(labels, instances[0])
    assert count[0] == len(places)


def test_small_instances_are_dropped_and_numbers_are_contiguous():
    labels = discs((8, 8, 4, 1), (8, 24, 0, 2), (24, 8, 4, 3), (24, 30, 1, 5))  # of 49, 1, 49 and 5 pixels
    instances, score, count = jax.device_get(group(maps_of(labels[None])))
    assert count[0] == 3
    np.testing.assert_array_equal(np.unique(instances), [0, 1, 2, 3])
    assert same_instances(np.where(labels == 2, 0, labels), instances[0])
    assert np.count_nonzero(score) == 3


def test_max_centers_keeps_the_most_probable_centers():
    maps = maps_of(TOUCHING[None])
    heatmap = np.full_like(maps.heatmap, -9.0)
    for number, height in ((3, 1.0), (7, 3.0), (20, 2.0), (1, 0.5)):
        row, column = np.floor(np.argwhere(number == TOUCHING).mean(0) + 0.5).astype(int)
        heatmap[0, row, column] = height
    task = InstanceSegmentation(Conv(), **{**SMALL, "max_centers": 2})
    instances, score, count = jax.device_get(jax.jit(task.group_pixels)(maps._replace(heatmap=heatmap)))
    assert count[0] == 2
    assert instances[0, 10, 19] == 1  # the most probable is the first
    assert instances[0, 20, 13] == 2
    np.testing.assert_allclose(score[0], 1 / (1 + np.exp([-3, -2])), rtol=1e-4)
    # Pixels of objects without a center are assigned to the nearest center.
    np.testing.assert_array_equal(instances[0] > 0, TOUCHING > 0)


def test_images_without_centers_have_no_instances():
    maps = maps_of(TOUCHING[None])
    instances, score, count = group(maps._replace(heatmap=np.full_like(maps.heatmap, -5.0)))
    assert not any(np.any(output) for output in (instances, score, count))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31 - 1), st.sampled_from([1, 3, 5]))
def test_local_maxima_match_an_exhaustive_search(seed, window):
    heatmap = np.random.default_rng(seed).integers(0, 5, (7, 9)).astype(np.float32)
    peaks, reach = np.asarray(find_maxima(jnp.asarray(heatmap), window)), window // 2
    best = np.zeros(heatmap.shape, bool)
    for row, column in np.ndindex(heatmap.shape):
        near = heatmap[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        best[row, column] = heatmap[row, column] == near.max()
    assert np.all(best[peaks])
    for row, column in np.argwhere(best & ~peaks):  # suppressed by an equal neighbour before it
        near = best[max(0, row - reach) : row + 1, max(0, column - reach) : column + reach + 1]
        assert near.sum() > 1
    for row, column in np.argwhere(peaks):
        near = peaks[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        assert near.sum() == 1


@pytest.mark.parametrize("heatmap", ["focal", "mse"])
def test_perfect_predictions_have_zero_loss(heatmap):
    batch = make_batch(TOUCHING, CROPPED)
    outputs = perfect_outputs(batch["instances"], confidence=20.0)
    if heatmap == "focal":  # the focal optimum is 1 at centers and 0 elsewhere
        outputs[..., 1] = np.where(outputs[..., 1] > 9, 20, -20)
    task = InstanceSegmentation(Fixed(outputs), heatmap=heatmap, **SMALL)
    params, variables = start(task, batch)
    for name, term in losses(task, params, variables, batch).items():
        assert abs(float(term.sum / term.weight)) < 1e-5, name


def test_terms_match_hand_computed_values():
    labels = np.zeros((1, 2, 3), np.int32)
    labels[0, 0, :2] = 1  # its center (0, 0.5) lies between two pixels; the target is at (0, 1)
    batch = make_batch(*labels)
    batch["weight"][:] = 2
    outputs = np.zeros((1, 2, 3, 4), np.float32)
    outputs[..., 1] = -HEATMAP_PRIOR
    outputs[..., 2] = 0.25  # 2 pixels down; the target is 0
    task = InstanceSegmentation(
        Fixed(outputs), limit=1, sigma=0.1, offset_scale=8.0, max_centers=2, dice=0.5, offset_loss=3.0
    )
    params, variables = start(task, batch)
    terms = losses(task, params, variables, batch)
    # The Gaussian is narrow: only its center pixel has a target above 0.
    np.testing.assert_allclose(terms["cross_entropy"], (2 * 6 * np.log(2), 12, 1), rtol=1e-5)
    np.testing.assert_allclose(terms["dice"], (2 * (1 - 2 * 1 / (6 / 4 + 2)), 2, 0.5), rtol=1e-5)
    np.testing.assert_allclose(terms["heatmap"], (2 * 6 * 0.25 * np.log(2), 2, 1), rtol=1e-5)
    np.testing.assert_allclose(terms["offset"], (2 * 2 * (2 + 0.5) / 8, 4, 3), rtol=1e-5)
    squared = InstanceSegmentation(Fixed(outputs), limit=1, sigma=0.1, max_centers=2, heatmap="mse", dice=0.0)
    terms = losses(squared, params, variables, batch)
    assert "dice" not in terms
    np.testing.assert_allclose(terms["heatmap"], (2 * 6 * 0.25, 12, 200), rtol=1e-5)


def test_padding_is_ignored():
    task = InstanceSegmentation(Conv(), **SMALL)
    batch = make_batch(TOUCHING, CROPPED, TOUCHING)
    batch["weight"][2] = 0
    params, variables = start(task, batch)
    altered = {name: value.copy() for name, value in batch.items()}
    altered["image"][2], altered["instances"][2] = 0, 10_000

    @jax.jit
    def everything(batch):
        outcome = task.phases[0].loss(params, variables, batch, KEY, 0, {})
        return outcome.terms, task.evaluate(params, variables, batch, KEY).metrics

    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), everything(batch), everything(altered))


def test_terms_and_records_combine_over_batches():
    task = InstanceSegmentation(Conv(), **SMALL)
    batch = make_batch(TOUCHING, 0 * TOUCHING, CROPPED, discs((9, 9, 3, 1)))
    params, variables = start(task, batch)
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 2), slice(2, 4))]
    expected = losses(task, params, variables, batch)
    first, second = (losses(task, params, variables, batch_half) for batch_half in halves)
    for name, term in expected.items():
        np.testing.assert_allclose(first[name].sum + second[name].sum, term.sum, rtol=1e-5)
        np.testing.assert_allclose(first[name].weight + second[name].weight, term.weight)
    evaluate = jax.jit(task.evaluate)
    together = evaluate(params, variables, batch, KEY)
    apart = [evaluate(params, variables, batch_half, KEY) for batch_half in halves]
    for name, record in together.records.items():
        np.testing.assert_array_equal(np.concatenate([rows.records[name] for rows in apart]), record)
    sums = jax.tree.map(jnp.add, *(rows.metrics for rows in apart))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), sums, together.metrics)


def test_scores_match_hand_computed_values():
    truth = np.stack([TOUCHING, CROPPED, 0 * TOUCHING])
    guess = truth.copy()
    guess[0][guess[0] == 7] = 3  # two objects are merged; the larger one does not exceed half of the prediction
    batch = make_batch(*truth)
    task = InstanceSegmentation(Fixed(perfect_outputs(guess)), dice=2.0, **SMALL)
    params, variables = start(task, batch)
    evaluation = evaluated(task, params, variables, batch)
    metrics = {name: total / weight for name, (total, weight) in evaluation.metrics.items()}
    scores = task.score(evaluation.records, metrics, {})
    assert scores["dice"] == 1.0
    assert scores["count_error"] == pytest.approx(1 / 3)
    assert scores["ap50"] == pytest.approx(instance_precision(truth, guess)[0]) == pytest.approx(5 / 8)
    assert scores["ap"] == pytest.approx(instance_precision(truth, guess).mean())
    parts = [metrics[f"{name}_loss"] for name in ("cross_entropy", "dice", "heatmap", "offset")]
    assert scores["loss"] == pytest.approx(parts[0] + 2 * parts[1] + parts[2] + parts[3])


def test_loss_is_finite_without_objects():
    task = InstanceSegmentation(Conv(), **SMALL)
    batch = make_batch(0 * TOUCHING)
    params, variables = start(task, batch)
    terms = losses(task, params, variables, batch)
    assert all(np.isfinite(term.sum) for term in terms.values())
    assert (terms["offset"].weight, terms["dice"].weight, terms["heatmap"].weight) == (0, 0, 0)
    metrics = {"cross_entropy_loss": 0.5, "dice_loss": np.nan, "heatmap_loss": np.nan, "offset_loss": np.nan}
    scores = task.score({"true": batch["instances"], "predicted": batch["instances"]}, metrics, {})
    assert scores["loss"] == 0.5
    assert np.isnan(scores["ap50"])


@pytest.mark.parametrize("heatmap", ["focal", "mse"])
@pytest.mark.parametrize("confidence", [0.0, 100.0])
def test_gradients_are_finite(heatmap, confidence):
    batch = make_batch(TOUCHING, 0 * TOUCHING)
    outputs = perfect_outputs(batch["instances"], confidence=confidence)
    outputs[..., 1:] *= confidence
    task = InstanceSegmentation(Fixed(outputs), heatmap=heatmap, **SMALL)
    params, variables = start(task, batch)

    def values(params):
        return {
            name: term.sum for name, term in task.phases[0].loss(params, variables, batch, KEY, 0, {}).terms.items()
        }

    for tree in jax.jit(lambda params: (values(params), jax.jacrev(values)(params)))(params):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit=0"),
        ({"limit": 40_000}, "limit=40000"),
        ({"max_centers": 0}, "max_centers=0"),
        ({"window": 4}, "window=4 must be odd"),
        ({"threshold": 1.0}, "threshold=1.0"),
        ({"sigma": 0.0}, "sigma=0.0 must be positive"),
        ({"min_pixels": 0}, "min_pixels=0 must be positive"),
        ({"heatmap": "focl"}, "did you mean 'focal'"),
        ({"offset_loss": -1.0}, "offset_loss=-1.0 must be at least 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        InstanceSegmentation(Conv(), **arguments)


def test_wrong_shapes_are_refused():
    batch = make_batch(TOUCHING)
    task = InstanceSegmentation(Conv(), **SMALL)
    params, variables = start(task, batch)
    small = {**batch, "instances": batch["instances"][:, :3]}
    floats = {**batch, "instances": batch["instances"] / 2}
    for altered, message in [(small, "instances must have"), (floats, "integers")]:
        with pytest.raises(UserError, match=message):
            jax.eval_shape(task.phases[0].loss, params, variables, altered, KEY, 0, {})
    many_centers = InstanceSegmentation(Conv(), max_centers=2000)
    with pytest.raises(UserError, match="max_centers=2000 exceeds the 1280 pixels"):
        jax.eval_shape(many_centers.predict, params, variables, batch, KEY)
    narrow = InstanceSegmentation(Conv(1))
    params, variables = start(narrow, batch)
    with pytest.raises(UserError, match=r"the model returns the shape \(1, 32, 40, 1\)"):
        jax.eval_shape(narrow.phases[0].loss, params, variables, batch, KEY, 0, {})


@pytest.mark.parametrize("labelled", [True, False])
def test_predictions_and_pictures_have_the_expected_shapes(labelled):
    batch = make_batch(TOUCHING, CROPPED)
    task = InstanceSegmentation(Fixed(perfect_outputs(batch["instances"])), **SMALL)
    params, variables = start(task, batch)
    outputs = jax.device_get(jax.jit(task.predict)(params, variables, {"image": batch["image"]}, KEY))
    shapes = {"instances": (2, *SHAPE), "score": (2, 12), "count": (2,)}
    assert {name: value.shape for name, value in outputs.items()} == shapes
    np.testing.assert_array_equal(outputs["count"], [4, 3])
    if not labelled:
        del batch["instances"], batch["weight"]
    picture = task.presentation.pictures(batch, outputs, {}, {})["predictions"]
    output = {name: value[0] for name, value in outputs.items()}
    single_picture = task.presentation.picture({"image": batch["image"][0]}, output, {})
    assert all((image.dtype, image.shape[-1]) == (np.uint8, 3) for image in (picture, single_picture))
    assert min(single_picture.shape[:2]) > 300  # enlarged from 32 x 40 pixels
