"""Plots of forecasts with history, prediction interval and true values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.viz.figure import COLORS, FAINT, INK, new_figure, plain, render, shorten
from jaxdl.viz.presentation import Presentation, valid_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HISTORY, _FORECAST, _NAIVE = INK, COLORS[1], COLORS[0]
_SHOWN = 40  # steps of history, or three horizons if that is more
_PICTURED = 8


def forecast_grid(
    history: np.ndarray,
    forecast: np.ndarray,
    interval: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    naive: np.ndarray | None = None,
    titles: Sequence[str] = (),
    coverage: float | None = None,
) -> np.ndarray:
    """Plots history, forecast, interval and true values of each window in a panel.

    Step 0 is the last one of the history. Only the end of a long history is drawn.

    Args:
      history: [windows, context], in the value's units.
      forecast: [windows, horizon].
      interval: [windows, horizon, 2], lower and upper end. None draws none.
      truth: [windows, horizon]. None if unknown.
      naive: [windows, horizon]. None if unknown.
      titles: Titles of the panels.
      coverage: Nominal coverage of the interval, 0 to 1, for the legend.

    Returns:
      uint8 [height, width, 3]: 900 pixels wide for one window, 1,120 for several, two per row.

    Raises:
      ValueError: No windows.
    """
    windows, horizon = forecast.shape
    if not windows:
        raise ValueError("no windows to draw")
    columns = min(windows, 2)
    rows = math.ceil(windows / columns)
    figure = new_figure(900 if windows == 1 else 1120, 40 + (380 if windows == 1 else 240 * rows))
    panels = figure.subplots(rows, columns, squeeze=False)
    visible = min(history.shape[1], max(3 * horizon, _SHOWN))
    for number, axes in enumerate(panels.flat):
        if number >= windows:
            axes.axis("off")
            continue
        plain(axes)
        past, steps = history[number, -visible:], np.arange(1, horizon + 1)
        axes.plot(np.arange(1 - visible, 1), past, color=FAINT, linewidth=1.1, label="history")
        if truth is not None:
            _line(axes, steps, truth[number], _HISTORY, "true", past[-1])
        if naive is not None:
            _line(axes, steps, naive[number], _NAIVE, "seasonal naive", linestyle=":")
        if interval is not None:
            _band(axes, steps, interval[number], coverage)
        _line(axes, steps, forecast[number], _FORECAST, "forecast", linewidth=1.8)
        axes.axvline(0, color="#BDC1C6", linewidth=0.8)
        axes.margins(x=0.02)
        if number < len(titles):
            axes.set_title(shorten(str(titles[number]), 70), fontsize=10, color=INK, loc="left", parse_math=False)
        if number >= windows - columns:
            axes.set_xlabel("time steps from now", fontsize=9, color=INK)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False, fontsize=9)
    return render(figure)


def _line(
    axes: "Axes",
    steps: np.ndarray,
    values: np.ndarray,
    color: str,
    label: str,
    before: float | None = None,
    linewidth: float = 1.1,
    linestyle: str = "-",
) -> None:
    """Draws a line over the future, from the value `before` it; short ones have a marker."""
    if before is not None:
        steps, values = np.concatenate([[0], steps]), np.concatenate([[before], values])
    marker = "o" if len(steps) <= 2 else ""
    axes.plot(
        steps,
        values,
        color=color,
        label=label,
        linewidth=linewidth,
        linestyle=linestyle,
        marker=marker,
        markersize=4.5,
        markevery=[len(steps) - 1],
    )


def _band(axes: "Axes", steps: np.ndarray, interval: np.ndarray, coverage: float | None) -> None:
    label = "interval" if coverage is None else f"{100 * coverage:g} % interval"
    lower, upper = interval[:, 0], interval[:, 1]
    if len(steps) > 1:
        axes.fill_between(steps, lower, upper, color=_FORECAST, alpha=0.2, linewidth=0, label=label)
    else:
        axes.vlines(steps, lower, upper, color=_FORECAST, alpha=0.35, linewidth=5, label=label)


@dataclass(frozen=True)
class ForecastingPresentation(Presentation):
    """Presentation of forecasting.

    Attributes:
      quantiles: Forecast quantiles; empty for a point forecast.
    """

    quantiles: tuple[float, ...] = ()

    def pictures(
        self,
        batch: Mapping[str, Any],
        outputs: Mapping[str, Any],
        metrics: Mapping[str, Any],
        names: Mapping[str, Sequence[str]],
    ) -> dict[str, np.ndarray]:
        """Returns `forecasts`, 8 windows spread over the batch; consecutive ones look alike."""
        rows = valid_rows(batch)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, _PICTURED).round().astype(int))]
        features = ("history", "target", "naive", "series")
        examples = {name: np.asarray(batch[name])[rows] for name in features if name in batch}
        return {"forecasts": self._panels(examples, {name: np.asarray(x)[rows] for name, x in outputs.items()}, names)}

    def picture(
        self, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Mapping[str, Sequence[str]]
    ) -> np.ndarray:
        """Returns the plot of one window; `target`, `naive` and `series` may be absent."""
        batch, outputs = ({name: np.asarray(x)[None] for name, x in tree.items()} for tree in (example, outputs))
        return self._panels(batch, outputs, names)

    def readable(
        self, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """Returns the series' name, if known, the forecast and the quantiles, rounded to six digits."""
        row: dict[str, Any] = {}
        if "series" in example and (name := _series_names(np.asarray(example["series"])[None], names)[0]):
            row["series"] = name
        row["forecast"] = _rounded(outputs["forecast"])
        if self.quantiles:
            columns = np.asarray(outputs["quantiles"]).T
            row["quantiles"] = {f"{level:g}": _rounded(x) for level, x in zip(self.quantiles, columns)}
        return row

    def _panels(
        self, batch: Mapping[str, Any], outputs: Mapping[str, Any], names: Mapping[str, Sequence[str]]
    ) -> np.ndarray:
        has_interval = len(self.quantiles) > 1
        return forecast_grid(
            batch["history"][..., 0],
            outputs["forecast"],
            outputs["quantiles"][..., [0, -1]] if has_interval else None,
            batch.get("target"),
            batch.get("naive"),
            _series_names(batch["series"], names) if "series" in batch else (),
            self.quantiles[-1] - self.quantiles[0] if has_interval else None,
        )


def _series_names(numbers: np.ndarray, names: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns the series' names, "" where unknown."""
    known = names.get("series", ())
    return [str(known[number]) if 0 <= number < len(known) else "" for number in numbers]


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in np.asarray(values)]
