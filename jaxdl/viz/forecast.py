"""Plots of forecasts with history, prediction interval and true values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.viz.figure import COLORS, FAINT, INK, Picture, new_figure, plain, render, shorten
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, take, valid_rows

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
) -> Picture:
    """Plots history, forecast, interval and true values of each window in a panel.

    Step 0 is the last one of the history. Only the end of a long history is drawn.

    Args:
      history: [windows, context], in the value's units.
      forecast, truth, naive: [windows, horizon]. The last two are None if unknown.
      interval: [windows, horizon, 2], lower and upper end. None draws none.
      titles: Titles of the panels.
      coverage: Nominal coverage of the interval, 0 to 1, for the legend.
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
            _line(axes, [0, *steps], [past[-1], *truth[number]], _HISTORY, "true")
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


def _line(axes: "Axes", steps: Sequence[int], values: Sequence[float], color: str, label: str, **style: Any) -> None:
    """Draws a line over the future; short ones have a marker."""
    style = {"linewidth": 1.1, "marker": "o" if len(steps) <= 2 else "", "markersize": 4.5, **style}
    axes.plot(steps, values, color=color, label=label, markevery=[len(steps) - 1], **style)


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

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `forecasts`, 8 windows spread over the batch; consecutive ones look alike."""
        rows = valid_rows(batch)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, _PICTURED).round().astype(int))]
        return {"forecasts": self._panels(take(batch, rows), take(outputs, rows), names)}

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the plot of one window; `target`, `naive` and `series` may be absent."""
        batch, outputs = ({name: np.asarray(x)[None] for name, x in tree.items()} for tree in (example, outputs))
        return self._panels(batch, outputs, names)

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        """Returns the series' name, if known, the forecast and the quantiles, rounded to six digits."""
        row: dict[str, Any] = {}
        if "series" in example and (name := _series_names(np.asarray(example["series"])[None], names)[0]):
            row["series"] = name
        row["forecast"] = _rounded(outputs["forecast"])
        if self.quantiles:
            columns = np.asarray(outputs["quantiles"]).T
            row["quantiles"] = {f"{level:g}": _rounded(x) for level, x in zip(self.quantiles, columns)}
        return row

    def _panels(self, batch: Features, outputs: Features, names: Names) -> Picture:
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
