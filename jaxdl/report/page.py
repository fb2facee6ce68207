"""HTML report: overview, a section for each recipe, unfinished and damaged runs."""

import dataclasses
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxdl.report import across, html, pairs, scaling, svg, targets
from jaxdl.report.across import Across
from jaxdl.report.decomposition import describe
from jaxdl.report.grouping import typed
from jaxdl.report.load import FINISHED, PRUNED, RUNNING, Run, log_tail
from jaxdl.report.plots import arguments, curves, hues, pictures, readable
from jaxdl.report.scaling import Scaling
from jaxdl.report.statistics import Estimate, Group, Section
from jaxdl.report.targets import Target
from jaxdl.runs.ledger import figure, minutes

_NONE = "–"


def render(
    sections: Sequence[Section],
    runs: Sequence[Run],
    here: Path,
    method: str = "t",
    against: str | None = None,
    aims: Sequence[Target] = (),
    overall: Across | None = None,
    fits: Mapping[str, Scaling] | None = None,
) -> str:
    """Returns the HTML page.

    Args:
      sections: Sections, one per recipe.
      runs: All runs, including unreadable ones that are not in a section.
      here: Folder of the page, to which links are relative.
      method: Method of the intervals, see `mean_interval`.
      against: Number, name or label of the group with which the others of its recipe are compared. None: all pairs.
      aims: Values of metrics whose time to target is shown.
      overall: Comparison across recipes. None: it is not shown.
      fits: {recipe: scaling law} to show.
    """
    several = len(sections) != 1
    title = f"{len(runs)} runs of {len(sections)} recipes" if several else sections[0].title or sections[0].recipe
    problems = {
        run.folder: f"{section.metric} is missing or not finite"
        for section in sections
        for run in section.without_result
    }
    problems |= {run.folder: run.problem for run in runs if run.problem}
    wrong = [dataclasses.replace(run, problem=problems[run.folder]) for run in runs if run.folder in problems]
    parts = [_head(title, sections, runs, wrong), _overview(sections) if len(sections) > 1 else ""]
    parts.append(across.table(overall) if overall and overall.shown else "")
    for index, section in enumerate(sections):
        if several:
            parts.append(html.tag("h2", section.title or section.recipe, id=f"recipe{index}"))
        parts.append(html.tag("p", html.tag("code", section.recipe), class_="note"))
        reference = section.group(against) if against else None
        fit = scaling.section_of_page(fits[section.recipe]) if fits and section.recipe in fits else ""
        parts += [_results(section, here, method), fit, pairs.table(section, reference)]
        parts.append(targets.tables(section, aims))
        parts += [curves(section), arguments(section), pictures(section, here)]
        parts += [_profiles(section, here), _configurations(section)]
    return html.document(title, *parts, _unfinished(wrong, sections, here) if wrong else "")


def _head(title: str, sections: Sequence[Section], runs: Sequence[Run], wrong: Sequence[Run]) -> html.Markup:
    hours = sum(run.minutes for run in runs if math.isfinite(run.minutes)) / 60
    days = sorted(run.started[:10] for run in runs if run.started)
    when = f"Started on {days[0]}" if len(set(days)) == 1 else f"Started from {days[0]} to {days[-1]}" if days else ""
    groups = sum(len(section.groups) for section in sections)
    counts: list[tuple[object, object]] = [
        (len(runs), "run" if len(runs) == 1 else "runs"),
        (groups, "configuration" if groups == 1 else "configurations"),
        (sum(run.state == FINISHED for run in runs), "finished"),
        *([(pruned, "pruned")] if (pruned := sum(run.state == PRUNED for run in runs)) else []),
        (html.link(len(wrong), "#unfinished") if wrong else 0, "unfinished"),
        (minutes(hours), "hours in total"),
    ]
    return html.tag("header", html.tag("h1", title), html.tag("div", when, class_="note"), html.tiles(counts))


def _overview(sections: Sequence[Section]) -> html.Markup:
    """Returns a table of recipes with the result of the best group, or else of the first."""
    rows = []
    for index, section in enumerate(sections):
        group = section.best or next((group for group in section.groups if group.counted), section.groups[0])
        result = _mean(group.estimate(section.metric)) if section.metric else _NONE
        link = html.link(section.title or section.recipe, f"#recipe{index}")
        group_name = "" if group.alone else group.name
        name = html.tag("span", link, class_="name")
        rows.append([name, readable(section.metric), result, group_name, len(section.groups), len(section.runs)])
    names = ("Recipe", "Metric", "Result", "Group", "Groups", "Runs")
    note = "Result of the best group if keep.metric and keep.mode define a direction, else of the first group."
    return html.section("Recipes", html.table(names, rows, (2, 4, 5)), note=note)


def _results(section: Section, here: Path, method: str) -> html.Markup:
    """Returns the table of groups; other metrics and the runs are collapsed below it."""
    if section.metric is None:
        rows = [
            [_colored(section, group), group.seeds(section.metric), ", ".join(group.devices)]
            for group in section.groups
        ]
        table = html.table(("Group", "Seeds", "Device"), rows, (1,))
        return html.section("No results yet", table, _runs(section, here))
    estimates = [group.estimate(section.metric) for group in section.groups]
    values = [value for estimate in estimates for value in estimate.values]
    seeds = any(estimate.std is not None for estimate in estimates)
    names = ["Group", readable(section.metric), *(["95% interval"] if seeds else []), "Seeds", "Minutes", "Device"]
    spread = len(values) > 1
    if spread:
        names.insert(2, f"{figure(min(values))} to {figure(max(values))}")
    rows = []
    for group, estimate in zip(section.groups, estimates):
        between = group.interval(section.metric, method)
        row: list[object] = [_colored(section, group), _mean(estimate)]
        if spread:
            ends = (min(values), max(values))
            bar = None if between is None else (max(between.low, ends[0]), min(between.high, ends[1]))
            row.append(html.Markup(svg.spread(estimate.values, bar, ends, hues(section)[group.number])))
        if seeds:
            row.append(" to ".join(map(figure, between[:2])) if between else _NONE)
        spent = minutes(group.minutes) if group.counted else _NONE
        rows.append([*row, group.seeds(section.metric), spent, ", ".join(group.devices)])
    table = html.table(names, rows, {1, *range(2 + spread, len(names) - 1)})
    found = [group.interval(section.metric, method) for group in section.groups]
    methods = dict.fromkeys(interval.method for interval in found if interval) or ["none, the runs share seeds"]
    note = (
        f"Mean ± sample standard deviation over seeds. Confidence interval of the mean: {'; '.join(methods)}."
        f"{_SKEWED if method == 't' else ''}{_leaders(section)}"
    )
    varied = [(group, parts) for group in section.groups if (parts := section.decomposition(group))]
    shares = [
        html.tag("p", f"Variance over seeds{'' if group.alone else f' of {group.name}'}: {describe(parts)}.")
        for group, parts in varied
    ]
    folded = [*shares, _metrics(section), _runs(section, here)]
    return html.section(
        f"Results: {readable(section.metric)}", table, *folded, note=note if seeds else _leaders(section)
    )


_SKEWED = " It assumes normal results: of log-normal ones (sigma 1) it covers the mean in 83% of cases (3 to 7 seeds)."


def _leaders(section: Section) -> str:
    """Returns the meaning of the mark "best"."""
    if not section.leaders:
        return ""
    if section.undecidable:
        return " The seeds are too few to distinguish any group from the best one."
    return ' "best" marks the group with the best mean and those that cannot be distinguished from it at 5% (Holm).'


def _metrics(section: Section) -> html.Markup:
    rows = [[readable(name), *(_mean(group.estimate(name)) for group in section.groups)] for name in section.metrics]
    names = ["Metric", *(group.name for group in section.groups)]
    return html.folded(f"All metrics ({len(rows)})", html.table(names, rows, range(1, len(names))))


def _runs(section: Section, here: Path) -> html.Markup:
    rows = [_run(section, group, run, here) for group in section.groups for run in group.runs]
    metric = readable(section.metric) if section.metric else "Result"
    names = ("Group", "Seed", metric, "State", "Steps", "Minutes", "Goodput", "Commit", "Folder")
    return html.folded(f"Runs ({len(rows)})", html.table(names, rows, (1, 2, 4, 5)))


def _run(section: Section, group: Group, run: Run, here: Path) -> list[object]:
    value = run.metrics.get(section.metric or "")
    state: object = run.state
    if run.state not in (FINISHED, RUNNING, PRUNED):
        state = html.tag("span", run.state, class_="wrong")
    elif run.state == FINISHED and run not in group.counted:
        state = f"{run.state}; superseded by a newer run of this seed"
    commit = f"{run.commit[:7]}{', dirty' if run.dirty else ''}" if run.commit else _NONE
    steps = _NONE if run.steps is None else run.steps if run.selected is None else f"{run.steps} (best: {run.selected})"
    result = _NONE if value is None else figure(value)
    spent = [minutes(run.minutes), run.goodput or _NONE]
    return [group.name, run.seed_name, result, state, steps, *spent, commit, _folder(run, here)]


def _profiles(section: Section, here: Path) -> html.Markup:
    """Returns the summaries of the traces of `--profile`; "" if no run has one."""
    traced = [(group, run) for group in section.groups for run in group.runs if run.profile]
    parts = [
        html.join([html.tag("p", group.name, f", seed {run.seed_name}: ", _folder(run, here)), _pre(run.profile)])
        for group, run in traced
    ]
    return html.section("Profiles", html.folded(f"Traced steps ({len(parts)})", *parts)) if parts else html.Markup("")


def _pre(text: str) -> html.Markup:
    return html.tag("pre", text)


def _configurations(section: Section) -> html.Markup:
    """Returns the command of the first group and a table of differences from its configuration."""
    first, *others = section.groups
    settings = [f"--set={name}={value}" for name, value in typed(first.runs[0]).items()]
    command = html.tag("pre", shlex.join(["jaxdl", "train", f"--config={section.recipe}", *settings]))
    if not others:
        return html.section("Command", command)
    changes = [{path: (a, b) for path, a, b in section.changes(group)} for group in others]
    reference = {path: a for change in changes for path, (a, _) in change.items()}
    rows = []
    for path, value in reference.items():
        cells = [change[path][1] if path in change else None for change in changes]
        same = html.tag("span", "as 1", class_="same")
        rows.append([*map(_code, (path, value)), *(same if cell is None else _code(cell) for cell in cells)])
    names = ("Argument", *(group.number for group in section.groups))
    note = "Differences from group 1, without the seed and arguments that do not affect results. Command of group 1:"
    return html.section("Configurations", command, html.table(names, rows), note=note)


def _unfinished(runs: Sequence[Run], sections: Sequence[Section], here: Path) -> html.Markup:
    """Returns every run without a complete, finite result, with the tail of its log."""
    names = {
        run.folder: f"{section.recipe}, seed {run.seed_name}{'' if group.alone else f', {group.name}'}"
        for section in sections
        for group in section.groups
        for run in group.runs
    }
    parts = [html.tag("h2", "Unfinished or damaged", id="unfinished")]
    for run in runs:
        source, lines = log_tail(run.folder)
        steps = "" if run.steps is None else f" after step {run.steps}"
        state = html.tag("span", f"{run.state}{steps}", class_="wrong" if run.state != RUNNING else "")
        problem = html.tag("p", state, f": {run.problem}")
        name = html.tag("div", names.get(run.folder, ""), class_="small")
        tail = html.tag("pre", "\n".join(lines)) if lines else ""
        parts.append(html.section(_folder(run, here), name, problem, html.tag("div", source, class_="small"), tail))
    return html.join(parts)


def _folder(run: Run, here: Path) -> html.Markup:
    path = os.path.relpath(run.folder, here)
    return html.link(path, f"{path}/")


def _colored(section: Section, group: Group) -> html.Markup:
    mark = html.tag("span", "best", class_="best") if group in section.leaders else ""
    return html.tag("span", html.tag("i"), group.name, mark, class_=f"name {svg.hue(hues(section)[group.number])}")


def _mean(estimate: Estimate) -> html.Markup:
    if not estimate.values:
        return html.Markup(_NONE)
    value, _, spread = figure(estimate.mean, estimate.std).partition(" +- ")
    return html.join([html.tag("b", value), f" ± {spread}" if spread else ""])


def _code(text: str) -> html.Markup:
    return html.tag("code", text)
