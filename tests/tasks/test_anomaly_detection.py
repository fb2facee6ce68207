"""Anomaly detection: scores, threshold of held-out normal examples, padding, images."""

# Flax's init and apply are untyped.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalCall=false

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.tasks.anomaly_detection import ERRORS, AnomalyDetection, count_errors, held_out, quantile_of

KEY = jax.random.key(0)
SIZE = 4


class Shrinks(nn.Module):
    """Autoencoder that multiplies by `scale`: the error of x is (1 - scale)**2 * mean(x**2)."""

    scale: float = 0.0

    @nn.compact
    def __call__(self, x, *, train):
        return self.param("scale", lambda key: jnp.float32(self.scale)) * x


def make_batch(size=64, seed=0, first=0, label=0):
    draws = np.random.default_rng(seed)
    return {
        "features": draws.normal(size=(size, SIZE)).astype(np.float32),
        "label": np.full(size, label, np.int32),
        "weight": np.ones(size, np.float32),
        "index": np.arange(first, first + size, dtype=np.int32),
    }


@functools.cache
def compiled(quantile=0.9, calibration=0.25, normal=(0,)):
    task = AnomalyDetection(Shrinks(), quantile=quantile, calibration=calibration, normal=normal)
    return task, jax.jit(task.phases[0].loss), jax.jit(task.evaluate)


def start(task, batch):
    return task.init(KEY, batch)


def held(batch, share=0.25):
    return np.asarray(held_out(jnp.asarray(batch["index"]), share))


def test_the_loss_is_the_mse_of_examples_that_are_not_held_out():
    task, loss, _ = compiled()
    batch = make_batch()
    params, variables = start(task, batch)
    outcome = loss(params, variables, batch, KEY, 0, {})
    errors = np.square(batch["features"]).mean(1)[~held(batch)]
    assert 0 < held(batch).sum() < len(held(batch))
    np.testing.assert_allclose(outcome.terms["mse"].sum, errors.sum(), rtol=1e-5)
    np.testing.assert_allclose(outcome.terms["mse"].weight, len(errors))


def test_only_held_out_examples_change_the_threshold():
    task, loss, _ = compiled()
    batch = make_batch()
    params, variables = start(task, batch)
    gradient = jax.jit(jax.grad(lambda params, batch: loss(params, variables, batch, KEY, 0, {}).terms["mse"].sum))
    exact, counts = gradient(params, batch), loss(params, variables, batch, KEY, 0, {}).variables[ERRORS]
    assert counts.sum() == held(batch).sum()
    for rows, moved in ((held(batch), "counts"), (~held(batch), "gradient")):
        scaled = {**batch, "features": np.where(rows[:, None], 3 * batch["features"], batch["features"])}
        unchanged = np.array_equal(loss(params, variables, scaled, KEY, 0, {}).variables[ERRORS], counts)
        assert unchanged == (moved == "gradient")
        change = jax.tree.leaves(gradient(params, scaled))[0] - jax.tree.leaves(exact)[0]
        assert (abs(change) > 1e-3) == (moved == "gradient")


def test_held_out_examples_depend_on_the_index_only():
    index = np.arange(5000)
    out = np.asarray(held_out(jnp.asarray(index), 0.1))
    assert abs(out.mean() - 0.1) < 0.02
    order = np.random.default_rng(0).permutation(5000)
    np.testing.assert_array_equal(held_out(jnp.asarray(index[order]), 0.1), out[order])
    assert np.all(out <= np.asarray(held_out(jnp.asarray(index), 0.3)))


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_the_quantile_matches_numpy_up_to_a_bin(quantile):
    errors = np.exp(np.random.default_rng(0).normal(-3, 1.5, 4000)).astype(np.float32)
    count = jax.jit(functools.partial(count_errors, memory=10**9))
    counts = jnp.zeros_like(AnomalyDetection(Shrinks()).init(KEY, make_batch(2))[1][ERRORS])
    for part in np.split(errors, 8):
        counts = count(counts, part, np.ones(500, np.float32))
    np.testing.assert_allclose(quantile_of(counts, quantile), np.quantile(errors, quantile), rtol=0.015)


def test_errors_out_of_range_and_an_empty_histogram():
    counts = jnp.zeros_like(AnomalyDetection(Shrinks()).init(KEY, make_batch(2))[1][ERRORS])
    assert float(quantile_of(counts, 0.99)) == pytest.approx(1e8)  # without errors no example is anomalous
    low = count_errors(counts, jnp.zeros(3), jnp.ones(3), 100)
    assert float(quantile_of(low, 0.5)) < 1.1e-8
    high = count_errors(counts, jnp.full(3, 1e20), jnp.ones(3), 100)
    assert float(quantile_of(high, 0.5)) > 0.9e8


def test_old_errors_decay():
    count = jax.jit(functools.partial(count_errors, memory=200))
    counts = jnp.zeros_like(AnomalyDetection(Shrinks()).init(KEY, make_batch(2))[1][ERRORS])
    for value, times in ((100.0, 10), (1.0, 30)):
        for _ in range(times):
            counts = count(counts, jnp.full(50, value), jnp.ones(50))
    # Each of the 1,500 later errors decays the first 100 by 1 - 1 / 200.
    assert float(quantile_of(counts, 0.99)) == pytest.approx(1.0, rel=0.02)
    assert float(counts.sum()) == pytest.approx(200, rel=0.2)


def test_devices_and_micro_batches_give_equal_counts():
    counts = jnp.zeros_like(AnomalyDetection(Shrinks()).init(KEY, make_batch(2))[1][ERRORS]).at[700].set(40.0)
    draws = np.random.default_rng(0)
    errors = draws.lognormal(size=(2, 16)).astype(np.float32)
    weight = (draws.uniform(size=(2, 16)) < 0.5).astype(np.float32)
    expected = count_errors(counts, errors.reshape(-1), weight.reshape(-1), 1000)
    mapped = jax.pmap(
        lambda errors, weight: count_errors(counts, errors, weight, 1000), axis_name="data", devices=jax.devices()[:2]
    )(errors, weight)
    for device_counts in mapped:
        np.testing.assert_allclose(device_counts, expected, rtol=1e-6)
    cut = count_errors(count_errors(counts, errors[0], weight[0], 1000), errors[1], weight[1], 1000)
    np.testing.assert_allclose(cut, expected, rtol=0.02)  # the second half decays the first one slightly


def test_anomalous_and_padded_training_examples_are_ignored():
    task, loss, _ = compiled()
    batch = make_batch()
    params, variables = start(task, batch)
    exact = loss(params, variables, batch, KEY, 0, {})
    for change in ({"label": 1}, {"weight": 0}):
        ignored = make_batch(size=16, seed=1, first=200)
        ignored["features"] *= 100
        ignored = {
            name: np.full_like(value, change[name]) if name in change else value for name, value in ignored.items()
        }
        outcome = loss(
            params, variables, {name: np.concatenate([batch[name], ignored[name]]) for name in batch}, KEY, 0, {}
        )
        np.testing.assert_allclose(outcome.terms["mse"].sum, exact.terms["mse"].sum, rtol=1e-6)
        np.testing.assert_array_equal(outcome.terms["mse"].weight, exact.terms["mse"].weight)
        np.testing.assert_array_equal(outcome.variables[ERRORS], exact.variables[ERRORS])


def trained_counts(task, loss, batches=20):
    params, variables = start(task, make_batch())
    for number in range(batches):
        batch = make_batch(size=256, seed=100 + number, first=256 * number)
        variables = loss(params, variables, batch, KEY, number, {}).variables
    return params, variables


def test_the_false_alarm_rate_is_one_minus_the_quantile():
    task, loss, evaluate = compiled()
    params, variables = trained_counts(task, loss)
    batch = make_batch(size=8000, seed=7)
    records = jax.tree.map(np.asarray, evaluate(params, variables, batch, KEY).records)
    metrics = task.score(records, {}, {})
    # 1,280 held-out examples: the rate has a std of 0.009.
    assert metrics["false_alarms"] == pytest.approx(0.1, abs=0.03)
    squares = np.random.default_rng(8).normal(size=(200000, SIZE)) ** 2
    assert metrics["threshold"] == pytest.approx(np.quantile(squares.mean(1), 0.9), rel=0.08)


def test_evaluation_does_not_change_the_threshold():
    task, loss, evaluate = compiled()
    params, variables = trained_counts(task, loss, batches=2)
    batch = make_batch(size=40, seed=7)
    batch["label"][30:] = 1
    batch["features"][30:] *= 50
    thresholds = [
        np.asarray(evaluate(params, variables, part, KEY).records["threshold"])
        for part in (batch, {**batch, "features": 9 * batch["features"]}, {**batch, "label": 1 - batch["label"]})
    ]
    assert len(np.unique(thresholds)) == 1


def test_scores_match_hand_computed_values():
    task, _, _ = compiled()
    records = {
        "score": np.array([1.0, 2.0, 3.0, 2.5, 4.0], np.float32),
        "anomaly": np.array([False, False, False, True, True]),
        "threshold": np.full(5, 2.2, np.float32),
    }
    metrics = task.score(records, {}, {})
    # Of 2 x 3 pairs the anomalous score is above the normal one in 2 + 3.
    assert metrics["auroc"] == pytest.approx(5 / 6)
    # In decreasing order: 4 (recall 1 of 1), 3, 2.5 (2 of 3).
    assert metrics["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics["precision"] == pytest.approx(2 / 3)
    assert metrics["recall"] == 1.0
    assert metrics["false_alarms"] == pytest.approx(1 / 3)
    assert metrics["threshold"] == pytest.approx(2.2)
    assert metrics["normal_scores"].tolist() == [1, 2, 3]
    assert metrics["anomalous_scores"].tolist() == [2.5, 4]


def test_auroc_of_a_single_class_is_nan():
    task, _, _ = compiled()
    records = {"score": np.ones(3, np.float32), "anomaly": np.zeros(3, bool), "threshold": np.full(3, 2.0, np.float32)}
    metrics = task.score(records, {}, {})
    assert all(math.isnan(metrics[name]) for name in ("auroc", "average_precision", "precision", "recall"))
    assert metrics["false_alarms"] == 0
    metrics = task.score({**records, "anomaly": np.ones(3, bool)}, {}, {})
    assert math.isnan(metrics["false_alarms"])
    assert metrics["recall"] == 0


def test_evaluation_uses_normal_examples_without_padding():
    task, _, evaluate = compiled()
    batch = make_batch(size=12)
    batch["label"][8:] = 1
    params, variables = start(task, batch)
    evaluation = evaluate(params, variables, batch, KEY)
    errors = np.square(batch["features"]).mean(1)
    np.testing.assert_allclose(evaluation.metrics["loss"], (errors[:8].sum(), 8), rtol=1e-5)
    np.testing.assert_allclose(evaluation.records["score"], errors, rtol=1e-5)
    np.testing.assert_array_equal(evaluation.records["anomaly"], batch["label"] == 1)
    batch["weight"][5:8] = 0
    np.testing.assert_allclose(
        evaluate(params, variables, batch, KEY).metrics["loss"], (errors[:5].sum(), 5), rtol=1e-5
    )


def test_normal_labels_are_configurable():
    task, loss, evaluate = compiled(normal=(2, 5))
    batch = make_batch(size=8)
    batch["label"][:] = [0, 1, 2, 3, 4, 5, 2, 5]
    params, variables = start(task, batch)
    expected = np.array([1, 1, 0, 1, 1, 0, 0, 0], bool)
    np.testing.assert_array_equal(evaluate(params, variables, batch, KEY).records["anomaly"], expected)
    normal = ~expected & ~held(batch)
    np.testing.assert_allclose(loss(params, variables, batch, KEY, 0, {}).terms["mse"].weight, normal.sum())


def test_predictions_of_tabular_rows():
    task, loss, _ = compiled()
    params, variables = trained_counts(task, loss, batches=2)
    batch = make_batch(size=3)
    batch["features"][:] = [[0.1, 0.1, 0.1, 0.1], [0, 0, 9, 0], [1, -1, 1, 1]]
    del batch["label"]  # an unlabelled example
    outputs = jax.tree.map(np.asarray, jax.jit(task.predict)(params, variables, batch, KEY))
    np.testing.assert_allclose(outputs["score"], [0.01, 20.25, 1.0], rtol=1e-5)
    assert outputs["anomalous"].tolist() == [False, True, False]
    np.testing.assert_allclose(outputs["errors"].mean(1), outputs["score"], rtol=1e-5)
    example, row = ({name: value[1] for name, value in tree.items()} for tree in (batch, outputs))
    readable = task.presentation.readable(
        example, row, {"features": ("a", "b", "c", "d"), "label": ("normal", "anomalous")}
    )
    assert readable == {
        "score": 20.25,
        "anomalous": True,
        "threshold": pytest.approx(float(outputs["threshold"][0]), rel=1e-5),
        "largest_error": "c",
    }
    before = jax.jit(task.predict)(params, start(task, batch)[1], batch, KEY)
    assert not np.any(before["anomalous"])
    assert np.all(np.isfinite(before["threshold"]))


def test_images_are_scored():
    task = AnomalyDetection(Shrinks(0.5), normal=(3,))
    draws = np.random.default_rng(0)
    batch = {
        "image": draws.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8),
        "label": np.array([3, 3, 3, 3, 0, 1], np.int32),
        "weight": np.ones(6, np.float32),
        "index": np.arange(6),
    }
    params, variables = start(task, batch)
    evaluation = jax.jit(task.evaluate)(params, variables, batch, KEY)
    normal = (batch["image"] / 255 - 0.5) / 0.25
    expected = np.square(0.5 * normal).mean((1, 2, 3))
    np.testing.assert_allclose(evaluation.records["score"], expected, rtol=1e-5)
    outputs = jax.tree.map(np.asarray, jax.jit(task.predict)(params, variables, batch, KEY))
    assert outputs["errors"].shape == batch["image"].shape
    pictures = task.presentation.pictures(batch, outputs, {}, {})
    assert set(pictures) == {"errors"}
    assert pictures["errors"].dtype == np.uint8
    assert "largest_error" not in task.presentation.readable(
        {"image": batch["image"][0]}, {k: v[0] for k, v in outputs.items()}, {}
    )


def test_pictures_show_score_histograms():
    task, _, _ = compiled()
    batch = make_batch(size=2)
    metrics = {"normal_scores": np.arange(1.0, 9.0), "anomalous_scores": np.array([5.5, 20.0]), "threshold": 7.5}
    assert set(task.presentation.pictures(batch, {}, metrics, {})) == {"scores", "roc"}
    pictures_without_anomalies = task.presentation.pictures(batch, {}, {**metrics, "anomalous_scores": np.zeros(0)}, {})
    assert set(pictures_without_anomalies) == {"scores"}
    for picture in pictures_without_anomalies.values():
        assert picture.dtype == np.uint8
        assert picture.shape[-1] == 3
    zeros = {**metrics, "normal_scores": np.zeros(3), "anomalous_scores": np.zeros(2)}
    assert set(task.presentation.pictures(batch, {}, zeros, {})) == {"scores", "roc"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantile": 1.0}, "quantile=1.0"),
        ({"quantile": 0.0}, "quantile=0.0"),
        ({"calibration": 0.0}, "calibration=0.0"),
        ({"calibration": 1.5}, "calibration=1.5"),
        ({"memory": 0}, "memory=0"),
        ({"normal": ()}, r"normal=\(\)"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        AnomalyDetection(Shrinks(), **arguments)


def test_incompatible_models_and_batches_are_refused():
    batch = make_batch(size=3)
    task = AnomalyDetection(nn.Sequential([]))
    with pytest.raises(UserError, match="needs 'features' or 'image'; the batch has index, label, weight"):
        task.init(KEY, {name: value for name, value in batch.items() if name != "features"})

    class Narrow(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return nn.Dense(2)(x)

    task = AnomalyDetection(Narrow())
    params, variables = start(task, batch)
    with pytest.raises(UserError, match=r"the model returns the shape \(3, 2\); the task needs \[3, 4\]"):
        task.evaluate(params, variables, batch, KEY)
