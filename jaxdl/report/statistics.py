"""Runs that differ by their seed alone, as one group: what its results are, and in what groups differ."""

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.config.describe import ABSENT, differences
from jaxdl.config.experiment import observes
from jaxdl.config.recipes import recipe_file
from jaxdl.report.load import FINISHED, Run

RESAMPLES = 10_000
AS_IT_IS = "(as the recipe says)"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


class Estimate(NamedTuple):
    """A metric over seeds.

    Attributes:
      values: of each seed, those that are finite.
      mean: NaN without values.
      std: the sample standard deviation; None below two values.
    """

    values: tuple[float, ...]
    mean: float
    std: float | None


@dataclass(frozen=True)
class Group:
    """Runs of one configuration.

    Attributes:
      number: from 1 on, in its recipe.
      runs: oldest first.
      arguments: {name: value} of what varies between the recipe's groups.
      alone: whether the recipe has no other group.
    """

    number: int
    runs: tuple[Run, ...]
    arguments: Mapping[str, str] = field(default_factory=dict)
    alone: bool = True

    @property
    def name(self) -> str:
        """Its label, and its number if it has others beside it."""
        return self.label if self.alone else f"{self.number} · {self.label}"

    @property
    def label(self) -> str:
        """In what it differs from the recipe's other groups or, alone, from the recipe."""
        if self.arguments:
            return ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return ", ".join(f"{name}={value}" for name, value in typed(self.runs[0]).items()) or AS_IT_IS

    @property
    def counted(self) -> list[Run]:
        """The newest finished run of each seed."""
        return list({run.seed: run for run in self.runs if run.state == FINISHED}.values())

    def seeds(self, metric: str | None) -> str:
        """How many have a finite result, and of how many where some have not."""
        begun, known = len({run.seed for run in self.runs}), len(self.estimate(metric).values) if metric else 0
        return str(begun) if known == begun else f"{known} of {begun}"

    @property
    def minutes(self) -> float:
        """The mean wall-clock time of a run; NaN where none is finished."""
        spent = [run.minutes for run in self.counted]
        return sum(spent) / len(spent) if spent else math.nan

    @property
    def devices(self) -> list[str]:
        """What its runs ran on."""
        return list(dict.fromkeys(run.device for run in self.counted or self.runs if run.device))

    def estimate(self, metric: str) -> Estimate:
        return estimate([run.metrics[metric] for run in self.counted if metric in run.metrics])


@dataclass(frozen=True)
class Section:
    """The runs of one recipe.

    Attributes:
      recipe: its file.
      title: what it says of itself, "" where its file is not here.
      metric: the one to compare by; None if no run has a result.
      groups: the first is the recipe as it is, if that was run.
    """

    recipe: str
    title: str
    metric: str | None
    groups: tuple[Group, ...]

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    @property
    def lacking(self) -> list[Run]:
        """The finished runs whose result is missing or not finite."""
        name = self.metric or ""
        return [
            run for run in self.runs if run.state == FINISHED and not math.isfinite(run.metrics.get(name, math.nan))
        ]

    @property
    def metrics(self) -> list[str]:
        """All that some run has, the one to compare by first."""
        return list(dict.fromkeys([*filter(None, [self.metric]), *(m for run in self.runs for m in run.metrics)]))

    @property
    def arguments(self) -> list[str]:
        """The names of what varies."""
        return list(self.groups[0].arguments)

    def changes(self, group: Group) -> list[tuple[str, str, str]]:
        """(path, value in the first group, value in this one), without the seed and what does not change the result."""
        return _apart(self.groups[0].runs[0], group.runs[0])

    @property
    def best(self) -> Group | None:
        """The group with the best mean; None if the configuration does not say which direction is better."""
        told = {setting.path: setting.value.strip("'") for setting in self.groups[0].runs[0].settings}
        if self.metric is None or told.get("keep.metric", "").split("/")[-1] != self.metric.split("/")[-1]:
            return None
        sign = -1 if told.get("keep.mode") == "min" else 1
        means = [(sign * group.estimate(self.metric).mean, -group.number, group) for group in self.groups]
        found = [each for each in means if math.isfinite(each[0])]
        return max(found)[2] if len(found) > 1 else None


def sections(runs: Iterable[Run], metric: str | None = None) -> list[Section]:
    """A section for each recipe, by its name, those outside of the repository last.

    Args:
      runs: those that are not known well enough to have a configuration are left out.
      metric: "EVAL/NAME" to compare by, where a recipe's runs have it; by default the recipe's METRIC, if all finished
        runs have it, else the first of the test or of another evaluation.
    """
    recipes: dict[str, list[Run]] = {}
    for run in runs:
        if run.settings:
            recipes.setdefault(run.recipe, []).append(run)
    found = []
    for name in sorted(recipes, key=lambda name: (Path(name).is_absolute(), name)):
        own, file = recipes[name], recipe_file(name)
        chosen = _metric(own, metric, file.metric if file else None)
        found.append(Section(name, file.title if file else "", chosen, tuple(_groups(own))))
    return found


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and standard deviation of what is finite."""
    known = tuple(value for value in values if math.isfinite(value))
    mean = float(np.mean(known)) if known else math.nan
    return Estimate(known, mean, float(np.std(known, ddof=1)) if len(known) > 1 else None)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Where the mean lies with 95%; None below two values.

    By the percentile bootstrap: the middle 95% of the means of `RESAMPLES` samples, drawn with replacement from the
    values by a generator seeded with 0. Of fewer than about five values it is too narrow.
    """
    if len(values) < 2:
        return None
    means = np.random.default_rng(0).choice(np.array(values), (RESAMPLES, len(values))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5]).tolist()
    return low, high


def typed(run: Run) -> dict[str, str]:
    """The run's overrides that change the result, without the seed: {name: value}."""
    pairs = (text.partition("=") for text in run.overrides)
    found = {name.strip(): _plain(value.strip()) for name, _, value in pairs}
    return {name: value for name, value in found.items() if name != "seed" and not observes(name)}


def _metric(runs: Sequence[Run], asked: str | None, recipes: str | None) -> str | None:
    finished = [run.metrics for run in runs if run.state == FINISHED and run.metrics]
    for name in filter(None, (asked, recipes)):
        if finished and (all(name in metrics for metrics in finished) or name == asked):
            return name
    names = sorted(dict.fromkeys(name for metrics in finished for name in metrics), key=_not_the_test)
    shared = [name for name in names if all(name in metrics for metrics in finished)]
    return next(iter(shared or names), None)


def _not_the_test(name: str) -> bool:
    return not name.startswith("test/")


def _groups(runs: Sequence[Run]) -> list[Group]:
    gathered = _gathered(sorted(runs, key=lambda run: run.started))
    arguments = _arguments(gathered)
    order = sorted(range(len(gathered)), key=lambda index: _rank(gathered[index][0], arguments[index]))
    alone = len(order) == 1
    return [Group(place, tuple(gathered[index]), arguments[index], alone) for place, index in enumerate(order, 1)]


def _rank(run: Run, arguments: Mapping[str, str]) -> tuple:
    """The recipe as it is first, then by the numbers in the arguments' values: (8, 16) before (16, 32)."""
    values = [([float(found) for found in _NUMBER.findall(value)], value) for value in arguments.values()]
    return bool(typed(run)), values, run.started


def _gathered(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs with one configuration, or that one commit made with the same overrides: what else differs, such as the part
    of the data in a cross-validation, follows from the seed."""
    groups: list[list[Run]] = []
    known: dict[Any, list[Run]] = {}
    for run in runs:
        keys: list[Any] = [tuple(each for each in run.settings if each.path != "seed")]
        if run.commit and not run.dirty:
            keys.append((run.commit, tuple(sorted(typed(run).items()))))
        group = next((known[key] for key in keys if key in known), None)
        if group is None:
            group = next((each for each in groups if not _apart(each[0], run)), None)
        if group is None:
            group = []
            groups.append(group)
        group.append(run)
        for key in keys:
            known.setdefault(key, group)
    return groups


def _apart(a: Run, b: Run) -> list[tuple[str, str, str]]:
    return [row for row in differences(a.settings, b.settings) if row[0] != "seed" and not observes(row[0])]


def _arguments(groups: Sequence[Sequence[Run]]) -> list[dict[str, str]]:
    """What varies between groups, {name: value} for each: overrides, then what no override explains.

    Of paths that vary together the shortest stands for all.
    """
    firsts = [group[0] for group in groups]
    told = [{setting.path: setting.value for setting in run.settings} for run in firsts]
    columns: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for run in firsts for name in typed(run)):
        values = _values(name, [typed(run).get(name) for run in firsts], told)
        if len(set(values)) > 1:
            columns[name] = values
    explained = list(zip(*columns.values())) or [()] * len(groups)
    seen = set()
    paths = dict.fromkeys(row[0] for run in firsts[1:] for row in _apart(firsts[0], run))
    for path in sorted(paths, key=lambda path: (path.count(".") + path.count("["), path)):
        values = [_plain(each.get(path, ABSENT)) for each in told]
        pattern = tuple(values.index(value) for value in values)
        if len(set(zip(explained, values))) > len(set(explained)) and pattern not in seen:
            columns[path] = values
        seen.add(pattern)
    names = _short(list(columns))
    return [{names[name]: values[index] for name, values in columns.items()} for index in range(len(groups))]


def _values(name: str, given: Sequence[str | None], told: Sequence[Mapping[str, str]]) -> list[str]:
    """An override's value in each group; where it was not given, that of the configuration's argument which has the
    given values elsewhere, one of the same name before others."""
    if None in given:
        paths = {path: None for each in told for path in each}
        for path in sorted(paths, key=lambda path: (path.split(".")[-1] != name.split(".")[-1], len(path))):
            found = [_plain(each.get(path, ABSENT)) for each in told]
            if len(set(found)) > 1 and all(value in (None, own) for value, own in zip(given, found)):
                return found
    return ["(not given)" if value is None else value for value in given]


def _plain(text: str) -> str:
    """A value as people write it: strings without quotes, numbers in Python's way."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, str) else repr(value)


def _short(paths: Sequence[str]) -> dict[str, str]:
    """{path: its last parts, as many as tell it from the others}."""
    found = {}
    for path in paths:
        parts = path.split(".")
        names = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in paths if other != path]
        found[path] = next(name for name in names if not any(f".{other}".endswith(f".{name}") for other in others))
    return found
