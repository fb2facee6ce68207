"""Forecasts: what a series did, what was said of its future, and what came."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxdl.viz.figure import COLORS, FAINT, INK, new_figure, plain, render, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HISTORY, _FORECAST, _NAIVE = INK, COLORS[1], COLORS[0]
_SHOWN = 40  # time steps of history, or three horizons if that is more


def forecast_grid(
    history: np.ndarray,
    forecast: np.ndarray,
    interval: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    naive: np.ndarray | None = None,
    titles: Sequence[str] = (),
    share: float | None = None,
) -> np.ndarray:
    """A panel a window: history, forecast and its interval, and where they are known the truth and a naive forecast.

    Time counts in steps from the last one of the history, which is 0. Of a long history only the end is drawn.

    Args:
      history: [windows, context], in the value's units like all that follows.
      forecast: [windows, horizon].
      interval: [windows, horizon, 2], lower and upper end.
      truth, naive: [windows, horizon].
      titles: of the panels.
      share: of the truth that is meant to lie in the interval, 0 to 1, for the legend.

    Returns:
      uint8 [height, width, 3]: one panel is 900 pixels wide, more are two in a row of 1,120.
    """
    windows, horizon = forecast.shape
    if not windows:
        raise ValueError("no windows to draw")
    columns = min(windows, 2)
    rows = math.ceil(windows / columns)
    figure = new_figure(900 if windows == 1 else 1120, 40 + (380 if windows == 1 else 240 * rows))
    panels = figure.subplots(rows, columns, squeeze=False)
    shown = min(history.shape[1], max(3 * horizon, _SHOWN))
    for number, axes in enumerate(panels.flat):
        if number >= windows:
            axes.axis("off")
            continue
        plain(axes)
        past, steps = history[number, -shown:], np.arange(1, horizon + 1)
        axes.plot(np.arange(1 - shown, 1), past, color=FAINT, linewidth=1.1, label="history")
        if truth is not None:
            _line(axes, steps, truth[number], _HISTORY, "what came", past[-1])
        if naive is not None:
            _line(axes, steps, naive[number], _NAIVE, "seasonal naive", linestyle=":")
        if interval is not None:
            _band(axes, steps, interval[number], share)
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
    """A line over the future, from the value `before` it on; a single step is marked, for it makes no line."""
    if before is not None:
        steps, values = np.concatenate([[0], steps]), np.concatenate([[before], values])
    marker = "o" if len(steps) <= 2 else ""
    marked = [len(steps) - 1]
    axes.plot(
        steps,
        values,
        color=color,
        label=label,
        linewidth=linewidth,
        linestyle=linestyle,
        marker=marker,
        markersize=4.5,
        markevery=marked,
    )


def _band(axes: "Axes", steps: np.ndarray, interval: np.ndarray, share: float | None) -> None:
    label = "interval" if share is None else f"{100 * share:g} % interval"
    lower, upper = interval[:, 0], interval[:, 1]
    if len(steps) > 1:
        axes.fill_between(steps, lower, upper, color=_FORECAST, alpha=0.2, linewidth=0, label=label)
    else:
        axes.vlines(steps, lower, upper, color=_FORECAST, alpha=0.35, linewidth=5, label=label)
