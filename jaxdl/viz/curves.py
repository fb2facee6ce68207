"""Learning curves of one run over steps, or of several runs over training time."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.viz.figure import COLORS, INK, Picture, message, new_figure, plain, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# {metric: {split: (steps [n], values [n])}}
Curves = dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]

_COLUMNS = 3
_MARKERS = "osD^vP"
# Metrics of speed or of a single step, also with a phase prefix or a module ("generator/grad_norm/stem").
_NOT_LEARNED = frozenset(
    (
        *("step", "split", "step_time", "data_wait", "data_wait_share", "examples_per_second", "tokens_per_second"),
        *("useful_seconds", "flops", "mfu", "compile_time", "device_memory", "device_memory_peak"),
        *("learning_rate", "grad_norm", "param_norm", "skipped", "spikes_skipped", "selected_step"),
    )
)


def learning_curves(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Plots the loss and each evaluation metric in a panel, with a line for each split.

    Non-finite values are gaps. The loss has a logarithmic axis if it spans more than two decades.

    Args:
      rows: Rows of `metrics.jsonl`: `step`, `split` ("train" or the evaluation), and metrics by name. Values that are
        not numbers, and metrics of speed, are ignored. The later of two rows with equal step and split counts.

    Returns:
      The picture; a message if no metric is finite.
    """
    from matplotlib.lines import Line2D

    curves = _collect(rows)
    if not curves:
        return message("No learning curves: no metrics yet." if not rows else "No finite loss or metric yet.")
    splits = list(dict.fromkeys(split for lines in curves.values() for split in lines))
    splits.sort(key=lambda split: split != "train")
    columns = min(len(curves), _COLUMNS)
    height = math.ceil(len(curves) / columns)
    figure, panels = _panels(max(400 * columns, 600), 320 * height + 40, height, columns)
    steps = np.concatenate([steps for lines in curves.values() for steps, _ in lines.values()])
    margin = 0.03 * (steps.max() - steps.min()) or 1.0
    for axes, (metric, lines) in zip(panels.flat, curves.items()):
        _draw_panel(axes, metric, lines)
        axes.set_xlim(steps.min() - margin, steps.max() + margin)
        for split, points in lines.items():
            _draw_line(axes, splits.index(split), split == "train", *points)
    for axes in panels.flat[len(curves) :]:
        axes.axis("off")
    handles = [Line2D([], [], **_style(index, split == "train")) for index, split in enumerate(splits)]
    figure.legend(handles, splits, loc="upper right", ncols=min(len(splits), 6), frameon=False)
    return render(figure)


def compared_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Picture:
    """Plots metrics that all runs share against training time, with a color for each run.

    The horizontal axis is minutes in training steps, without evaluations and lost work. Thin lines are training, lines
    with markers evaluations during training. The test is not drawn.

    Args:
      runs: {name: rows of `metrics.jsonl`}, see `learning_curves`.

    Returns:
      The picture; a message if the runs share no metric.
    """
    from matplotlib.lines import Line2D

    collected = {name: _collect([row for row in rows if row["split"] != "test"]) for name, rows in runs.items()}
    shared = [
        metric for metric in next(iter(collected.values())) if all(metric in curves for curves in collected.values())
    ]
    if not shared:
        return message("No learning curves: the runs share no metric.")
    columns = min(len(shared), _COLUMNS)
    height = math.ceil(len(shared) / columns)
    figure, panels = _panels(max(400 * columns, 600), 320 * height + 40, height, columns)
    for axes, metric in zip(panels.flat, shared):
        all_lines = {
            f"{run} {split}": line for run, curves in collected.items() for split, line in curves[metric].items()
        }
        _draw_panel(axes, metric, all_lines, "minutes")
        for index, (run, curves) in enumerate(collected.items()):
            minutes = _minutes(runs[run])
            for split, (steps, values) in curves[metric].items():
                _draw_line(axes, index, split == "train", minutes(steps), values)
    for axes in panels.flat[len(shared) :]:
        axes.axis("off")
    handles = [Line2D([], [], **_style(index, train=False)) for index in range(len(collected))]
    figure.legend(handles, list(collected), loc="upper right", ncols=min(len(collected), 3), frameon=False)
    return render(figure)


def learned(name: str, evaluated: Collection[str]) -> bool:
    """Returns whether a metric is a loss or an evaluation metric, and not one of speed."""
    return _NOT_LEARNED.isdisjoint(name.split("/")) and (name in evaluated or _is_loss(name))


def scored_step(row: Mapping[str, Any]) -> int:
    """Returns the step of the parameters that a row of `metrics.jsonl` scores."""
    return int(row.get("selected_step", row["step"]))


def logarithmic(metric: str, values: np.ndarray) -> bool:
    """Returns whether the axis is logarithmic: for a positive loss over more than two decades."""
    finite = values[np.isfinite(values)]
    return bool(_is_loss(metric) and finite.size and finite.min() > 0 and finite.max() > 100 * finite.min())


def _minutes(rows: Sequence[Mapping[str, Any]]) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from steps to cumulative minutes of training."""
    minutes = {row["step"]: row["useful_seconds"] / 60.0 for row in rows if row.get("useful_seconds")}
    steps = [0, *sorted(minutes)]
    return lambda queries: np.interp(queries, steps, [minutes.get(step, 0.0) for step in steps])


def _panels(width: int, height: int, rows: int, columns: int) -> tuple["Figure", Any]:
    """Returns a figure and axes with fixed margins, twice as fast as constrained layout."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    edges = {"left": 70 / width, "right": 1 - 15 / width, "bottom": 50 / height, "top": 1 - 70 / height}
    inner = (width - 85 - 70 * (columns - 1)) / columns, (height - 120 - 85 * (rows - 1)) / rows
    return figure, figure.subplots(
        rows, columns, squeeze=False, gridspec_kw={**edges, "wspace": 70 / inner[0], "hspace": 85 / inner[1]}
    )


def _draw_panel(
    axes: "Axes", metric: str, lines: Mapping[str, tuple[np.ndarray, np.ndarray]], x_label: str = "step"
) -> None:
    from matplotlib.ticker import MaxNLocator

    plain(axes)
    axes.set_title(metric.replace("_", " "), fontsize=11, color=INK, loc="left", parse_math=False)
    axes.set_xlabel(x_label, fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=x_label == "step", steps=[1, 2, 5, 10]))
    values = np.concatenate([values for _, values in lines.values()])
    if logarithmic(metric, values):
        axes.set_yscale("log")


def _draw_line(axes: "Axes", index: int, train: bool, steps: np.ndarray, values: np.ndarray) -> None:
    """Draws the line of a split, with markers on evaluations and isolated points."""
    finite = np.isfinite(values)
    gaps = np.concatenate([[False], finite, [False]])
    isolated = finite & ~gaps[:-2] & ~gaps[2:]
    marked = isolated if train or len(values) >= 40 else finite
    style: dict[str, Any] = _style(index, train) | {"marker": _MARKERS[index % len(_MARKERS)]}
    style |= {"markevery": np.flatnonzero(marked).tolist(), "zorder": 2 + 0.01 * index}
    # The train line is below with larger markers, so that overlapping points remain visible.
    axes.plot(steps, values, **style)


def _style(index: int, train: bool) -> dict[str, Any]:
    color = COLORS[index % len(COLORS)]
    if train:
        return {"color": color, "linewidth": 1.2, "markersize": 7.5}
    return {"color": color, "linewidth": 1.8, "markersize": 4.5, "marker": _MARKERS[index % len(_MARKERS)]}


def _is_loss(name: str) -> bool:
    return name.rsplit("/", 1)[-1] == "loss"


def _collect(rows: Sequence[Mapping[str, Any]]) -> Curves:
    """Returns curves, losses first, without training-only metrics and non-finite lines."""
    evaluated = {name for row in rows if row["split"] != "train" for name in row}
    points: dict[str, dict[str, dict[int, float]]] = {}
    for row in sorted(rows, key=lambda row: row["step"]):
        for name, value in row.items():
            if not learned(name, evaluated):
                continue
            value = math.nan if value is None else value
            if isinstance(value, int | float | np.number) and not isinstance(value, bool):
                points.setdefault(name, {}).setdefault(row["split"], {})[scored_step(row)] = float(value)
    curves: Curves = {}
    for name in sorted(points, key=lambda name: (not _is_loss(name), name)):
        for split, values in points[name].items():
            if any(map(math.isfinite, values.values())):
                line = np.array([*values.values()])
                line[~np.isfinite(line)] = np.nan
                curves.setdefault(name, {})[split] = (np.array([*values]), line)
    return curves
