"""Comparison of configurations across recipes: interquartile means and performance profiles of normalized scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxdl.report import html, svg
from jaxdl.report.aggregate import Profile, iqm, iqm_interval, profile
from jaxdl.report.bands import Band
from jaxdl.report.intervals import Interval
from jaxdl.report.normalization import Range
from jaxdl.report.pairs import interval_json
from jaxdl.report.statistics import Section
from jaxdl.runs.ledger import figure

NAMES = ("Configuration", "IQM", "95% interval", "Runs")


@dataclass(frozen=True)
class Method:
    """Configuration that several recipes have.

    Attributes:
      name: Label of its groups.
      hue: Color index, by the order in the first recipe.
      scores: Normalized scores of the runs of each recipe.
      iqm: Interquartile mean.
      interval: Its confidence interval. None if a recipe has one run.
      profile: Performance profile.
    """

    name: str
    hue: int
    scores: tuple[tuple[float, ...], ...]
    iqm: float
    interval: Interval | None
    profile: Profile


@dataclass(frozen=True)
class Across:
    """Comparison across recipes.

    Attributes:
      methods: Configurations of all normalized recipes, the one with the highest interquartile mean first.
      ranges: {recipe: range} of the normalized recipes.
      omitted: {recipe or configuration: reason} of those that are left out.
    """

    methods: tuple[Method, ...]
    ranges: Mapping[str, Range]
    omitted: Mapping[str, str]

    @property
    def shown(self) -> bool:
        """Whether there is something to compare, or a range was given; otherwise only the JSON file has the reasons."""
        return bool(self.methods) or any(range.given for range in self.ranges.values())

    @property
    def note(self) -> str:
        """Method, normalization and omissions."""
        scales = "; ".join(f"{recipe}: {range.source}" for recipe, range in self.ranges.items())
        text = (
            "Interquartile mean (IQM) of the scores of all runs, which are 0 and 1 at these results:"
            f" {scales or '(none)'}. Intervals: stratified bootstrap over the runs of each recipe (arXiv:2108.13264),"
            " too narrow for fewer than 10 runs per recipe. They do not cover the choice of recipes."
        )
        if self.omitted:
            text += f" Left out: {'; '.join(f'{name} ({reason})' for name, reason in self.omitted.items())}."
        return text


def across(sections: Sequence[Section], ranges: Mapping[str, Range], reasons: Mapping[str, str]) -> Across | None:
    """Compares the configurations that all normalized recipes have; None for the runs of one recipe.

    Args:
      sections: Sections, one per recipe.
      ranges: {recipe: range} of normalized recipes.
      reasons: {recipe: reason} of the others.
    """
    if len(sections) < 2:
        return None
    scores: dict[str, list[tuple[float, ...]]] = {}
    for section in sections:
        if (scale := ranges.get(section.recipe)) and section.metric:
            for group in section.groups:
                if own := tuple(map(scale.score, group.results(section.metric).values())):
                    scores.setdefault(group.label, []).append(own)
    count = sum(section.recipe in ranges for section in sections)
    omitted = dict(reasons)
    omitted |= {name: f"in {len(own)} of {count} recipes" for name, own in scores.items() if len(own) != count}
    shared = {name: own for name, own in scores.items() if len(own) == count and count > 1}
    if count == 1:
        omitted |= dict.fromkeys(ranges, "the only recipe with a scale")
    values = [value for own in shared.values() for runs in own for value in runs]
    ends = (min(0.0, *values), max(1.0, *values)) if values else (0.0, 1.0)
    methods = [
        Method(name, hue, tuple(own), iqm(own), iqm_interval(own), profile(own, *ends))
        for hue, (name, own) in enumerate(shared.items())
    ]
    return Across(tuple(sorted(methods, key=lambda method: -method.iqm)), ranges, omitted)


def cells(method: Method) -> list[str]:
    """Returns the texts of a row, see `NAMES`."""
    between = "–" if method.interval is None else f"{figure(method.interval.low)} to {figure(method.interval.high)}"
    return [method.name, figure(method.iqm), between, str(sum(map(len, method.scores)))]


def table(found: Across) -> html.Markup:
    """Returns the section of the page, with the performance profiles as a figure."""
    if not found.methods:
        return html.section("Across recipes", note=found.note)
    rows = [
        [html.tag("span", html.tag("i"), method.name, class_=f"name {svg.hue(method.hue)}"), *cells(method)[1:]]
        for method in found.methods
    ]
    lines = [svg.Line(method.name, method.hue, Band(*method.profile), "validation") for method in found.methods]
    start, end = (float(found.methods[0].profile.thresholds[place]) for place in (0, -1))
    panel = svg.curves("performance profiles", lines, end, first=start, across="score above")
    caption = "Performance profiles: share of runs with a score above the horizontal axis, with 95% intervals"
    picture = html.figures([(caption, html.Markup(panel))])
    return html.section("Across recipes", html.table(NAMES, rows, (1, 2, 3)), picture, note=found.note)


def as_json(found: Across) -> dict[str, Any]:
    """Returns the comparison as JSON values."""
    return {
        "normalization": {
            recipe: {"low": range.low, "high": range.high, "source": range.source}
            for recipe, range in found.ranges.items()
        },
        "configurations": [
            {
                "name": method.name,
                "iqm": method.iqm,
                "interval": interval_json(method.interval),
                "scores": {recipe: list(own) for recipe, own in zip(found.ranges, method.scores)},
                "profile": {name: array.round(6).tolist() for name, array in method.profile._asdict().items()},
            }
            for method in found.methods
        ],
        "omitted": dict(found.omitted),
    }
