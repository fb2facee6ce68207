"""Time series forecasting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import float_outputs, per_example
from jaxdl.tasks.parts.arguments import check_choices, check_ranges, require_features
from jaxdl.tasks.parts.averages import mean_quantiles
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.training.task import Array, Batch, Evaluation, Outcome, PyTree, Term
from jaxdl.viz.forecast import ForecastingPresentation

POINT_LOSSES = ("mae", "mse")
NORMALIZATIONS = ("mean_std", "mean_abs", "last", "last_change", "none")
RESIDUALS = ("", "naive")
TRANSFORMS = ("", "sqrt")
_EPSILON = 1e-8  # smaller scales are replaced by 1


@dataclass(frozen=True, eq=False)
class Forecasting(ModelTask):
    """Point and quantile forecasting of time series.

    Trains the group "forecaster" in one phase, "train". Each window is standardized by its own history, `(value -
    center) / scale`; forecasts are converted back to the value's units. The loss is computed on standardized errors, so
    windows have equal weight whatever their level.

    Batches (see `jaxdl.data.series.windows.Series`): `history` float32 [batch, context, channels], the value in channel
    0; `future` float32 [batch, horizon, known], of which the first `lags` channels are earlier values; `target` float32
    [batch, horizon]; `naive` float32 [batch, horizon], the seasonal naive forecast; `series` int32 [batch]; with
    `drift`, `drift` float32 [batch], the change of level since a season earlier. All values have the same units.

    Evaluation metrics, all but `loss` in the value's units: `loss` (as trained), `mae`, `mse`, `rmse`, `naive_mae` (of
    the seasonal naive forecast), `relative_mae` (`mae / naive_mae`; NaN if `naive_mae` is 0), and for quantiles
    `pinball` and, for two or more, `coverage`, the share of targets between the lowest and the highest quantile. All
    but the last two refer to the point forecast or the median.

    Predictions: `forecast` float32 [batch, horizon], and for quantiles `quantiles` [batch, horizon, quantiles].

    Attributes:
      model: Forecaster, `model(history [batch, context, channels], future [batch, horizon, known], *, train) -> [batch,
        horizon, outputs]`, with one output, or one per quantile. It may draw from "dropout".
      quantiles: Quantiles to forecast, increasing and with 0.5, trained by the pinball loss (Koenker and Bassett,
        "Regression Quantiles", 1978), term `pinball`. Empty: a point forecast.
      point_loss: Loss and term of a point forecast, "mae" or "mse".
      normalization: Center and scale of a window: "mean_std": mean and std of the history; "mean_abs": 0 and the mean
        absolute value, for values that are never negative (arXiv:1704.04110); "last": the last value and the std;
        "last_change": the last value and the mean absolute change per step, for random walks such as prices, whose
        std grows with the length of the history; "none": 0 and 1.
      residual: "naive": The model predicts the scaled difference from the seasonal naive forecast.
      drift: Share of the batch's `drift` that is added to the naive forecast of `residual`, such as 0.75. The rest is
        expected to revert.
      transform: "sqrt": Values enter as their square roots, and the loss is computed on these. The variance of counts
        is proportional to their mean; that of their roots is constant (Bartlett, 1936). Negative values give NaN, which
        ends training.
      lags: Number of channels of `future`, from the first on, that are standardized like the history.
      floor: Smallest scale as a share of the history's mean absolute value. The scale is 1 where that is 0, too.

    Raises:
      UserError: An argument out of range, outputs of another shape, or fewer channels than `lags`.
    """

    group: ClassVar[str] = "forecaster"
    average = staticmethod(mean_quantiles)

    quantiles: Sequence[float] = ()
    point_loss: str = "mae"
    normalization: str = "mean_std"
    residual: str = ""
    drift: float = 0.0
    transform: str = ""
    lags: int = 0
    floor: float = 1e-3

    def __post_init__(self):
        choices = {"normalization": NORMALIZATIONS, "residual": RESIDUALS, "transform": TRANSFORMS}
        check_choices(self, point_loss=POINT_LOSSES, **choices)
        check_ranges(self, lags="[0, inf)", floor="(0, inf)", drift="[0, 1]")
        if self.drift and self.residual != "naive":
            raise UserError(f"drift={self.drift:g} changes the naive forecast; set residual='naive', or drift=0")
        levels = tuple(self.quantiles)
        if levels and (list(levels) != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] < 1):
            raise UserError(f"quantiles={levels} must increase, between 0 and 1")
        if levels and 0.5 not in levels:
            raise UserError(f"quantiles={levels} must contain 0.5, the median, which is the forecast")

    @property
    def presentation(self) -> ForecastingPresentation:
        return ForecastingPresentation(tuple(self.quantiles))

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        history, future, _, _ = self._inputs(batch)
        return self.init_model(key, history, future)

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        forecast, variables = self._forecast(params, variables, batch, key)
        errors = self._errors(forecast.outputs, self._scaled(batch["target"], forecast))
        total, weight = per_example(batch, jnp.sum(errors, axis=1))
        name = "pinball" if self.quantiles else self.point_loss
        return Outcome(terms={name: Term(total, weight * batch["target"].shape[1])}, variables=variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        forecast, _ = self._forecast(params, variables, batch)
        target, values = batch["target"], self._values(forecast)
        error = target - values[..., self._median]
        metrics = {
            "loss": self._errors(forecast.outputs, self._scaled(target, forecast)),
            "mae": jnp.abs(error),
            "mse": jnp.square(error),
            "naive_mae": jnp.abs(target - batch["naive"]),
        }
        if self.quantiles:
            metrics["pinball"] = self._errors(values, target)
        if len(self.quantiles) > 1:
            metrics["coverage"] = ((values[..., 0] <= target) & (target <= values[..., -1])).astype(jnp.float32)
        weight = jnp.sum(batch["weight"]) * target.shape[1]
        return Evaluation({name: (jnp.sum(batch["weight"][:, None] * x), weight) for name, x in metrics.items()})

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        values = self._values(self._forecast(params, variables, batch)[0])
        outputs = {"forecast": values[..., self._median]}
        return outputs | {"quantiles": values} if self.quantiles else outputs

    def score(self, records: Mapping[str, Any], metrics: Mapping[str, Any], names: Any = None) -> dict[str, float]:
        naive = metrics["naive_mae"]
        return {"rmse": math.sqrt(metrics["mse"]), "relative_mae": metrics["mae"] / naive if naive else math.nan}

    @property
    def _median(self) -> int:
        return list(self.quantiles).index(0.5) if self.quantiles else 0

    def _inputs(self, batch: Batch) -> tuple[Array, Array, Array, Array]:
        """Returns standardized `history` and `future`, and the window's center and scale [batch, 1]."""
        history, future = jnp.asarray(batch["history"], jnp.float32), jnp.asarray(batch["future"], jnp.float32)
        if future.shape[-1] < self.lags:
            raise UserError(
                f"lags={self.lags}, but future has {future.shape[-1]} channels; set the same lags in Series"
            )
        values = self._transformed(history[..., :1])
        center, scale = window_scale(values[..., 0], self.normalization, self.floor)
        center, scale = center[..., None], scale[..., None]
        history = jnp.concatenate([(values - center) / scale, history[..., 1:]], axis=-1)
        lagged = (self._transformed(future[..., : self.lags]) - center) / scale
        future = jnp.concatenate([lagged, future[..., self.lags :]], axis=-1)
        return history, future, center[..., 0], scale[..., 0]

    def _forecast(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
    ) -> tuple["_Forecast", PyTree]:
        """Returns the model's forecast and the new variables; without a key in evaluation mode."""
        history, future, center, scale = self._inputs(batch)
        outputs, variables = self.apply_model(params, variables, batch, key, history, future)
        outputs = float_outputs(outputs, *future.shape[:2], max(1, len(self.quantiles)))
        base = self._naive(batch) if self.residual == "naive" else jnp.broadcast_to(center, future.shape[:2])
        return _Forecast(outputs, base, scale), variables

    def _naive(self, batch: Batch) -> Array:
        """Returns the transformed naive forecast [batch, horizon], with its share of the drift."""
        if not self.drift:
            return self._transformed(batch["naive"])
        require_features(batch, "drift", source="Series(..., drift=13)")
        changed = batch["naive"] + self.drift * batch["drift"][:, None]
        return self._transformed(jnp.maximum(changed, 0.0) if self.transform == "sqrt" else changed)

    def _transformed(self, values: Array) -> Array:
        return jnp.sqrt(values) if self.transform == "sqrt" else values

    def _scaled(self, target: Array, forecast: "_Forecast") -> Array:
        """Returns targets [batch, horizon] as the model's outputs represent them."""
        return (self._transformed(target) - forecast.base) / forecast.scale

    def _values(self, forecast: "_Forecast") -> Array:
        """Returns forecasts in the value's units [batch, horizon, outputs], quantiles sorted.

        Sorting crossed quantiles does not increase the pinball loss (Chernozhukov, Fernández-Val and Galichon,
        "Quantile and Probability Curves without Crossing", 2010).
        """
        values = forecast.base[..., None] + forecast.scale[..., None] * jnp.sort(forecast.outputs, axis=-1)
        return jnp.square(jnp.maximum(values, 0.0)) if self.transform == "sqrt" else values

    def _errors(self, outputs: Array, target: Array) -> Array:
        """Returns the loss of each step [batch, horizon], of outputs [batch, horizon, outputs]."""
        error = target[..., None] - outputs
        if self.quantiles:
            level = jnp.asarray(self.quantiles)
            return jnp.mean(jnp.maximum(level * error, (level - 1) * error), axis=-1)
        return jnp.abs(error[..., 0]) if self.point_loss == "mae" else jnp.square(error[..., 0])


class _Forecast(NamedTuple):
    """A forecast in scaled units.

    Attributes:
      outputs: [batch, horizon, outputs]. Scaled difference from `base`.
      base: [batch, horizon], in the units of transformed values.
      scale: [batch, 1]. Units of `base` per unit of the outputs.
    """

    outputs: Array
    base: Array
    scale: Array


def window_scale(history: Array, normalization: str, floor: float) -> tuple[Array, Array]:
    """Returns center and scale [batch, 1] of histories [batch, context]; see `Forecasting`."""
    size = jnp.mean(jnp.abs(history), axis=1, keepdims=True)
    mean = jnp.mean(history, axis=1, keepdims=True)
    std = jnp.sqrt(jnp.mean(jnp.square(history - mean), axis=1, keepdims=True))
    change = jnp.mean(jnp.abs(jnp.diff(history, axis=1)), axis=1, keepdims=True)
    center, scale = {
        "mean_std": (mean, std),
        "mean_abs": (jnp.zeros_like(mean), size),
        "last": (history[:, -1:], std),
        "last_change": (history[:, -1:], change),
        "none": (jnp.zeros_like(mean), jnp.ones_like(size)),
    }[normalization]
    if normalization == "none":
        return center, scale
    scale = jnp.maximum(scale, floor * size)
    return center, jnp.where(scale > _EPSILON, scale, 1.0)
