"""Forecasting: losses and metrics against NumPy, normalization, padding, pictures."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxdl.data.series.windows import Series
from jaxdl.data.synthetic.series import MockSeries
from jaxdl.errors import UserError
from jaxdl.tasks.forecasting import NORMALIZATIONS, Forecasting, window_scale
from jaxdl.training.aggregation import finalize
from jaxdl.viz.forecast import forecast_grid

KEY = jax.random.key(0)
CONTEXT, HORIZON = 7, 3
QUANTILES = (0.1, 0.5, 0.9)
NAMES = {"series": ("first", "second")}


class Linear(nn.Module):
    """Linear model of all inputs."""

    outputs: int = 1
    horizon: int = HORIZON

    @nn.compact
    def __call__(self, history, future, *, train):
        flat = [value.reshape(len(value), -1) for value in (history, future)]
        outputs = nn.Dense(self.horizon * self.outputs)(jnp.concatenate(flat, axis=1))
        return outputs.reshape(-1, self.horizon, self.outputs)


class Constant(nn.Module):
    """Predicts the parameter `value` [outputs] at every step of every window."""

    value: tuple = (0.0,)

    @nn.compact
    def __call__(self, history, future, *, train):
        value = self.param("value", lambda key: jnp.asarray(self.value, jnp.float32))
        return jnp.broadcast_to(value, (*future.shape[:2], len(self.value)))


def make_batch(size=4, seed=0, channels=2, covariates=2, level=50.0):
    draws = np.random.default_rng(seed)
    values = {
        "history": draws.normal(size=(size, CONTEXT, channels)),
        "future": draws.normal(size=(size, HORIZON, covariates)),
        "target": level + 5 * draws.normal(size=(size, HORIZON)),
        "naive": level + 5 * draws.normal(size=(size, HORIZON)),
    }
    values["history"][..., 0] = level + 5 * values["history"][..., 0]
    batch = {name: value.astype(np.float32) for name, value in values.items()}
    return batch | {
        "series": np.arange(size, dtype=np.int32) % 2,
        "weight": np.ones(size, np.float32),
        "index": np.arange(size),
    }


def start(task, batch):
    return jax.jit(task.init)(KEY, batch)


def run_loss(task, params, variables, batch):
    return jax.jit(task.phases[0].loss)(params, variables, batch, KEY, 0, {})


def predicted(task, params, variables, batch):
    return jax.tree.map(np.asarray, jax.jit(task.predict)(params, variables, batch, KEY))


def evaluated(task, params, variables, batch):
    metrics = jax.jit(task.evaluate)(params, variables, batch, KEY).metrics
    values = finalize(jax.tree.map(np.asarray, metrics))
    return values | task.score({}, values, NAMES)


def numpy_pinball(target, forecasts):
    """Computes the pinball loss, [batch, horizon, quantiles]."""
    short = target[..., None] - forecasts
    return np.where(short > 0, np.array(QUANTILES) * short, (np.array(QUANTILES) - 1) * short)


def scaled(batch, kind):
    values = batch["history"][..., 0].astype(np.float64)
    center, scale = {
        "mean_std": (values.mean(1), values.std(1)),
        "mean_abs": (np.zeros(len(values)), np.abs(values).mean(1)),
        "last": (values[:, -1], values.std(1)),
        "last_change": (values[:, -1], np.abs(np.diff(values)).mean(1)),
        "none": (np.zeros(len(values)), np.ones(len(values))),
    }[kind]
    return center[:, None], scale[:, None]


@pytest.mark.parametrize("kind", NORMALIZATIONS)
@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_the_loss_is_on_normalized_errors(kind, loss):
    batch = make_batch()
    batch["weight"] = np.array([1, 2, 0.5, 0], np.float32)
    task = Forecasting(Constant((0.3,)), point_loss=loss, normalization=kind)
    params, variables = start(task, batch)
    center, scale = scaled(batch, kind)
    error = (batch["target"] - center) / scale - 0.3
    errors = np.abs(error) if loss == "mae" else error**2
    terms = run_loss(task, params, variables, batch).terms
    assert set(terms) == {loss}
    np.testing.assert_allclose(terms[loss], ((batch["weight"][:, None] * errors).sum(), 3.5 * HORIZON, 1), rtol=1e-5)
    forecast = predicted(task, params, variables, batch)["forecast"]
    np.testing.assert_allclose(forecast, center + 0.3 * scale + np.zeros((1, HORIZON)), rtol=1e-5)


def test_quantiles_are_trained_by_the_pinball_loss():
    batch, levels = make_batch(), (-1.0, 0.1, 0.8)
    task = Forecasting(Constant(levels), quantiles=QUANTILES)
    params, variables = start(task, batch)
    center, scale = scaled(batch, "mean_std")
    expected = numpy_pinball((batch["target"] - center) / scale, np.array(levels)).mean(-1)
    terms = run_loss(task, params, variables, batch).terms
    np.testing.assert_allclose(terms["pinball"], (expected.sum(), 4 * HORIZON, 1), rtol=1e-5)
    outputs = predicted(task, params, variables, batch)
    assert outputs["quantiles"].shape == (4, HORIZON, 3)
    np.testing.assert_allclose(outputs["quantiles"][:, 0], center + scale * np.array(levels), rtol=1e-5)
    np.testing.assert_array_equal(outputs["forecast"], outputs["quantiles"][..., 1])


@pytest.mark.parametrize("kind", ["mean_std", "last_change"])
def test_metrics_match_numpy(kind):
    batch, levels = make_batch(6), (-1.0, 0.1, 0.8)
    batch["weight"] = np.array([1, 1, 1, 1, 0, 0], np.float32)
    batch["target"][4:] = 999  # padding may have any value
    task = Forecasting(Constant(levels), quantiles=QUANTILES, normalization=kind)
    params, variables = start(task, batch)
    values = evaluated(task, params, variables, batch)
    center, scale = (value[:4] for value in scaled(batch, kind))
    target, naive = batch["target"][:4], batch["naive"][:4]
    forecasts = (center + scale * np.array(levels))[:, None] + np.zeros((1, HORIZON, 1))
    error, naive_mae = target - forecasts[..., 1], np.abs(target - naive).mean()
    inside = (forecasts[..., 0] <= target) & (target <= forecasts[..., 2])
    expected = {
        "loss": numpy_pinball((target - center) / scale, np.array(levels)).mean(),
        "mae": np.abs(error).mean(),
        "mse": (error**2).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "naive_mae": naive_mae,
        "relative_mae": np.abs(error).mean() / naive_mae,
        "pinball": numpy_pinball(target, forecasts).mean(),
        "coverage": inside.mean(),
    }
    assert set(values) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-4, err_msg=name)
    assert 0 < values["coverage"] < 1


def test_crossed_quantiles_are_sorted():
    batch = make_batch()
    task = Forecasting(Constant((0.8, 0.1, -1.0)), quantiles=QUANTILES)
    params, variables = start(task, batch)
    straight = Forecasting(Constant((-1.0, 0.1, 0.8)), quantiles=QUANTILES)
    crossed = predicted(task, params, variables, batch)
    params, variables = start(straight, batch)
    for name, value in predicted(straight, params, variables, batch).items():
        np.testing.assert_array_equal(crossed[name], value)
    assert np.all(np.diff(crossed["quantiles"], axis=-1) >= 0)


def test_a_residual_of_zero_is_the_seasonal_naive_forecast():
    batch = make_batch()
    task = Forecasting(Constant((0.0,)), residual="naive")
    params, variables = start(task, batch)
    np.testing.assert_array_equal(predicted(task, params, variables, batch)["forecast"], batch["naive"])
    values = evaluated(task, params, variables, batch)
    assert values["relative_mae"] == pytest.approx(1.0)
    np.testing.assert_allclose(
        values["loss"], (np.abs(batch["target"] - batch["naive"]) / scaled(batch, "mean_std")[1]).mean(), rtol=1e-5
    )
    values = evaluated(task, params, variables, batch | {"naive": batch["target"]})
    assert values["mae"] == 0
    assert np.isnan(values["relative_mae"])


@pytest.mark.parametrize(
    ("kind", "residual"), [("mean_std", ""), ("last", ""), ("last_change", ""), ("mean_std", "naive")]
)
@pytest.mark.parametrize(("gain", "shift"), [(1000, 0), (0.01, 100), (3, -100)])
def test_forecasts_are_equivariant_to_the_units_of_the_series(kind, residual, gain, shift):
    batch = make_batch(level=0.0)
    task = Forecasting(Linear(), normalization=kind, residual=residual, lags=1, floor=1e-6)
    params, variables = start(task, batch)
    moved = dict(batch)
    for name in ("history", "future"):
        moved[name] = batch[name].copy()
        moved[name][..., 0] = gain * (batch[name][..., 0] + shift)
    moved["naive"] = gain * (batch["naive"] + shift)
    before, after = (predicted(task, params, variables, inputs)["forecast"] for inputs in (batch, moved))
    np.testing.assert_allclose(after, gain * (before + shift), rtol=2e-3, atol=2e-3 * gain)


def test_drift_is_added_to_the_naive_forecast():
    batch = make_batch()
    task = Forecasting(Constant((0.0,)), residual="naive", drift=0.75)
    params, variables = start(task, batch)
    with pytest.raises(UserError, match="the task needs 'drift' in the batch"):
        run_loss(task, params, variables, batch)
    batch["drift"] = np.array([4, -4, 0, 1], np.float32)
    forecast = predicted(task, params, variables, batch)["forecast"]
    np.testing.assert_allclose(forecast, batch["naive"] + 0.75 * batch["drift"][:, None], rtol=1e-6)


def test_square_roots_of_counts_are_forecast():
    batch, levels = make_batch(), (-1.0, 0.1, 0.8)
    task = Forecasting(Constant(levels), quantiles=QUANTILES, transform="sqrt")
    params, variables = start(task, batch)
    roots = np.sqrt(batch["history"][..., 0].astype(np.float64))
    center, scale = roots.mean(1)[:, None], roots.std(1)[:, None]
    expected = numpy_pinball((np.sqrt(batch["target"]) - center) / scale, np.array(levels)).mean(-1)
    np.testing.assert_allclose(run_loss(task, params, variables, batch).terms["pinball"].sum, expected.sum(), rtol=1e-4)
    quantiles = predicted(task, params, variables, batch)["quantiles"]
    np.testing.assert_allclose(quantiles[:, 0], (center + scale * np.array(levels)) ** 2, rtol=1e-4)
    negative = {**batch, "history": batch["history"] - 1e6}
    assert np.isnan(predicted(task, params, variables, negative)["forecast"]).all()
    below = Forecasting(Constant((-99.0,)), transform="sqrt", normalization="none")
    params, variables = start(below, batch)
    assert not predicted(below, params, variables, batch)["forecast"].any()  # counts are not negative
    naive = Forecasting(Constant((0.0,)), residual="naive", transform="sqrt")
    params, variables = start(naive, batch)
    np.testing.assert_allclose(predicted(naive, params, variables, batch)["forecast"], batch["naive"], rtol=1e-5)


def test_values_and_lags_are_standardized_and_covariates_are_unchanged():
    batch = make_batch()
    batch["future"][..., 0] = batch["history"][:, :HORIZON, 0]  # lag features within the context
    captured = {}

    def spy(self, history, future, *, train):
        captured.update(history=history, future=future)
        return jnp.zeros((*future.shape[:2], 1))

    Forecasting(type("Spy", (nn.Module,), {"__call__": spy})(), lags=1).predict({"forecaster": {}}, {}, batch, KEY)
    np.testing.assert_allclose(np.mean(captured["history"][..., 0], axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(captured["history"][..., 0], axis=1), 1, rtol=1e-4)
    np.testing.assert_array_equal(captured["history"][..., 1], batch["history"][..., 1])
    np.testing.assert_array_equal(captured["future"][..., 0], captured["history"][:, :HORIZON, 0])
    np.testing.assert_array_equal(captured["future"][..., 1], batch["future"][..., 1])


@settings(deadline=None, max_examples=50)
@given(
    arrays(np.float32, (3, 6), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(NORMALIZATIONS),
)
def test_every_window_has_a_scale(history, kind):
    center, scale = window_scale(jnp.asarray(history), kind, 1e-3)
    assert center.shape == scale.shape == (3, 1)
    assert np.all(np.isfinite(center))
    assert np.all(np.asarray(scale) > 0)
    assert np.all(np.isfinite((history - center) / scale))


@pytest.mark.parametrize("kind", NORMALIZATIONS)
def test_constant_windows_give_finite_losses_and_gradients(kind):
    batch = make_batch()
    task = Forecasting(Linear(3), quantiles=QUANTILES, normalization=kind)
    params, variables = start(task, batch)

    @jax.jit
    def loss(params, batch):
        return task.phases[0].loss(params, variables, batch, KEY, 0, {}).terms["pinball"].sum

    gradient = jax.jit(jax.grad(loss))
    for value in (0.0, 5.0, 1e6):
        batch["history"][..., 0] = value
        batch["target"][:] = value
        assert np.isfinite(loss(params, batch))
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient(params, batch)))
        assert np.all(np.isfinite(predicted(task, params, variables, batch)["quantiles"]))


def test_metrics_do_not_depend_on_padding_and_batch_size():
    batch = make_batch(6)
    task = Forecasting(Linear(3), quantiles=QUANTILES)
    params, variables = start(task, batch)
    expected = evaluated(task, params, variables, batch)
    sums: dict = {}
    evaluate = jax.jit(task.evaluate)
    for begin in (0, 4):
        part = {name: np.zeros((4, *value.shape[1:]), value.dtype) for name, value in batch.items()}
        for name, value in batch.items():
            part[name][: len(value[begin : begin + 4])] = value[begin : begin + 4]
        for name, pair in evaluate(params, variables, part, KEY).metrics.items():
            sums[name] = tuple(np.add(sums.get(name, (0, 0)), pair))
    values = finalize(sums)
    for name, value in {**values, **task.score({}, values, NAMES)}.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)


def test_a_model_improves_on_the_naive_forecast_of_waves():
    source = Series(MockSeries(steps=300), 24, 6, season=12, known=("promotion",), lags=(12,)).load()
    batch: dict = source.read(np.arange(len(source)))
    batch |= {"weight": np.ones(len(source), np.float32), "index": np.arange(len(source))}
    task = Forecasting(Linear(3, horizon=6), quantiles=QUANTILES, lags=1)
    params, variables = start(task, batch)
    before = evaluated(task, params, variables, batch)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(carry, _):
        params, state = carry

        def loss(params):
            term = task.phases[0].loss(params, variables, batch, KEY, 0, {}).terms["pinball"]
            return term.sum / term.weight

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=300)
    after = evaluated(task, params, variables, batch)
    assert after["pinball"] < 0.3 * before["pinball"]
    assert after["relative_mae"] < 0.8
    assert 0.7 < after["coverage"] < 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"point_loss": "rmse"}, "point_loss='rmse': did you mean 'mse'"),
        ({"normalization": "std"}, "normalization='std'"),
        ({"residual": "last"}, "residual='last'"),
        ({"quantiles": (0.5, 0.1)}, "must increase"),
        ({"quantiles": (0.5, 0.5)}, "must increase"),
        ({"quantiles": (0.0, 0.5)}, "between 0 and 1"),
        ({"quantiles": (0.1, 0.9)}, "must contain 0.5"),
        ({"transform": "log"}, "transform='log'"),
        ({"drift": 0.5}, "set residual='naive'"),
        ({"drift": 1.5, "residual": "naive"}, "drift=1.5"),
        ({"lags": -1}, "lags=-1"),
        ({"floor": 0.0}, "floor=0.0 must be positive"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Forecasting(Constant(), **arguments)


def test_incompatible_model_outputs_are_refused():
    batch = make_batch()
    task = Forecasting(Constant((0.0, 1.0)), quantiles=QUANTILES)
    params, variables = start(task, batch)
    with pytest.raises(UserError, match=r"the model returns the shape \(4, 3, 2\); the task needs \[4, 3, 3\]"):
        run_loss(task, params, variables, batch)
    with pytest.raises(UserError, match="lags=3, but future has 2 channels"):
        start(Forecasting(Constant(), lags=3), batch)


@pytest.mark.parametrize("quantiles", [(), (0.5,), QUANTILES])
def test_readable_output_and_picture_of_one_example(quantiles):
    batch = make_batch()
    task = Forecasting(Constant(tuple(range(max(1, len(quantiles))))), quantiles=quantiles)
    params, variables = start(task, batch)
    outputs = {name: value[1] for name, value in predicted(task, params, variables, batch).items()}
    example = {name: batch[name][1] for name in ("history", "future", "naive", "series")}
    row = task.presentation.readable(example, outputs, NAMES)
    assert json.loads(json.dumps(row)) == row
    assert row["series"] == "second"
    np.testing.assert_allclose(row["forecast"], outputs["forecast"], rtol=1e-5)
    assert list(row.get("quantiles", {})) == [f"{quantile:g}" for quantile in quantiles]
    assert "series" not in task.presentation.readable(example | {"series": np.array(-1)}, outputs, NAMES)
    picture = task.presentation.picture(example, outputs, NAMES)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (900, 3)
    assert task.presentation.picture({"history": example["history"]}, outputs, {}).shape == picture.shape


def test_pictures_show_windows_at_even_distances():
    batch = make_batch(20)
    batch["weight"][12:] = 0
    task = Forecasting(Constant((-1, 0, 1)), quantiles=QUANTILES)
    params, variables = start(task, batch)
    outputs = predicted(task, params, variables, batch)
    picture = task.presentation.pictures(batch, outputs, {}, NAMES)["forecasts"]
    assert picture.shape[1:] == (1120, 3)
    altered = batch | {"target": batch["target"] + 100 * (np.arange(20) >= 12)[:, None].astype(np.float32)}
    np.testing.assert_array_equal(task.presentation.pictures(altered, outputs, {}, NAMES)["forecasts"], picture)
    altered = batch | {"target": batch["target"] + 100 * (np.arange(20) == 11)[:, None].astype(np.float32)}
    assert not np.array_equal(task.presentation.pictures(altered, outputs, {}, NAMES)["forecasts"], picture)
    small = {name: value[:1] for name, value in batch.items()}
    assert (
        task.presentation.pictures(small, {name: value[:1] for name, value in outputs.items()}, {}, {})[
            "forecasts"
        ].ndim
        == 3
    )


@pytest.mark.parametrize(("windows", "horizon"), [(1, 1), (3, 12)])
def test_a_picture_depends_on_its_values(windows, horizon):
    history = np.sin(np.arange(50))[None].repeat(windows, 0)
    forecast = np.zeros((windows, horizon))
    plain = forecast_grid(history, forecast)
    assert plain.shape[1] == (900 if windows == 1 else 1120)
    with_all = forecast_grid(
        history, forecast, np.stack([forecast - 1, forecast + 1], -1), forecast + 0.5, forecast - 0.5, ["a"], 0.8
    )
    assert (with_all != plain).sum() > 500
    with pytest.raises(ValueError, match="no windows"):
        forecast_grid(history[:0], forecast[:0])
