"""Time to target: steps and minutes until a metric reaches a value."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.errors import UserError, nearest
from jaxdl.report import html
from jaxdl.report.load import Run
from jaxdl.report.plots import readable
from jaxdl.report.statistics import Group, Section
from jaxdl.runs.ledger import figure, minutes

NAMES = ("Group", "Reached", "Steps, median", "Steps, range", "Minutes, median", "Minutes, range")


class Target(NamedTuple):
    """Value that a metric is to reach.

    Attributes:
      metric: "EVAL/NAME", or "train/NAME".
      value: Value.
      mode: "max" if it is reached by higher values, "min" by lower ones, "" as `keep.mode` of a recipe with this
        `keep.metric`.
    """

    metric: str
    value: float
    mode: str

    def __str__(self) -> str:
        return f"{readable(self.metric)} {figure(self.value)}"


class Reached(NamedTuple):
    """Runs of a group that reach a target.

    Attributes:
      group: Group.
      runs: Number of its finished runs, one per seed.
      steps: Steps at which those that reach the target do so first, ascending.
      minutes: Minutes of training steps until then, without evaluations; NaN if they are not known.
    """

    group: Group
    runs: int
    steps: tuple[float, ...]
    minutes: tuple[float, ...]


def parse(texts: Sequence[str], runs: Sequence[Run]) -> list[Target]:
    """Parses EVAL/NAME=VALUE, or with :max or :min behind NAME.

    Raises:
      UserError: Another form, or a metric that no run was evaluated on.
    """
    known = {f"{split}/{name}" for run in runs for name, lines in run.curves.items() for split in lines}
    targets = []
    for text in texts:
        left, _, right = text.rpartition("=")
        metric, _, mode = left.partition(":")
        try:
            value = float(right)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or mode not in ("", "max", "min"):
            raise UserError(f"--target={text} is not EVAL/NAME=VALUE, such as validation/accuracy:max=0.95")
        if metric not in known:
            raise UserError(f"--target={text}: no run has a curve of '{metric}'; {nearest(metric, known)}")
        targets.append(Target(metric, value, mode))
    return targets


def reached(section: Section, target: Target) -> list[Reached]:
    """Returns the runs of each group with finished runs that reach the target.

    Raises:
      UserError: The target has no mode, and `keep.metric` does not define it.
    """
    split, _, name = target.metric.partition("/")
    groups = [group for group in section.groups if any(split in run.curves.get(name, {}) for run in group.counted)]
    if not groups:
        return []
    mode = target.mode or section.mode(target.metric)
    if not mode:
        raise UserError(
            f"--target={target.metric}={target.value:g}: {section.recipe} does not select by it; write"
            f" --target={target.metric}:max={target.value:g}, or :min"
        )
    found = []
    for group in groups:
        firsts = sorted(entry for run in group.counted if (entry := _first(run, split, name, target.value, mode)))
        steps, spent = tuple(step for step, _ in firsts), tuple(time for _, time in firsts)
        found.append(Reached(group, len(group.counted), steps, spent))
    return found


def _first(run: Run, split: str, name: str, value: float, mode: str) -> tuple[float, float] | None:
    """Returns the step and the minutes of the first evaluation that reaches a value; None if none does."""
    if split not in run.curves.get(name, {}):
        return None
    steps, values = run.curves[name][split]
    with np.errstate(invalid="ignore"):
        hits = np.flatnonzero(values >= value if mode == "max" else values <= value)
    return None if not len(hits) else (float(steps[hits[0]]), run.minutes_until(float(steps[hits[0]])))


def cells(row: Reached) -> list[str]:
    """Returns the texts of a row, see `NAMES`."""
    return [
        row.group.name,
        f"{len(row.steps)} of {row.runs}",
        _median(row.steps, row.runs, "{:.0f}".format),
        _range(row.steps, "{:.0f}".format),
        _median(row.minutes, row.runs, minutes),
        _range(row.minutes, minutes),
    ]


def note(target: Target) -> str:
    """Returns how the table is computed."""
    return (
        f"First evaluation of {readable(target.metric)} that reaches {figure(target.value)}. The median is over all"
        " finished runs, those that do not reach it counted as infinite; the range over those that do. Minutes are of"
        " training steps, without evaluations."
    )


def tables(section: Section, targets: Sequence[Target]) -> html.Markup:
    """Returns a section of the page for each target; "" if no run of the recipe has its metric."""
    parts = []
    for target in targets:
        if rows := reached(section, target):
            content = html.table(NAMES, [cells(row) for row in rows], range(1, len(NAMES)))
            parts.append(html.section(f"Time to {target}", content, note=note(target)))
    return html.join(parts)


def as_json(target: Target, rows: Sequence[Reached]) -> dict[str, Any]:
    """Returns the table of a target as JSON values."""
    groups = [
        {
            "group": row.group.number,
            "runs": row.runs,
            "reached": len(row.steps),
            "steps": list(row.steps),
            "minutes": [time if math.isfinite(time) else None for time in row.minutes],
        }
        for row in rows
    ]
    return {"metric": target.metric, "value": target.value, "groups": groups}


def _median(values: Sequence[float], runs: int, text: Any) -> str:
    missing = [math.inf] * (runs - len(values))
    middle = float(np.median([*values, *missing])) if runs else math.nan
    return text(middle) if math.isfinite(middle) else "–"


def _range(values: Sequence[float], text: Any) -> str:
    finite = [value for value in values if math.isfinite(value)]
    return f"{text(min(finite))} to {text(max(finite))}" if finite else "–"
