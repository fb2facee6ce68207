"""Forecasting: the next values of a time series, as points or as quantiles.

Batches (see `jaxdl.data.series.windows.Series`): `history` float32 [batch, context, channels], the values in their own
units first; `future` float32 [batch, horizon, known], of which the first `lags` are earlier values, in the same units;
`target` float32 [batch, horizon]; `naive` float32 [batch, horizon], the seasonal naive forecast; `series` int32
[batch]; `weight` float32 [batch] (0 on padding), `index` [batch].
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError, nearest
from jaxdl.tasks.parts.apply import batch_coupling
from jaxdl.training.task import Array, Evaluation, FunctionTask, Outcome, Phase, PyTree, Term, module_key

GROUP = "forecaster"
LOSSES = ("mae", "mse")
NORMALIZATIONS = ("mean_std", "mean_abs", "last", "none")
RESIDUALS = ("", "naive")
_SMALLEST = 1e-8  # a scale below is none


class _Settings(NamedTuple):
    quantiles: tuple[float, ...]
    loss: str
    normalization: str
    residual: str
    lags: int
    floor: float


class _Forecast(NamedTuple):
    """What a model says of a batch.

    Attributes:
      outputs: [batch, horizon, outputs] in scaled units, from `base` on.
      base: [batch, horizon] what the outputs are added to, in the value's units.
      scale: [batch, 1] units of the value in one unit of the outputs.
    """

    outputs: Array
    base: Array
    scale: Array

    @property
    def values(self) -> Array:
        """[batch, horizon, outputs] in the value's units; quantiles in order.

        A model may let quantiles cross; to sort them makes the pinball loss no larger (Chernozhukov, Fernández-Val and
        Galichon, "Quantile and Probability Curves without Crossing", 2010).
        """
        return self.base[..., None] + self.scale[..., None] * jnp.sort(self.outputs, axis=-1)


def forecasting(
    model: nn.Module,
    *,
    quantiles: Sequence[float] = (),
    loss: str = "mae",
    normalization: str = "mean_std",
    residual: str = "",
    lags: int = 0,
    floor: float = 1e-3,
) -> Any:
    """Trains the group "forecaster" in one phase, "train".

    Each window is normalized by its own history, `(value - center) / scale`, so that the model sees numbers around 0
    whatever the series' level, and what it says is brought back to units. The losses count normalized errors, so every
    window counts alike.

    Args:
      model: `model(history [batch, context, channels], future [batch, horizon, known], *, train) -> [batch, horizon,
        outputs]`, with one output, or one a quantile; may draw from "dropout".
      quantiles: to forecast, in rising order, 0.5 among them: the loss is then the pinball loss (Koenker and Bassett,
        "Regression Quantiles", 1978), term `pinball`. Empty: one forecast, by `loss`.
      loss: of a point forecast, "mae" (mean absolute error) or "mse" (mean squared error), which are the terms' names.
      normalization: center and scale of a window:
        - "mean_std": mean and standard deviation of the history;
        - "mean_abs": 0 and the mean absolute value, for values that are never negative (arXiv:1704.04110);
        - "last": the last value and the standard deviation, for values that wander, as prices do;
        - "none": 0 and 1.
      residual: "naive": the model forecasts, scaled, how far the values are from the seasonal naive forecast.
      lags: how many of `future`'s first channels are earlier values, to be normalized like the history.
      floor: the smallest scale, as a share of the history's mean absolute value: a constant history has no deviation.
        Where the history is zero, the scale is 1.

    Evaluation metrics, all but `loss` in the value's units: `loss` (as trained), `mae`, `mse`, `rmse`, `naive_mae` (of
    the seasonal naive forecast), `relative_mae` (`mae / naive_mae`, below 1 if the model is better; NaN where the naive
    forecast is always right); with quantiles also `pinball` and, of two or more, `coverage`: the share of targets
    between the lowest and the highest of them. The forecast that counts is the point forecast, or the median.
    Predictions: `forecast` float32 [batch, horizon]; with quantiles also `quantiles` [batch, horizon, quantiles].

    Raises:
      UserError: an argument out of range; when traced, a model that gives another shape, or fewer channels than `lags`.
    """
    quantiles = tuple(float(quantile) for quantile in quantiles)
    _check(quantiles, loss, normalization, residual, lags, floor)
    settings = _Settings(quantiles, loss, normalization, residual, lags, floor)
    forecast = functools.partial(_forecast, model, settings)
    return FunctionTask(
        init=functools.partial(_init, model, settings),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, settings, forecast)),),
        evaluate=functools.partial(_evaluate, settings, forecast),
        predict=functools.partial(_predict, settings, forecast),
        score=_score,
        draw=functools.partial(_draw, quantiles),
        illustrate=functools.partial(_illustrate, quantiles),
        readable=functools.partial(_readable, quantiles),
        batch_coupled=batch_coupling(model),
    )


def _check(quantiles: tuple[float, ...], loss: str, normalization: str, residual: str, lags: int, floor: float) -> None:
    choices = {
        "loss": (loss, LOSSES),
        "normalization": (normalization, NORMALIZATIONS),
        "residual": (residual, RESIDUALS),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            raise UserError(f"{name}='{value}': {nearest(value, known)}")
    if quantiles and (list(quantiles) != sorted(set(quantiles)) or not 0 < quantiles[0] <= quantiles[-1] < 1):
        raise UserError(f"quantiles={quantiles}: must rise, between 0 and 1")
    if quantiles and 0.5 not in quantiles:
        raise UserError(f"quantiles={quantiles}: 0.5 must be among them, for it is the forecast")
    if lags < 0:
        raise UserError(f"lags={lags}: must be 0 or more")
    if not 0 < floor < math.inf:
        raise UserError(f"floor={floor}: must be positive")


def window_scale(history: Array, normalization: str, floor: float) -> tuple[Array, Array]:
    """Center and scale, [batch, 1], of values [batch, context]; see `forecasting`."""
    size = jnp.mean(jnp.abs(history), axis=1, keepdims=True)
    mean = jnp.mean(history, axis=1, keepdims=True)
    spread = jnp.sqrt(jnp.mean(jnp.square(history - mean), axis=1, keepdims=True))
    center, scale = {
        "mean_std": (mean, spread),
        "mean_abs": (jnp.zeros_like(mean), size),
        "last": (history[:, -1:], spread),
        "none": (jnp.zeros_like(mean), jnp.ones_like(size)),
    }[normalization]
    if normalization == "none":
        return center, scale
    scale = jnp.maximum(scale, floor * size)
    return center, jnp.where(scale > _SMALLEST, scale, 1.0)


def _inputs(settings: _Settings, batch: Mapping[str, Array]) -> tuple[Array, Array, Array, Array]:
    """Normalized `history` and `future`, and the window's center and scale, [batch, 1]."""
    history, future = jnp.asarray(batch["history"], jnp.float32), jnp.asarray(batch["future"], jnp.float32)
    if future.shape[-1] < settings.lags:
        raise UserError(f"lags={settings.lags}, but future has {future.shape[-1]} channels: give Series as many lags")
    center, scale = window_scale(history[..., 0], settings.normalization, settings.floor)
    center, scale = center[..., None], scale[..., None]
    history = jnp.concatenate([(history[..., :1] - center) / scale, history[..., 1:]], axis=-1)
    lagged = (future[..., : settings.lags] - center) / scale
    future = jnp.concatenate([lagged, future[..., settings.lags :]], axis=-1)
    return history, future, center[..., 0], scale[..., 0]


def _init(
    model: nn.Module, settings: _Settings, key: Array, batch: Mapping[str, Array]
) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    history, future, _, _ = _inputs(settings, batch)
    collections = dict(model.init(key, history, future, train=False))
    params = collections.pop("params")
    return {GROUP: params}, {GROUP: collections} if collections else {}


def _forecast(
    model: nn.Module,
    settings: _Settings,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array | None = None,
) -> tuple[_Forecast, PyTree]:
    """What the model says, and the new variables; without a key as in evaluation."""
    history, future, center, scale = _inputs(settings, batch)
    collections = variables.get(GROUP, {})
    inputs = ({"params": params[GROUP], **collections}, history, future)
    if key is None:
        outputs: Any = model.apply(*inputs, train=False)
    else:
        rngs = {"dropout": module_key(key, batch)}
        outputs, updated = model.apply(*inputs, train=True, rngs=rngs, mutable=list(collections))
        variables = {**variables, GROUP: updated} if collections else variables
    outputs = jnp.asarray(outputs, jnp.float32)
    wanted = (*future.shape[:2], max(1, len(settings.quantiles)))
    if outputs.shape != wanted:
        raise UserError(f"the model gives {outputs.shape}: the task needs [batch, horizon, outputs], here {wanted}")
    base = batch["naive"] if settings.residual == "naive" else jnp.broadcast_to(center, wanted[:2])
    return _Forecast(outputs, base, scale), variables


def _errors(settings: _Settings, outputs: Array, target: Array) -> Array:
    """The loss of each step, [batch, horizon]: of outputs [batch, horizon, outputs] for target [batch, horizon]."""
    short = target[..., None] - outputs
    if settings.quantiles:
        share = jnp.asarray(settings.quantiles)
        return jnp.mean(jnp.maximum(share * short, (share - 1) * short), axis=-1)
    return jnp.abs(short[..., 0]) if settings.loss == "mae" else jnp.square(short[..., 0])


def _loss(
    settings: _Settings,
    forecast: Callable[..., tuple[_Forecast, PyTree]],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    said, variables = forecast(params, variables, batch, key)
    weight, horizon = batch["weight"], batch["target"].shape[1]
    errors = _errors(settings, said.outputs, (batch["target"] - said.base) / said.scale)
    name = "pinball" if settings.quantiles else settings.loss
    term = Term(jnp.sum(weight * jnp.sum(errors, axis=1)), jnp.sum(weight) * horizon)
    return Outcome(terms={name: term}, variables=variables)


def _evaluate(
    settings: _Settings,
    forecast: Callable[..., tuple[_Forecast, PyTree]],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> Evaluation:
    del key
    said, _ = forecast(params, variables, batch)
    target, weight = batch["target"], batch["weight"]
    values = said.values
    error = target - values[..., _point(settings.quantiles)]
    each = {
        "loss": _errors(settings, said.outputs, (target - said.base) / said.scale),
        "mae": jnp.abs(error),
        "mse": jnp.square(error),
        "naive_mae": jnp.abs(target - batch["naive"]),
    }
    if settings.quantiles:
        each["pinball"] = _errors(settings, values, target)
    if len(settings.quantiles) > 1:
        each["coverage"] = ((values[..., 0] <= target) & (target <= values[..., -1])).astype(jnp.float32)
    total = jnp.sum(weight) * target.shape[1]
    return Evaluation({name: (jnp.sum(weight[:, None] * value), total) for name, value in each.items()})


def _point(quantiles: tuple[float, ...]) -> int:
    """Which output is the forecast."""
    return quantiles.index(0.5) if quantiles else 0


def _score(records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Any = None) -> dict[str, float]:
    del records, names
    naive = metrics["naive_mae"]
    return {"rmse": math.sqrt(metrics["mse"]), "relative_mae": metrics["mae"] / naive if naive else math.nan}


def _predict(
    settings: _Settings,
    forecast: Callable[..., tuple[_Forecast, PyTree]],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> dict[str, Array]:
    del key
    values = forecast(params, variables, batch)[0].values
    outputs = {"forecast": values[..., _point(settings.quantiles)]}
    return outputs | {"quantiles": values} if settings.quantiles else outputs


def _names(numbers: np.ndarray, names: Mapping[str, Sequence[str]]) -> list[str]:
    """The series' names, "" where there is none."""
    known = names.get("series", ())
    return [str(known[number]) if 0 <= number < len(known) else "" for number in numbers]


def _panels(
    quantiles: tuple[float, ...], batch: Mapping[str, Any], outputs: Mapping[str, Any], names: Any
) -> np.ndarray:
    """A picture of the windows of a batch, as `Series` gives it; `target`, `naive` and `series` may be missing."""
    from jaxdl.viz.forecast import forecast_grid

    ranged = len(quantiles) > 1
    return forecast_grid(
        batch["history"][..., 0],
        outputs["forecast"],
        outputs["quantiles"][..., [0, -1]] if ranged else None,
        batch.get("target"),
        batch.get("naive"),
        _names(batch["series"], names) if "series" in batch else (),
        quantiles[-1] - quantiles[0] if ranged else None,
    )


def _draw(
    quantiles: tuple[float, ...], batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Any, names: Any
) -> dict[str, np.ndarray]:
    """`forecasts`: 8 windows from all over the batch."""
    del metrics
    size = len(batch["history"])
    real = np.flatnonzero(np.asarray(batch.get("weight", np.ones(size))) > 0)
    # Windows that follow each other look alike.
    shown = real[np.unique(np.linspace(0, len(real) - 1, 8).round().astype(int))]
    features = ("history", "target", "naive", "series")
    chosen = {name: np.asarray(batch[name])[shown] for name in features if name in batch}
    said = {name: np.asarray(value)[shown] for name, value in outputs.items()}
    return {"forecasts": _panels(quantiles, chosen, said, names)}


def _illustrate(
    quantiles: tuple[float, ...], example: Mapping[str, Any], outputs: Mapping[str, Any], names: Any
) -> np.ndarray:
    batch = {name: np.asarray(value)[None] for name, value in example.items()}
    return _panels(quantiles, batch, {name: np.asarray(value)[None] for name, value in outputs.items()}, names)


def _readable(
    quantiles: tuple[float, ...], example: Mapping[str, Any], outputs: Mapping[str, Any], names: Any
) -> dict[str, Any]:
    """The series' name where it is known, the forecast, and each quantile's, to six digits."""
    row: dict[str, Any] = {}
    if "series" in example and (name := _names(np.asarray(example["series"])[None], names)[0]):
        row["series"] = name
    row["forecast"] = _rounded(outputs["forecast"])
    if quantiles:
        row["quantiles"] = {f"{share:g}": _rounded(outputs["quantiles"][:, at]) for at, share in enumerate(quantiles)}
    return row


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in np.asarray(values)]
