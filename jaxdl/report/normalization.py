"""Normalization of results to scores that recipes with different metrics share."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxdl.errors import UserError, nearest
from jaxdl.report.statistics import Section
from jaxdl.runs import ledger
from jaxdl.runs.baselines import read_baselines
from jaxdl.runs.ledger import figure


class Range(NamedTuple):
    """Results that have the scores 0 and 1.

    Attributes:
      low: Result with score 0.
      high: Result with score 1; lower than `low` if a lower metric is better.
      source: Origin of both, as text.
      given: Whether it was given with --normalize.
    """

    low: float
    high: float
    source: str
    given: bool = False

    def score(self, value: float) -> float:
        """Returns (value - low) / (high - low)."""
        return (value - self.low) / (self.high - self.low)


def parse(texts: Sequence[str], sections: Sequence[Section]) -> dict[str, Range]:
    """Parses NAME=LOW,HIGH into {recipe: range}; NAME is the file of the recipe, or its name without .py.

    Raises:
      UserError: Another form, equal ends, a recipe without runs, or one that is given twice.
    """
    names = {name: section.recipe for section in sections for name in (section.recipe, Path(section.recipe).stem)}
    ranges: dict[str, Range] = {}
    for text in texts:
        name, _, ends = text.rpartition("=")
        try:
            low, high = map(float, ends.split(","))
        except ValueError:
            raise UserError(f"--normalize={text} is not NAME=LOW,HIGH, such as digits=0.1,0.99") from None
        if low == high or not math.isfinite(low - high):
            raise UserError(f"--normalize={text}: the results of score 0 and 1 must be finite and differ")
        if name not in names:
            raise UserError(f"--normalize={text}: no run of recipe '{name}'; {nearest(name, names)}")
        if names[name] in ranges:
            raise UserError(f"--normalize has '{name}' twice; give it once")
        ranges[names[name]] = Range(low, high, f"given: {figure(low)} to {figure(high)}", given=True)
    return ranges


def ranges(
    sections: Sequence[Section], root: Path, given: Mapping[str, Range] | None = None
) -> tuple[dict[str, Range], dict[str, str]]:
    """Returns the range of each recipe: as given, or from the trivial baseline to the best recorded result.

    Args:
      sections: Sections, one per recipe.
      root: Root of the repository, with `experiments/baselines.csv` and `experiments/results.csv`.
      given: {recipe: range}.

    Returns:
      {recipe: range}, and {recipe: reason} of those without one.
    """
    chosen, reasons = dict[str, Range](given or {}), dict[str, str]()
    baselines, rows = read_baselines(root), ledger.read(root)
    for section in sections:
        recipe, metric, sign = section.recipe, section.metric, section.direction
        if recipe in chosen:
            continue
        baseline = baselines.get(recipe)
        values = [row.value for row in rows if (row.recipe, row.metric) == (recipe, metric) and not row.overrides]
        values = [value for value in values if math.isfinite(value)]
        if metric is None:
            reasons[recipe] = "no result"
        elif baseline is None or baseline.value is None or baseline.metric != metric:
            reasons[recipe] = f"no trivial baseline of {metric}"
        elif not values:
            reasons[recipe] = f"no recorded result of {metric}"
        elif not sign:
            reasons[recipe] = "keep.metric does not define whether a higher value is better"
        elif sign * (best := max(values, key=lambda value: sign * value)) <= sign * baseline.value:
            reasons[recipe] = f"no recorded result is better than the baseline ({baseline})"
        else:
            chosen[recipe] = Range(baseline.value, best, f"baseline {baseline} to best recorded {figure(best)}")
    return chosen, reasons
