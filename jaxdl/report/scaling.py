"""Scaling law of a recipe's runs, and its prediction of held-out ones; see `jaxdl.report.scaling_law`."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.errors import UserError, nearest
from jaxdl.report import html, svg
from jaxdl.report.bands import Band
from jaxdl.report.load import Run
from jaxdl.report.plots import readable
from jaxdl.report.scaling_law import REPLICATES, Law, Points, bootstrap, fit, interval, problem
from jaxdl.report.statistics import Group, Section
from jaxdl.runs.ledger import figure
from jaxdl.runs.table import aligned

COEFFICIENTS = ("Coefficient", "Estimate", "95% interval")
_STATISTICS: dict[str, Callable[[Law], float]] = {
    "E": lambda law: law.e,
    "A": lambda law: law.a,
    "B": lambda law: law.b,
    "alpha": lambda law: law.alpha,
    "beta": lambda law: law.beta,
    "beta / (alpha + beta)": lambda law: law.parameter_share,
}
_SAMPLES = 40  # points of a curve


class Sized(NamedTuple):
    """Run with its size: parameters N, tokens or examples D, and compute."""

    group: Group
    run: Run
    parameters: float
    seen: float
    compute: float
    loss: float


class Prediction(NamedTuple):
    """Held-out group: loss by the law with interval, mean loss of its runs, and (predicted - measured) / measured."""

    group: Group
    parameters: float
    seen: float
    predicted: float
    low: float
    high: float
    measured: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


@dataclass(frozen=True)
class Scaling:
    """Scaling law of a recipe.

    Attributes:
      metric: Loss, "EVAL/NAME".
      unit: "tokens" or "examples".
      fitted: Runs of the fit.
      held_out: Runs that the fit predicts.
      law: Fit.
      replicates: Fits of the bootstrap.
    """

    metric: str
    unit: str
    fitted: tuple[Sized, ...]
    held_out: tuple[Sized, ...]
    law: Law
    replicates: tuple[Law, ...]

    @property
    def predictions(self) -> list[Prediction]:
        """Predictions of the held-out groups."""
        found = []
        for group in dict.fromkeys(sized.group.number for sized in self.held_out):
            runs = [sized for sized in self.held_out if sized.group.number == group]
            place = runs[0].parameters, runs[0].seen
            low, high = interval(self.replicates, functools.partial(_loss, place))
            measured = float(np.mean([sized.loss for sized in runs]))
            found.append(Prediction(runs[0].group, *place, _loss(place, self.law), low, high, measured))
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of `held_out_cells`."""
        columns = (self.unit.capitalize(), "Predicted", "95% interval", "Measured", "Relative error")
        return ("Held-out group", "Parameters", *columns)

    @property
    def title(self) -> str:
        return f"Scaling law of {readable(self.metric)}"

    @property
    def note(self) -> str:
        """Law, method and limits."""
        return (
            f"L(N, D) = E + A / N^alpha + B / D^beta for N parameters and D {self.unit}, fitted to {len(self.fitted)}"
            " runs by the Huber loss of log L (arXiv:2203.15556, approach 3; arXiv:2404.10102). Intervals: percentile"
            " bootstrap over runs. Those of predictions are of the law, without the variation over seeds. The"
            f" compute-optimal N is proportional to C^(beta / (alpha + beta)) for a compute C = N D. {self._warning}"
        ).strip()

    @property
    def _warning(self) -> str:
        weak = [name for name in ("alpha", "beta") if getattr(self.law, name) <= 0]
        names = {"alpha": "parameters", "beta": self.unit}
        return "".join(f"The loss does not fall with {names[name]} ({name} <= 0). " for name in weak)


def scaling(section: Section, held_out: Sequence[str] = (), replicates: int = REPLICATES) -> Scaling:
    """Fits the scaling law of a recipe's runs.

    Args:
      section: Section whose metric is a loss.
      held_out: Numbers, names or labels of the groups to predict. (): the group with the largest compute.
      replicates: Fits of the bootstrap.

    Raises:
      UserError: A metric that is not a loss, a run of an older version, two configurations of one size, an unknown
        group, or runs that do not determine the law.
    """
    where = f"--fit=scaling: {section.recipe}"
    if section.metric is None:
        raise UserError(f"{where}: no run is finished; train several sizes for several numbers of steps")
    if section.direction > 0:
        raise UserError(f"{where}: {section.metric} is not a loss but better if higher; use --metric=EVAL/NAME of one")
    unit, runs = _sized(section, where)
    _check_alone(section, runs, where)
    groups = [_group(section, name) for name in held_out]
    if not groups and runs:
        groups = [max(runs, key=lambda sized: sized.compute).group]
    numbers = {group.number for group in groups}
    fitted = tuple(sized for sized in runs if sized.group.number not in numbers)
    rest = tuple(sized for sized in runs if sized.group.number in numbers)
    if missing := numbers - {sized.group.number for sized in rest}:
        raise UserError(f"{where}: group {min(missing)} of --hold_out has no finished run with {section.metric}")
    points = _points(fitted)
    if reason := problem(points, unit):
        raise UserError(f"{where}: {reason}, without the held-out ones")
    law = fit(points)
    return Scaling(section.metric, unit, fitted, rest, law, tuple(bootstrap(points, law, replicates)))


def _sized(section: Section, where: str) -> tuple[str, list[Sized]]:
    """Returns the unit of D, and the finished runs with a finite loss."""
    metric = section.metric or ""
    runs = [
        (group, run)
        for group in section.groups
        for run in group.counted
        if math.isfinite(run.metrics.get(metric, math.nan)) and not run.mixed
    ]
    for _, run in runs:
        if not run.parameters or not run.examples:
            raise UserError(f"{where}: {run.folder} does not have its number of examples; train it with this version")
    unit = "tokens" if all(run.tokens for _, run in runs) else "examples"
    counted = all(run.tflop for _, run in runs)
    found = []
    for group, run in runs:
        share = 1.0 if run.selected is None or not run.steps else run.selected / run.steps
        size, seen = float(run.parameters or 0), share * ((run.tokens if unit == "tokens" else run.examples) or 0)
        compute = (run.tflop or 0.0) if counted else size * seen
        found.append(Sized(group, run, size, seen, compute, run.metrics[metric]))
    return unit, found


def _check_alone(section: Section, runs: Sequence[Sized], where: str) -> None:
    """Raises UserError if two groups have one size: a law of the size cannot describe their difference."""
    groups: dict[tuple[float, float], Group] = {}
    for sized in runs:
        other = groups.setdefault((sized.parameters, sized.seen), sized.group)
        if other.number != sized.group.number:
            raise UserError(
                f"{where}: groups {other.number} and {sized.group.number} ({sized.group.label}) have the same"
                f" parameters and steps; pass folders in which runs differ by size, budget and seed only"
            )


def _group(section: Section, name: str) -> Group:
    group = section.group(name)
    if group is None:
        names = {text for group in section.groups for text in (str(group.number), group.label)}
        raise UserError(f"--hold_out={name} does not name a group of {section.recipe}; {nearest(name, names)}")
    return group


def _points(runs: Sequence[Sized]) -> Points:
    columns = [(sized.parameters, sized.seen, sized.loss) for sized in runs]
    return Points(*np.array(columns, float).reshape(-1, 3).T)


def _loss(place: tuple[float, float], law: Law) -> float:
    return float(law(*place))


def coefficient_cells(found: Scaling) -> list[list[str]]:
    """Returns the rows of the coefficients, see `COEFFICIENTS`."""
    rows = []
    for name, statistic in _STATISTICS.items():
        low, high = interval(found.replicates, statistic)
        rows.append([name, _short(statistic(found.law)), f"{_short(low)} to {_short(high)}"])
    return rows


def _short(value: float) -> str:
    """Formats a coefficient: A and B have many digits, and E of a bootstrap fit may be 1e-12."""
    return f"{0.0 if abs(value) < 1e-6 else value:.3g}"


def held_out_cells(found: Scaling) -> list[list[str]]:
    """Returns the rows of the held-out groups, see `Scaling.names`."""
    return [
        [
            row.group.name,
            f"{row.parameters:.0f}",
            f"{row.seen:.0f}",
            figure(row.predicted),
            f"{figure(row.low)} to {figure(row.high)}",
            figure(row.measured),
            f"{row.error:+.1%}",
        ]
        for row in found.predictions
    ]


def lines(found: Scaling) -> str:
    """Returns the tables for a terminal."""
    coefficients = aligned([COEFFICIENTS, *map(tuple, coefficient_cells(found))])
    return f"{found.title}: {found.note}\n{coefficients}\n{aligned([found.names, *map(tuple, held_out_cells(found))])}"


def section_of_page(found: Scaling) -> html.Markup:
    """Returns the section of the page: coefficients, held-out groups and log-log curves."""
    tables = [
        html.table(COEFFICIENTS, coefficient_cells(found), (1, 2)),
        html.table(found.names, held_out_cells(found), range(1, len(found.names))),
    ]
    panels = [
        (f"Loss against {found.unit}, a curve per size", _panel(found, by_size=True)),
        (f"Loss against parameters, a curve per number of {found.unit}", _panel(found, by_size=False)),
    ]
    note = f"{found.note} Dots: runs; curves: the law; rings: held-out runs."
    return html.section(found.title, *tables, html.figures(panels), note=note)


def as_json(found: Scaling) -> dict[str, Any]:
    """Returns coefficients, intervals, runs and predictions as JSON values."""
    coefficients = {
        name: {
            "value": _finite(statistic(found.law)),
            "interval": [*map(_finite, interval(found.replicates, statistic))],
        }
        for name, statistic in _STATISTICS.items()
    }
    predictions = [
        {
            "group": row.group.number,
            "parameters": row.parameters,
            found.unit: row.seen,
            "predicted": row.predicted,
            "interval": [row.low, row.high],
            "measured": row.measured,
            "relative_error": row.error,
        }
        for row in found.predictions
    ]
    runs = [
        {
            "group": s.group.number,
            "seed": s.run.seed_name,
            "parameters": s.parameters,
            found.unit: s.seen,
            "loss": s.loss,
        }
        for s in found.fitted
    ]
    values = {"coefficients": coefficients, "held_out": predictions, "fitted": runs}
    return {"metric": found.metric, "unit": found.unit, **values}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def columns(found: Sequence[Scaling]) -> dict[str, dict[Path, object]]:
    """Returns {column of the table of runs: {run folder: value}}."""
    units = dict.fromkeys(one.unit for one in found)
    table: dict[str, dict[Path, object]] = {
        name: {} for name in (("parameters", *units, "fitted_loss", "held_out") if found else ())
    }
    for one in found:
        for sized in (*one.fitted, *one.held_out):
            row = {"parameters": f"{sized.parameters:.0f}", one.unit: f"{sized.seen:.0f}"}
            row |= {"fitted_loss": float(one.law(sized.parameters, sized.seen)), "held_out": sized in one.held_out}
            for name, value in row.items():
                table[name][sized.run.folder] = value
    return table


def _panel(found: Scaling, by_size: bool) -> html.Markup:
    """Returns a log-log panel of loss against D with a curve per N, or the other way round."""
    runs = [*found.fitted, *found.held_out]
    ends = sorted({_along(sized, by_size) for sized in runs})
    grid = np.geomspace(ends[0], ends[-1], _SAMPLES)
    drawn, key = [], []
    for hue, value in enumerate(sorted({_curve_of(sized, by_size) for sized in runs})):
        name = f"{svg.label(value)} {'parameters' if by_size else found.unit}"
        law = found.law(value, grid) if by_size else found.law(grid, value)
        key.append(html.tag("span", html.tag("i"), name, class_=svg.hue(hue)))
        drawn.append(svg.Line(f"law, {name}", hue, Band(grid, law, law, law), "train"))
        for split, group in (("runs", found.fitted), ("test", found.held_out)):
            own = [sized for sized in group if _curve_of(sized, by_size) == value]
            if own:
                drawn.append(svg.Line(name, hue, _dots([(_along(s, by_size), s.loss) for s in own]), split))
    across = found.unit if by_size else "parameters"
    title = f"{found.title} against {across}"
    panel = svg.curves(title, drawn, ends[-1], True, ends[0], across, log_across=True)
    return html.join([html.tag("div", *key, class_="key"), html.Markup(panel)])


def _along(sized: Sized, by_size: bool) -> float:
    return sized.seen if by_size else sized.parameters


def _curve_of(sized: Sized, by_size: bool) -> float:
    return sized.parameters if by_size else sized.seen


def _dots(places: Sequence[tuple[float, float]]) -> Band:
    """Returns a curve with a gap behind each point."""
    at = np.repeat([place for place, _ in sorted(places)], 2)
    values = np.repeat([value for _, value in sorted(places)], 2)
    values[1::2] = np.nan
    return Band(at, values, values, values)
