"""Table of the comparisons between the groups of one recipe."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxdl.report import html, sequential
from jaxdl.report.comparisons import ALPHA, Comparison
from jaxdl.report.intervals import Interval
from jaxdl.report.over_examples import difference_over_examples
from jaxdl.report.plots import readable
from jaxdl.report.statistics import Group, Section
from jaxdl.runs.ledger import figure

_ROWS = 45  # pairs of ten groups
_NAMES = ("Groups", "Difference", "95% interval", "Hedges' g", "p", "p, Holm", "P(first higher)", "Pairs, r", "Test")


class Pair(NamedTuple):
    """Two groups and their comparison; `over_examples` is the interval of the difference over test examples."""

    first: Group
    second: Group
    comparison: Comparison
    over_examples: Interval | None


def pairs(section: Section, reference: Group | None = None) -> list[Pair]:
    """Returns the comparisons with the reference, or of all pairs of groups, those with the best group first."""
    found = section.comparisons if reference is None else section.against(reference)
    groups = {group.number: group for group in section.groups}
    rows = [
        Pair(a, b, comparison, difference_over_examples(a, b, section.metric or ""))
        for (a, b), comparison in (((groups[i], groups[j]), comparison) for (i, j), comparison in found.items())
    ]
    best = section.best if reference is None else None
    return sorted(rows, key=lambda pair: best is not None and best not in (pair.first, pair.second))


def note(section: Section, rows: list[Pair]) -> str:
    """Returns how the comparisons were made, and whether the seeds are too few."""
    tests = sum(pair.comparison.p is not None for pair in rows)
    text = (
        "Differences of means over seeds, of runs with equal seeds where both groups have them (with correlation r)."
        " Tests are two-sided and exact from 6 seeds on; below they assume normal results. Holm's correction is over"
        f" {tests} test(s)."
    )
    if section.looks:
        seeds = ", ".join(map(str, section.looks))
        text += (
            f" Looks are planned at {seeds} seeds; p-values and intervals of differences hold at all looks together"
            f" ({sequential.METHOD}), P(first higher) at one."
        )
    reachable = [pair.comparison.attainable for pair in rows if pair.comparison.p is not None]
    if reachable and max(reachable) > 0:
        text += f" The smallest p-value that these seeds allow is {figure(max(reachable))}."
    if over := [pair.over_examples for pair in rows if pair.over_examples]:
        text += (
            f" The interval over examples ({over[0].method}) is for these runs on other test examples, that over seeds"
            " for other runs on the same ones. It takes examples as independent, which windows of one series are not."
        )
    if rows and not any(tests * attainable < ALPHA for attainable in reachable):
        text += " The seeds are too few for any significant difference."
    return text


def names(rows: list[Pair]) -> list[str]:
    """Returns the names of the columns; that of the interval over examples only if a pair has one."""
    first, second, third, *others = _NAMES
    return [first, second, third, *(["95% over examples"] if any(row.over_examples for row in rows) else []), *others]


def cells(pair: Pair, rows: list[Pair]) -> list[str]:
    """Returns the texts of a row of a table, see `names`."""
    found = pair.comparison
    share = f"{found.superiority:.2f}, {_between(found.superiority_interval, '{:.2f}')}"
    correlation = "" if math.isnan(found.correlation) else f", {found.correlation:.2f}"
    return [
        f"{pair.first.name} minus {pair.second.name}",
        figure(found.difference),
        _between(found.interval),
        *([_between(pair.over_examples)] if any(row.over_examples for row in rows) else []),
        "–" if math.isnan(found.effect) else f"{found.effect:.2f}",
        _probability(found.p),
        _probability(found.adjusted),
        share,
        f"{found.pairs}{correlation}" if found.pairs else "–",
        found.test,
    ]


def table(section: Section, reference: Group | None = None) -> html.Markup:
    """Returns the section of comparisons; "" with fewer than two groups with results."""
    rows = pairs(section, reference)
    if not rows:
        return html.Markup("")
    shown = [cells(pair, rows) for pair in rows[:_ROWS]]
    more = f" {len(rows) - _ROWS} more pairs are in the JSON file." if len(rows) > _ROWS else ""
    columns = names(rows)
    content = html.table(columns, shown, range(1, len(columns) - 1))
    return html.section(f"Comparisons: {readable(section.metric)}", content, note=note(section, rows) + more)


def as_json(pair: Pair) -> dict[str, Any]:
    """Returns the comparison as JSON values; undefined ones are None."""
    found = pair.comparison
    values: Mapping[str, Any] = {
        "difference": found.difference,
        "interval": interval_json(found.interval),
        "interval_over_examples": interval_json(pair.over_examples),
        "hedges_g": found.effect,
        "p": found.p,
        "p_holm": found.adjusted,
        "smallest_p": found.attainable,
        "test": found.test,
        "pairs": found.pairs,
        "correlation": found.correlation,
        "probability_first_higher": found.superiority,
        "probability_interval": interval_json(found.superiority_interval),
    }
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
    return {"first": pair.first.number, "second": pair.second.number, **finite}


def interval_json(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else {"low": interval.low, "high": interval.high, "method": interval.method}


def _between(interval: Interval | None, text: str = "") -> str:
    if interval is None:
        return "–"
    low, high = (text.format(end) if text else figure(end) for end in interval[:2])
    return f"{low} to {high}"


def _probability(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
