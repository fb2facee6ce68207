"""Figures of one recipe: learning curves, results against arguments, pictures of the runs."""

import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxdl.report import html, svg
from jaxdl.report.bands import band, thin
from jaxdl.report.statistics import Group, Section
from jaxdl.runs.files import leads_outside
from jaxdl.viz.curves import logarithmic

_PANELS = 12
_PICTURES = 24
_POINTS, _POINTS_OF_OTHERS = 300, 60
_CURVES = "learning_curves"  # omitted: the page draws these curves


def hues(section: Section) -> dict[int, int]:
    """Returns {group number: color index}.

    The groups closest to the best one, or the first groups without a best one, have distinct colors. The others have
    the color `svg.HUES`.
    """
    groups = list(section.groups)
    if len(groups) > svg.HUES and section.best and section.metric:
        metric, best = section.metric, section.best.estimate(section.metric).mean
        gaps = {group.number: abs(group.estimate(metric).mean - best) for group in groups}
        groups.sort(key=lambda group: (math.isnan(gaps[group.number]), gaps[group.number]))
    chosen = sorted(group.number for group in groups[: svg.HUES])
    return {group.number: chosen.index(group.number) if group.number in chosen else svg.HUES for group in groups}


def readable(metric: str | None) -> str:
    """Returns a metric's label: "test/mean_iou" -> "test mean iou"."""
    return (metric or "").replace("_", " ").replace("/", " ")


def curves(section: Section) -> html.Markup:
    """Returns a panel for each metric with more than one step; "" if there is none.

    The metric of the results comes first, then losses.
    """
    head = (section.metric or "").partition("/")[2]
    names = sorted(dict.fromkeys(name for run in section.runs for name in run.curves))
    names.sort(key=lambda name: (name != head, name.rpartition("/")[2] != "loss"))
    colors, drawn = hues(section), dict[str, list[svg.Line]]()
    for name in names:
        lines = [line for group in section.groups for line in _lines(group, name, colors[group.number])]
        if any(len(line.band.steps) > 1 for line in lines):
            drawn[name] = lines
    if not drawn:
        return html.Markup("")
    last = max(float(line.band.steps[-1]) for lines in drawn.values() for line in lines)
    panels = []
    for name, lines in list(drawn.items())[:_PANELS]:
        log = logarithmic(name, np.concatenate([side for line in lines for side in line.band[1:]]))
        panels.append((readable(name), html.Markup(svg.curves(name, lines, last, log))))
    note = (
        "Thin: training; thick: evaluations during training; rings: test. Lines are means over a group's seeds;"
        f" bands span minimum to maximum.{_omitted(len(drawn) - _PANELS)}"
    )
    return html.section("Learning curves", _key(section, colors), html.figures(panels), note=note)


def arguments(section: Section) -> html.Markup:
    """Returns a scatter plot of the results for each varied argument; "" if there is none."""
    colors, metric, panels = hues(section), section.metric or "", []
    for name in section.arguments:
        points = [
            svg.Point(group.arguments[name], value, colors[group.number], f"{group.name}, seed {run.seed_name}")
            for group in section.groups
            for run in group.counted
            if math.isfinite(value := run.metrics.get(metric, math.nan))
        ]
        if len({point.argument for point in points}) > 1:
            panels.append((name, html.Markup(svg.scatter(f"{metric} against {name}", points))))
    if not panels:
        return html.Markup("")
    note = f"Dots: runs. Ticks: mean result for each argument value.{_omitted(len(panels) - _PANELS)}"
    return html.section(f"Arguments against {readable(metric)}", html.figures(panels[:_PANELS]), note=note)


def pictures(section: Section, here: Path) -> html.Markup:
    """Returns the newest pictures of one run of each group, linked relative to `here`."""
    cells: dict[str, list[tuple[object, object]]] = {}
    files = [
        (group, name, path)
        for group in section.groups
        for name, path in newest_pictures((group.counted or group.runs)[-1].folder).items()
    ]
    for group, name, path in files[:_PICTURES]:
        try:
            image = html.picture(path, f"{readable(name)}, {group.name}")
        except OSError:
            continue  # partially written, or not an image
        step = path.name.partition("_")[0]
        caption = f"{readable(name)}, step {step}" if group.alone else f"{group.name}, step {step}"
        heading = "" if group.alone else readable(name)
        cells.setdefault(heading, []).append((caption, html.link(image, os.path.relpath(path, here))))
    if not cells:
        return html.Markup("")
    parts = [
        html.join([html.tag("h4", heading) if heading else "", html.figures(group_cells, "pictures")])
        for heading, group_cells in cells.items()
    ]
    note = f"Newest pictures of one run of each group, linked to their files.{_omitted(len(files) - _PICTURES)}"
    return html.section("Pictures", *parts, note=note)


def newest_pictures(folder: Path) -> dict[str, Path]:
    """Returns {name: newest file} of a run's pictures except curves; test pictures if any."""
    newest: dict[str, tuple[int, Path]] = {}
    for path in sorted(folder.glob("pictures/*_*.png")):
        if leads_outside(path.parent, folder) or leads_outside(path, folder):
            continue
        step, _, name = path.stem.partition("_")
        if step.isdecimal() and name != _CURVES and int(step) >= newest.get(name, (0, path))[0]:
            newest[name] = (int(step), path)
    tests = {name: entry for name, entry in newest.items() if name.startswith("test_")}
    return {name: path for name, (_, path) in sorted((tests or newest).items())}


def _lines(group: Group, name: str, hue: int) -> Iterable[svg.Line]:
    """Returns curves of the group's finished runs, or of unfinished runs without a finished one."""
    runs = [run for run in group.counted or group.runs if name in run.curves]
    for split in dict.fromkeys(split for run in runs for split in run.curves[name]):
        series = [run.curves[name][split] for run in runs if split in run.curves[name]]
        label = split if group.alone else f"{group.number} {split}"
        points = _POINTS if hue < svg.HUES else _POINTS_OF_OTHERS
        yield svg.Line(label if group.counted else f"{label}, unfinished", hue, thin(band(series), points), split)


def _key(section: Section, colors: dict[int, int]) -> html.Markup:
    """Returns the color legend; "" for one group."""
    names = [(colors[group.number], group.name) for group in section.groups if colors[group.number] < svg.HUES]
    if rest := len(section.groups) - len(names):
        names.append((svg.HUES, f"{rest} others"))
    if len(names) < 2:
        return html.Markup("")
    entries = [html.tag("span", html.tag("i"), name, class_=svg.hue(hue), data_hue=svg.hue(hue)) for hue, name in names]
    return html.tag("div", *entries, class_="key")


def _omitted(count: int) -> str:
    return f" {count} more are omitted." if count > 0 else ""
