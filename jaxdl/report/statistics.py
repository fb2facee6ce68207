"""Groups of runs that differ only by seed: estimates over seeds and varied arguments."""

import ast
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.config.recipes import recipe_file
from jaxdl.config.settings import ABSENT, differences, observes
from jaxdl.report.load import FINISHED, Run
from jaxdl.runs.code import changes

RESAMPLES = 10_000
RECIPE_DEFAULTS = "(recipe defaults)"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


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
        return list({run.seed: run for run in self.runs if run.state == FINISHED}.values())

    def seeds(self, metric: str | None) -> str:
        """Returns the number of seeds with a finite result: "3", or "2 of 3" if some have none."""
        started, finite = len({run.seed for run in self.runs}), len(self.estimate(metric).values) if metric else 0
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
    """

    recipe: str
    title: str
    metric: str | None
    groups: tuple[Group, ...]

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
        return [*_changes(first, run), *((f"code of {name}", before, after) for name, before, after in modules)]

    @property
    def best(self) -> Group | None:
        """Group with the best mean; None unless keep.metric and keep.mode define a direction."""
        values = {setting.path: setting.value.strip("'") for setting in self.groups[0].runs[0].settings}
        if self.metric is None or values.get("keep.metric", "").split("/")[-1] != self.metric.split("/")[-1]:
            return None
        sign = -1 if values.get("keep.mode") == "min" else 1
        means = [(sign * group.estimate(self.metric).mean, -group.number, group) for group in self.groups]
        finite = [entry for entry in means if math.isfinite(entry[0])]
        return max(finite)[2] if len(finite) > 1 else None


def sections(runs: Iterable[Run], metric: str | None = None) -> list[Section]:
    """Returns a section for each recipe by name; recipes outside the repository come last.

    Args:
      runs: Runs. Those with an unknown configuration are omitted.
      metric: "EVAL/NAME" to compare by, where a recipe's runs have it. None uses the recipe's METRIC if all finished
        runs have it, else the first metric of the test or of another evaluation.
    """
    recipes: dict[str, list[Run]] = {}
    for run in runs:
        if run.settings:
            recipes.setdefault(run.recipe, []).append(run)
    parts = []
    for name in sorted(recipes, key=lambda name: (Path(name).is_absolute(), name)):
        own, file = recipes[name], recipe_file(name)
        chosen = _metric(own, metric, file.metric if file else None)
        parts.append(Section(name, file.title if file else "", chosen, tuple(_groups(own))))
    return parts


def estimate(values: Iterable[float]) -> Estimate:
    """Returns mean and standard deviation of the finite values."""
    finite = tuple(value for value in values if math.isfinite(value))
    mean = float(np.mean(finite)) if finite else math.nan
    return Estimate(finite, mean, float(np.std(finite, ddof=1)) if len(finite) > 1 else None)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Returns the 95% confidence interval of the mean; None below two values.

    Percentile bootstrap with `RESAMPLES` resamples and seed 0. It is too narrow for fewer than about five values.
    """
    if len(values) < 2:
        return None
    means = np.random.default_rng(0).choice(np.array(values), (RESAMPLES, len(values))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5]).tolist()
    return low, high


def typed(run: Run) -> dict[str, str]:
    """Returns {name: value} of the overrides that affect results, without the seed."""
    pairs = (text.partition("=") for text in run.overrides)
    values = {name.strip(): _plain(value.strip()) for name, _, value in pairs}
    return {name: value for name, value in values.items() if name != "seed" and not observes(name)}


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
    clusters = _clusters(sorted(runs, key=lambda run: run.started))
    arguments = _arguments(clusters)
    order = sorted(range(len(clusters)), key=lambda index: _rank(clusters[index][0], arguments[index]))
    alone = len(order) == 1
    return [Group(place, tuple(clusters[index]), arguments[index], alone) for place, index in enumerate(order, 1)]


def _rank(run: Run, arguments: Mapping[str, str]) -> tuple:
    """Returns the sort key: runs without overrides first, then by the numbers in values."""
    values = [([float(digits) for digits in _NUMBER.findall(value)], value) for value in arguments.values()]
    return bool(typed(run)), values, run.started


def _clusters(runs: Iterable[Run]) -> list[list[Run]]:
    """Returns lists of runs with equal code and either equal configurations or equal overrides.

    With equal code, equal overrides give configurations that differ only in values derived from the seed, such as the
    fold of a cross-validation.
    """
    groups: list[list[Run]] = []
    known: dict[Any, list[Run]] = {}
    for run in runs:
        code = _code(run)
        keys: list[Any] = [(code, tuple(setting for setting in run.settings if setting.path != "seed"))]
        if code is not None:
            keys.append((code, tuple(sorted(typed(run).items()))))
        group = next((known[key] for key in keys if key in known), None)
        if group is None:
            alike = (members for members in groups if _code(members[0]) == code)
            group = next((members for members in alike if not _changes(members[0], run)), None)
        if group is None:
            group = []
            groups.append(group)
        group.append(run)
        for key in keys:
            known.setdefault(key, group)
    return groups


def _code(run: Run) -> str | None:
    """Returns a text that is equal for equal code; None if it is unknown, as for a recipe outside of the commit.

    A run that was resumed with other code or another configuration is equal to no other.
    """
    if run.mixed:
        return str(run.folder)
    if run.modules is not None:
        return " ".join(f"{name}={digest}" for name, digest in run.modules.items())
    return run.commit if run.commit and not run.dirty and not Path(run.recipe).is_absolute() else None


def _changes(a: Run, b: Run) -> list[tuple[str, str, str]]:
    return [row for row in differences(a.settings, b.settings) if row[0] != "seed" and not observes(row[0])]


def _arguments(groups: Sequence[Sequence[Run]]) -> list[dict[str, str]]:
    """Returns {name: value} of the varied arguments for each group.

    Overrides come first, then paths whose differences no override explains. Of paths that vary together only the
    shortest is listed.
    """
    firsts = [group[0] for group in groups]
    configs = [{setting.path: setting.value for setting in run.settings} for run in firsts]
    columns: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for run in firsts for name in typed(run)):
        values = _values(name, [typed(run).get(name) for run in firsts], configs)
        if len(set(values)) > 1:
            columns[name] = values
    explained = list(zip(*columns.values())) or [()] * len(groups)
    seen = set()
    paths = dict.fromkeys(row[0] for run in firsts[1:] for row in _changes(firsts[0], run))
    for path in sorted(paths, key=lambda path: (path.count(".") + path.count("["), path)):
        values = [_plain(config.get(path, ABSENT)) for config in configs]
        pattern = tuple(values.index(value) for value in values)
        if len(set(zip(explained, values))) > len(set(explained)) and pattern not in seen:
            columns[path] = values
        seen.add(pattern)
    codes = ["mixed" if run.mixed else hashlib.sha256((_code(run) or "").encode()).hexdigest()[:7] for run in firsts]
    if len(set(zip(explained, codes))) > len(set(explained)) and len(set(zip(*columns.values()))) < len(groups):
        columns["code"] = codes
    names = _short(list(columns))
    return [{names[name]: values[index] for name, values in columns.items()} for index in range(len(groups))]


def _values(name: str, given: Sequence[str | None], configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns an override's value in each group.

    Where it was not given, the value comes from the argument with the given values in the other groups; one of the
    same name is preferred.
    """
    if None in given:
        paths = {path: None for config in configs for path in config}
        for path in sorted(paths, key=lambda path: (path.split(".")[-1] != name.split(".")[-1], len(path))):
            values = [_plain(config.get(path, ABSENT)) for config in configs]
            if len(set(values)) > 1 and all(value in (None, own) for value, own in zip(given, values)):
                return values
    return ["(not given)" if value is None else value for value in given]


def _plain(text: str) -> str:
    """Returns a literal as text: strings without quotes, numbers in Python's notation."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, str) else repr(value)


def _short(paths: Sequence[str]) -> dict[str, str]:
    """Returns {path: shortest suffix that is unique among `paths`}."""
    names_of = {}
    for path in paths:
        parts = path.split(".")
        names = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in paths if other != path]
        names_of[path] = next(name for name in names if not any(f".{other}".endswith(f".{name}") for other in others))
    return names_of
