"""What a report draws of one recipe's runs: curves, results over arguments, and the runs' own pictures."""

import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxdl.report import html, svg
from jaxdl.report.bands import band, thin
from jaxdl.report.statistics import Group, Section
from jaxdl.viz.curves import logarithmic

_PANELS = 12
_PICTURES = 24
_POINTS, _POINTS_OF_THE_REST = 300, 60
_CURVES = "learning_curves"  # the picture of what the page draws itself


def hues(section: Section) -> dict[int, int]:
    """{group's number: its colour}: the first, or the best where that is known, have their own, the rest share one."""
    groups = list(section.groups)
    if len(groups) > svg.HUES and section.best and section.metric:
        metric, best = section.metric, section.best.estimate(section.metric).mean
        away = {group.number: abs(group.estimate(metric).mean - best) for group in groups}
        groups.sort(key=lambda group: (math.isnan(away[group.number]), away[group.number]))
    chosen = sorted(group.number for group in groups[: svg.HUES])
    return {group.number: chosen.index(group.number) if group.number in chosen else svg.HUES for group in groups}


def readable(metric: str | None) -> str:
    """A metric's name for people: "test/mean_iou" -> "test mean iou"."""
    return (metric or "").replace("_", " ").replace("/", " ")


def curves(section: Section) -> html.Markup:
    """A panel for each metric that was measured more than once, that of the results first; nothing without one."""
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
        "Over steps. Thin: training; thick: evaluations while training; rings: the test. A line is the mean of a"
        f" group's seeds, around it lies the range from the least to the greatest.{_left_out(len(drawn) - _PANELS)}"
    )
    return html.section("Learning curves", _key(section, colors), html.figures(panels), note=note)


def arguments(section: Section) -> html.Markup:
    """A panel for each argument that varies, with the results over it; nothing if none does."""
    colors, metric, panels = hues(section), section.metric or "", []
    for name in section.arguments:
        points = [
            svg.Point(group.arguments[name], value, colors[group.number], f"{group.name}, seed {run.seed}")
            for group in section.groups
            for run in group.counted
            if math.isfinite(value := run.metrics.get(metric, math.nan))
        ]
        if len({point.argument for point in points}) > 1:
            panels.append((name, html.Markup(svg.scatter(f"{metric} over {name}", points))))
    if not panels:
        return html.Markup("")
    note = f"A dot is a run; a tick is at the mean of an argument's value.{_left_out(len(panels) - _PANELS)}"
    return html.section(f"Arguments against {readable(metric)}", html.figures(panels[:_PANELS]), note=note)


def pictures(section: Section, here: Path) -> html.Markup:
    """The newest pictures of one run of each group, side by side, each a link from `here` to its file."""
    found: dict[str, list[tuple[object, object]]] = {}
    files = [
        (group, name, path)
        for group in section.groups
        for name, path in newest_pictures((group.counted or group.runs)[-1].folder).items()
    ]
    for group, name, path in files[:_PICTURES]:
        try:
            shown = html.picture(path, f"{readable(name)}, {group.name}")
        except OSError:
            continue  # half written, or no picture
        step = path.name.partition("_")[0]
        caption = f"{readable(name)}, step {step}" if group.alone else f"{group.name}, step {step}"
        heading = "" if group.alone else readable(name)
        found.setdefault(heading, []).append((caption, html.link(shown, os.path.relpath(path, here))))
    if not found:
        return html.Markup("")
    parts = [
        html.join([html.tag("h4", heading) if heading else "", html.figures(each, "pictures")])
        for heading, each in found.items()
    ]
    note = f"The newest of one run of each group; each leads to its file.{_left_out(len(files) - _PICTURES)}"
    return html.section("Pictures", *parts, note=note)


def newest_pictures(folder: Path) -> dict[str, Path]:
    """{name: its newest file} of what a run has drawn besides curves: of the test alone, if there is any of it."""
    newest: dict[str, tuple[int, Path]] = {}
    for path in sorted(folder.glob("pictures/*_*.png")):
        step, _, name = path.stem.partition("_")
        if step.isdecimal() and name != _CURVES and int(step) >= newest.get(name, (0, path))[0]:
            newest[name] = (int(step), path)
    tests = {name: each for name, each in newest.items() if name.startswith("test_")}
    return {name: path for name, (_, path) in sorted((tests or newest).items())}


def _lines(group: Group, name: str, hue: int) -> Iterable[svg.Line]:
    """Of the group's finished runs or, as long as there are none, of those that are not."""
    runs = [run for run in group.counted or group.runs if name in run.curves]
    for split in dict.fromkeys(split for run in runs for split in run.curves[name]):
        told = [run.curves[name][split] for run in runs if split in run.curves[name]]
        who = split if group.alone else f"{group.number} {split}"
        points = _POINTS if hue < svg.HUES else _POINTS_OF_THE_REST
        yield svg.Line(who if group.counted else f"{who}, not finished", hue, thin(band(told), points), split)


def _key(section: Section, colors: dict[int, int]) -> html.Markup:
    """Which colour is which group; nothing for one group."""
    names = [(colors[group.number], group.name) for group in section.groups if colors[group.number] < svg.HUES]
    if rest := len(section.groups) - len(names):
        names.append((svg.HUES, f"{rest} others"))
    if len(names) < 2:
        return html.Markup("")
    each = [html.tag("span", html.tag("i"), name, class_=svg.hue(hue), data_hue=svg.hue(hue)) for hue, name in names]
    return html.tag("div", *each, class_="key")


def _left_out(count: int) -> str:
    return f" {count} more are left out." if count > 0 else ""
