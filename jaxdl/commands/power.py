"""`sweep --power`: the number of seeds that a comparison needs, from the runs of a sweep."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdl.errors import UserError
from jaxdl.report import load
from jaxdl.report.power import MOST, POWER, Spread, seeds_needed, spread
from jaxdl.report.sequential import METHOD, plan
from jaxdl.report.statistics import Section, sections
from jaxdl.runs.ledger import figure, minutes
from jaxdl.runs.places import is_run
from jaxdl.runs.table import aligned


def run(folders: Sequence[Path], effect: float, metric: str | None = None, looks: int = 1) -> None:
    """Prints how many seeds per group find a difference with a power of 80%, and their minutes.

    Args:
      folders: Folders of the pilot runs; those without a finished run are ignored.
      effect: Difference of the means to find, in units of the metric.
      metric: "EVAL/NAME". None: the recipe's METRIC.
      looks: Number of looks at growing numbers of seeds, see `jaxdl.report.sequential`.

    Raises:
      UserError: No effect, or fewer than two finished runs that differ only by their seed.
    """
    if not effect > 0 or math.isinf(effect):
        raise UserError(f"--power={effect} must be a positive difference of the metric")
    parts = sections([load.read(path) for path in folders if is_run(path)], metric)
    part = parts[0] if parts else None
    if part is None or part.metric is None:
        raise UserError("--power needs finished runs of this sweep as a pilot; train some seeds first")
    found = spread([list(group.results(part.metric).values()) for group in part.groups if not group.crossed])
    spent = [run.minutes for group in part.groups for run in group.counted if math.isfinite(run.minutes)]
    each = float(np.mean(spent)) if spent else math.nan
    print(
        f"{part.metric}: standard deviation over seeds {figure(found.value)}, 95% interval {figure(found.low)} to"
        f" {figure(found.high)} ({found.freedom} degrees of freedom); {minutes(each)} minutes per run"
    )
    print(f"Seeds per group for a difference of {effect:g} (power {POWER:.0%}, two-sided t-test at 5%):")
    rows: list[tuple[str, ...]] = [("comparison", "seeds", "minutes per group", "seeds at the interval's ends")]
    kinds = {"independent groups": (found, False)}
    if (differences := _paired(part)) is not None:
        kinds["pairs with equal seeds"] = (differences, True)
    rows += [_row(name, effect, own, paired, each) for name, (own, paired) in kinds.items()]
    print(aligned(rows))
    if looks > 1:
        print(f"With {looks} looks, of which the first significant one ends the comparison ({METHOD}):")
        names = ("comparison", "looks at seeds per group", "seeds on average", "minutes per group on average")
        print(
            aligned(
                [names, *(_planned(name, effect, own, paired, each, looks) for name, (own, paired) in kinds.items())]
            )
        )
        print("At each look, compare with: jaxdl report DIR --looks=N,N,... and all these numbers")


def _row(name: str, effect: float, found: Spread, paired: bool, each: float) -> tuple[str, ...]:
    needed = seeds_needed(effect, found.value, paired)
    ends = [_count(seeds_needed(effect, std, paired)) for std in (found.low, found.high)]
    return name, _count(needed), "" if needed is None else minutes(needed * each), " to ".join(ends)


def _planned(name: str, effect: float, found: Spread, paired: bool, each: float, looks: int) -> tuple[str, ...]:
    needed = seeds_needed(effect, found.value, paired)
    if needed is None:
        return name, f"more than {MOST}", "", ""
    seeds, expected = plan(needed, looks)
    return name, ",".join(map(str, seeds)), f"{expected:.1f}", minutes(expected * each)


def _count(seeds: int | None) -> str:
    return f"more than {MOST}" if seeds is None else str(seeds)


def _paired(part: Section) -> Spread | None:
    """Returns the spread of differences between groups with equal seeds; None without two such pairs."""
    results = [group.results(part.metric or "") for group in part.groups]
    differences = [
        [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
        for first, second in itertools.combinations(results, 2)
    ]
    usable = [values for values in differences if len(values) > 1]
    return spread(usable) if usable else None
