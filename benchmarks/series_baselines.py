"""Forecasting baselines without a recurrent network on the splits of the recipes.

  python -m benchmarks.series_baselines                        all four recipes
  python -m benchmarks.series_baselines electricity sunspots   some of them

Last value; seasonal naive; and two linear models of Zeng, Chen, Zhang and Xu ("Are Transformers Effective for Time
Series Forecasting?", 2022, arXiv:2205.13504). DLinear: the history is decomposed into a moving average and its
remainder, each with a linear map to the horizon. NLinear: the last value is subtracted, and one linear map follows.
Both are solved by ridge regression in closed form instead of gradient descent; the ridge is selected on the validation
windows. Windows are divided by their std, and DLinear's mean is subtracted. The input is the context of values, without
covariates, so a recipe's lags are included only if they lie in the context.

The windows are those of the recipe's `data.train`, `data.evals["validation"]` and `data.test`. MAE and RMSE are in the
unit of the values; relative MAE is relative to the seasonal naive forecast. Missing data sets are prepared first.
"""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.source import Source

RECIPES = ("electricity", "sales", "sunspots", "stocks")
KERNEL = 25  # time steps of the moving average, as in the paper
RIDGES = tuple(10.0**power for power in range(-4, 7))
FLOOR = 1e-3  # minimum scale of a window, relative to its mean absolute value
CHUNK = 2048  # windows read at once


class Windows(NamedTuple):
    """Windows of a split.

    Attributes:
      history: Values without covariates, [windows, context].
      target, naive: [windows, horizon].
    """

    history: np.ndarray
    target: np.ndarray
    naive: np.ndarray


class Linear(NamedTuple):
    """Linear map of the features [2 * context] of a normalized window to its horizon.

    The last value of a window is subtracted if `last`, else its mean. `kernel` 1 disables the moving average.
    """

    weights: np.ndarray  # [2 * context, horizon]
    offset: np.ndarray  # [horizon]
    ridge: float
    kernel: int
    last: bool

    def forecast(self, history: np.ndarray) -> np.ndarray:
        """Forecasts [windows, horizon] from histories [windows, context], in the unit of the values."""
        normal, center, scale = normalized(history, self.last)
        return center + scale * (decomposed(normal, self.kernel) @ self.weights + self.offset)


def baselines(train: Source, validation: Source, tests: Mapping[str, Source]) -> Iterator[str]:
    """Yields one line per method and split; `train` and `validation` fit the linear maps."""
    fitted = windows(train), windows(validation)
    linear = {"DLinear": fit(*fitted), "NLinear": fit(*fitted, kernel=1, last=True)}
    for split, source in tests.items():
        data = windows(source)
        forecasts = {
            "last value": np.repeat(data.history[:, -1:], data.target.shape[1], axis=1),
            "seasonal naive": data.naive,
            **{f"{name}, ridge {model.ridge:g}": model.forecast(data.history) for name, model in linear.items()},
        }
        for method, forecast in forecasts.items():
            yield f"{split:10}  {method:22}  {scored(forecast, data)}"


def windows(source: Source) -> Windows:
    """Reads all windows of a `Series` in parts, without covariates, to limit memory."""
    parts = []
    for start in range(0, len(source), CHUNK):
        batch = source.read(np.arange(start, min(start + CHUNK, len(source))))
        parts.append((batch["history"][..., 0].copy(), batch["target"], batch["naive"]))
    return Windows(*(np.concatenate(values).astype(np.float64) for values in zip(*parts)))


def scored(forecast: np.ndarray, data: Windows) -> str:
    """Formats MAE, RMSE and relative MAE over all windows and steps."""
    error = np.abs(forecast - data.target)
    naive = np.abs(data.naive - data.target).mean()
    rmse = np.sqrt(np.mean(error**2))
    return f"MAE {error.mean():10.4f}  RMSE {rmse:10.4f}  relative MAE {error.mean() / naive:.3f}"


def fit(train: Windows, validation: Windows, kernel: int = KERNEL, last: bool = False) -> Linear:
    """Fits ridge regressions on `train`; returns the one with the lowest MAE on `validation`."""
    normal, center, scale = normalized(train.history, last)
    features, target = decomposed(normal, kernel), (train.target - center) / scale
    means = features.mean(0), target.mean(0)
    features, target = features - means[0], target - means[1]
    gram, products = features.T @ features, features.T @ target
    best, lowest = None, np.inf
    for ridge in RIDGES:
        weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), products)
        model = Linear(weights, means[1] - means[0] @ weights, ridge, kernel, last)
        error = np.abs(model.forecast(validation.history) - validation.target).mean()
        if error < lowest:
            best, lowest = model, error
    assert best is not None
    return best


def normalized(history: np.ndarray, last: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalizes history [windows, context]; returns it with its offset and std, [windows, 1].

    The offset is the mean, or the last value.
    """
    center = history[:, -1:] if last else history.mean(1, keepdims=True)
    size = np.abs(history).mean(1, keepdims=True)
    scale = np.maximum(history.std(1, keepdims=True), FLOOR * size)
    scale = np.where(scale > 0, scale, 1.0)
    return (history - center) / scale, center, scale


def decomposed(history: np.ndarray, kernel: int) -> np.ndarray:
    """Concatenates moving average (ends repeated) and remainder of history [windows, context]."""
    before, after = (kernel - 1) // 2, kernel // 2
    padded = np.pad(history, ((0, 0), (before, after)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((0, 0), (1, 0))), axis=1)
    trend = (sums[:, kernel:] - sums[:, :-kernel]) / kernel
    return np.concatenate([trend, history - trend], axis=1)


def recipe_data(name: str) -> Any:
    """Returns the data of the recipe `experiments/rnn/NAME.py`."""
    from jaxdl.config.experiment import build
    from jaxdl.config.recipes import load_recipe

    return build(load_recipe(f"experiments/rnn/{name}.py").module.experiment.as_buildable()).data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=", ".join(RECIPES))
    for name in parser.parse_args().recipes or RECIPES:
        data = recipe_data(name)
        loaded = {"validation": data.evals["validation"].load(), "test": data.test.load()}
        for line in baselines(data.train.load(), loaded["validation"], loaded):
            print(f"{name:12}  {line}", flush=True)


if __name__ == "__main__":
    main()
