"""Groups of runs that differ only by seed, their metric, and estimates over seeds."""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxdl.config.recipes import recipe_file
from jaxdl.report.comparisons import ALPHA, Comparison, compare_all
from jaxdl.report.decomposition import SOURCES, Decomposition, decompose
from jaxdl.report.grouping import changed_settings, clusters, rank, typed, varied
from jaxdl.report.intervals import Interval, mean_interval
from jaxdl.report.load import FINISHED, Run
from jaxdl.runs.manifest import changes

RECIPE_DEFAULTS = "(recipe defaults)"


class Estimate(NamedTuple):
    """Estimate of a metric over seeds.

    Attributes:
      values: Finite values, one per seed.
      mean: Mean. NaN without values.
      std: Sample standard deviation. None below two values.
    """

    values: tuple[float, ...]
    mean: float
    std: float | None


@dataclass(frozen=True)
class Group:
    """Runs of one configuration and code.

    Attributes:
      number: Number in the recipe, from 1.
      runs: Runs, oldest first.
      arguments: {name: value} of the arguments that vary between the recipe's groups.
      alone: Whether it is the recipe's only group.
    """

    number: int
    runs: tuple[Run, ...]
    arguments: Mapping[str, str] = field(default_factory=dict)
    alone: bool = True

    @property
    def name(self) -> str:
        """Label, preceded by the number unless it is the only group."""
        return self.label if self.alone else f"{self.number} · {self.label}"

    @property
    def label(self) -> str:
        """Arguments that vary between the recipe's groups or, in a single group, the overrides."""
        if self.arguments:
            return ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return ", ".join(f"{name}={value}" for name, value in typed(self.runs[0]).items()) or RECIPE_DEFAULTS

    @property
    def counted(self) -> list[Run]:
        """Newest finished run of each seed."""
        return list({run.seed_name: run for run in self.runs if run.state == FINISHED}.values())

    def seeds(self, metric: str | None) -> str:
        """Returns the number of seeds with a finite result: "3", or "2 of 3" if some have none."""
        started, finite = len({run.seed_name for run in self.runs}), len(self.estimate(metric).values) if metric else 0
        return str(started) if finite == started else f"{finite} of {started}"

    @property
    def minutes(self) -> float:
        """Mean wall-clock time of a finished run; NaN without one."""
        spent = [run.minutes for run in self.counted]
        return sum(spent) / len(spent) if spent else math.nan

    @property
    def devices(self) -> list[str]:
        """Names of the runs' devices."""
        return list(dict.fromkeys(run.device for run in self.counted or self.runs if run.device))

    def results(self, metric: str) -> dict[str, float]:
        """Returns the finite results {seeds: value}, see `Run.seed_name`."""
        found = {run.seed_name: run.metrics.get(metric, math.nan) for run in self.counted if run.seed is not None}
        return {seed: value for seed, value in found.items() if math.isfinite(value)}

    @property
    def crossed(self) -> bool:
        """Whether runs share seeds of single sources of randomness, so that their results are not independent."""
        columns = [[run.seeds.get(source) for run in self.counted] for source in SOURCES]
        return any(1 < len(set(column)) < len(column) for column in columns)

    def interval(self, metric: str, method: str = "t") -> Interval | None:
        """Returns the confidence interval of the mean; None below two seeds, and for runs that are not independent."""
        return None if self.crossed else mean_interval(self.estimate(metric).values, method)

    def estimate(self, metric: str) -> Estimate:
        return estimate([run.metrics[metric] for run in self.counted if metric in run.metrics])


@dataclass(frozen=True)
class Section:
    """Runs of one recipe.

    Attributes:
      recipe: Recipe file.
      title: Title of the recipe. "" if its file is missing.
      metric: Metric to compare by. None if no run has a result.
      groups: Groups; runs without overrides come first.
      looks: Planned numbers of seeds at which the groups are compared, see `jaxdl.report.sequential`. (): one look.
    """

    recipe: str
    title: str
    metric: str | None
    groups: tuple[Group, ...]
    looks: tuple[int, ...] = ()

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    @property
    def without_result(self) -> list[Run]:
        """Finished runs with a missing or non-finite result."""
        name = self.metric or ""
        return [
            run for run in self.runs if run.state == FINISHED and not math.isfinite(run.metrics.get(name, math.nan))
        ]

    @property
    def metrics(self) -> list[str]:
        """Union of the runs' metrics; the one to compare by comes first."""
        return list(dict.fromkeys([*filter(None, [self.metric]), *(m for run in self.runs for m in run.metrics)]))

    @property
    def arguments(self) -> list[str]:
        """Names of the varied arguments."""
        return list(self.groups[0].arguments)

    def changes(self, group: Group) -> list[tuple[str, str, str]]:
        """Returns (path, value in group 1, value in `group`) of settings that affect results, and of modules."""
        first, run = self.groups[0].runs[0], group.runs[0]
        modules = changes(first.modules, run.modules or {})
        return [*changed_settings(first, run), *((f"code of {name}", before, after) for name, before, after in modules)]

    @property
    def direction(self) -> int:
        """1 if a higher metric is better, -1 if a lower one is; 0 unless keep.metric and keep.mode define it."""
        return {"max": 1, "min": -1, "": 0}[self.mode(self.metric or "")]

    def mode(self, metric: str) -> str:
        """Returns keep.mode, "max" or "min", if keep.metric has the name of a metric in any evaluation, else ""."""
        values = {setting.path: setting.value.strip("'") for setting in self.groups[0].runs[0].settings}
        if not metric or values.get("keep.metric", "").split("/")[-1] != metric.split("/")[-1]:
            return ""
        return "min" if values.get("keep.mode") == "min" else "max"

    @property
    def best(self) -> Group | None:
        """Group with the best mean; None without `direction` or with one group."""
        metric, sign = self.metric, self.direction
        if metric is None or not sign:
            return None
        means = [(sign * group.estimate(metric).mean, -group.number, group) for group in self.groups]
        finite = [entry for entry in means if math.isfinite(entry[0])]
        return max(finite)[2] if len(finite) > 1 else None

    @functools.cached_property
    def comparisons(self) -> dict[tuple[int, int], Comparison]:
        """Comparisons of all pairs {(number, number): comparison}, adjusted together by Holm's method."""
        return self._compared(None)

    def against(self, reference: Group) -> dict[tuple[int, int], Comparison]:
        """Returns the comparisons of all other groups with one, adjusted together by Holm's method."""
        return self._compared(self.groups.index(reference))

    def _compared(self, against: int | None) -> dict[tuple[int, int], Comparison]:
        metric = self.metric
        if metric is None or len(self.groups) < 2:
            return {}
        results = [{} if group.crossed else group.results(metric) for group in self.groups]
        found = compare_all(results, against, self.looks)
        return {(self.groups[i].number, self.groups[j].number): value for (i, j), value in found.items()}

    @property
    def leaders(self) -> tuple[Group, ...]:
        """The best group, and the groups whose difference from it is not significant at 5%."""
        best = self.best
        if best is None:
            return ()
        numbers = {best.number}
        for pair, comparison in self.comparisons.items():
            if best.number in pair and (comparison.adjusted is None or comparison.adjusted >= ALPHA):
                numbers.update(pair)
        return tuple(group for group in self.groups if group.number in numbers)

    @property
    def undecidable(self) -> bool:
        """Whether no comparison can be significant at 5%, because the seeds are too few."""
        tests = [c.attainable for c in self.comparisons.values() if c.p is not None]
        return bool(self.comparisons) and not any(len(tests) * attainable < ALPHA for attainable in tests)

    def decomposition(self, group: Group) -> Decomposition | None:
        """Returns the shares of the sources of randomness in a group's variance; None without a crossed design."""
        metric = self.metric or ""
        runs = [(run.seeds, run.metrics[metric]) for run in group.counted if run.seeds and metric in run.metrics]
        return decompose([(seeds, value) for seeds, value in runs if math.isfinite(value)])

    def group(self, name: str) -> Group | None:
        """Returns the group with a number, name or label."""
        return next((group for group in self.groups if name in (str(group.number), group.name, group.label)), None)


def sections(runs: Iterable[Run], metric: str | None = None, looks: tuple[int, ...] = ()) -> list[Section]:
    """Returns a section for each recipe by name; recipes outside the repository come last.

    Args:
      runs: Runs. Those with an unknown configuration are omitted.
      metric: "EVAL/NAME" to compare by, where a recipe's runs have it. None uses the recipe's METRIC if all finished
        runs have it, else the first metric of the test or of another evaluation.
      looks: As in `Section`.
    """
    recipes: dict[str, list[Run]] = {}
    for run in runs:
        if run.settings:
            recipes.setdefault(run.recipe, []).append(run)
    parts = []
    for name in sorted(recipes, key=lambda name: (Path(name).is_absolute(), name)):
        own, file = recipes[name], recipe_file(name)
        chosen = _metric(own, metric, file.metric if file else None)
        parts.append(Section(name, file.title if file else "", chosen, tuple(_groups(own)), looks))
    return parts


def estimate(values: Iterable[float]) -> Estimate:
    """Returns mean and standard deviation of the finite values."""
    finite = tuple(value for value in values if math.isfinite(value))
    mean = float(np.mean(finite)) if finite else math.nan
    return Estimate(finite, mean, float(np.std(finite, ddof=1)) if len(finite) > 1 else None)


def _metric(runs: Sequence[Run], requested: str | None, default: str | None) -> str | None:
    finished = [run.metrics for run in runs if run.state == FINISHED and run.metrics]
    for name in filter(None, (requested, default)):
        if finished and (all(name in metrics for metrics in finished) or name == requested):
            return name
    names = sorted(dict.fromkeys(name for metrics in finished for name in metrics), key=_not_the_test)
    shared = [name for name in names if all(name in metrics for metrics in finished)]
    return next(iter(shared or names), None)


def _not_the_test(name: str) -> bool:
    return not name.startswith("test/")


def _groups(runs: Sequence[Run]) -> list[Group]:
    alike = clusters(sorted(runs, key=lambda run: run.started))
    arguments = varied(alike)
    order = sorted(range(len(alike)), key=lambda index: rank(alike[index][0], arguments[index]))
    alone = len(order) == 1
    return [Group(place, tuple(alike[index]), arguments[index], alone) for place, index in enumerate(order, 1)]
