"""Compares runs in a self-contained HTML page, with CSV, Markdown and JSON files."""

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl.flags import FlagValues

from jaxdl.commands.flags import Command, Flag
from jaxdl.config.recipes import repository_root
from jaxdl.errors import UserError, nearest, printable, warn
from jaxdl.report import across, load, normalization, pairs, scaling, sequential, targets
from jaxdl.report.across import Across
from jaxdl.report.decomposition import Decomposition, describe
from jaxdl.report.html import MARK as PAGE
from jaxdl.report.load import Run
from jaxdl.report.page import render
from jaxdl.report.scaling import Scaling
from jaxdl.report.statistics import Group, Section, sections
from jaxdl.report.svg import number
from jaxdl.report.targets import Target
from jaxdl.runs.files import check_output, write_atomically
from jaxdl.runs.ledger import figure, minutes

COMMAND = Command(
    name="report",
    summary="Compares runs in an HTML page, or shows all recipes on one",
    synopsis=(
        "DIR... [--output=FILE.html] [--metric=EVAL/NAME] [--against=GROUP] [--interval=METHOD]"
        " [--looks=N,N] [--target=EVAL/NAME=VALUE] [--normalize=NAME=LOW,HIGH]",
        "DIR... --fit=scaling [--hold_out=GROUP] [--metric=EVAL/NAME] [--output=FILE.html]",
        "--gallery [DIR...] [--output=FILE.html]",
    ),
    flags=(
        Flag("output", "Page. By default report.html or gallery.html.", value="FILE.html", instead=("workdir",)),
        Flag("metric", "Metric to compare by. By default the metric of the recipe.", value="EVAL/NAME"),
        Flag(
            "against",
            "Group with which the others are compared: its number, or its arguments as in the report. By default all"
            " pairs are compared.",
            value="GROUP",
        ),
        Flag(
            "interval",
            "Confidence interval of the mean: Student's t, or from 20 seeds on BCa bootstrap or trimmed mean.",
            default="t",
            choices=("t", "bca", "trimmed"),
        ),
        Flag(
            "looks",
            "All numbers of seeds at which the groups are compared while runs are added, planned before the first:"
            " p-values and intervals of differences hold at all looks together. sweep --power --looks plans them.",
            value="N,N",
        ),
        Flag(
            "target",
            "Value of a metric: show the steps and minutes until the runs reach it. With :max or :min behind NAME"
            " unless the recipe selects by the metric. Repeatable.",
            value="EVAL/NAME=VALUE",
            default=(),
        ),
        Flag(
            "normalize",
            "Results of the recipe NAME that have the scores 0 and 1 in the comparison across recipes, by default the"
            " trivial baseline and the best recorded result. Repeatable.",
            value="NAME=LOW,HIGH",
            default=(),
        ),
        Flag(
            "fit",
            "Fit the loss as a function of parameters and tokens to all but the held-out runs, and predict those.",
            value="scaling",
        ),
        Flag(
            "hold_out",
            "Group that --fit predicts from the others: its number, or its arguments as in the report. By default the"
            " one with the largest compute. Repeatable.",
            value="GROUP",
            default=(),
        ),
        Flag("gallery", "Show all recipes, with pictures of the runs in DIR.", kind=bool, default=False),
    ),
    example="jaxdl report runs --output=report.html",
    needs="nothing",
)

# Beginnings of the files, by which a later report knows that it may replace them.
_TABLE = "recipe,group,"
_TEXT = "<!-- Written by jaxdl report -->"
_VALUES = '{"written_by": "jaxdl report"'


def main(arguments: list[str], flags: FlagValues) -> None:
    if not flags.gallery:
        tables = flags.target, flags.normalize, flags.looks, flags.fit, flags.hold_out
        run(arguments, flags.output, flags.metric, flags.against, flags.interval, *tables)
        return
    comparing = ("metric", "against", "looks", "target", "normalize", "fit", "hold_out")
    compares = {name: flags[name].value for name in comparing}
    if name := next((name for name, value in compares.items() if value), None):
        raise UserError(
            f"--{name} compares runs; drop it, or --gallery, which shows the recorded metric of each recipe"
        )
    from jaxdl.commands import gallery

    gallery.run(repository_root(), arguments, flags.output)


def run(
    folders: Sequence[str],
    output: str | None = None,
    metric: str | None = None,
    against: str | None = None,
    method: str = "t",
    aims: Sequence[str] = (),
    scales: Sequence[str] = (),
    looks: str | None = None,
    fit: str | None = None,
    held_out: Sequence[str] = (),
) -> None:
    """Writes the report of all runs at any depth of some folders, as NAME.html, .csv, .md and .json.

    Raises:
      UserError: A folder without a run, a metric, group or recipe that no run has, too few seeds for the method, runs
        that do not determine a fit, or a page that cannot be written.
    """
    if fit not in (None, "scaling"):
        raise UserError(f"--fit={fit} is unknown; {nearest(fit or '', ('scaling',))}")
    if held_out and fit is None:
        raise UserError(f"--hold_out={held_out[0]} names a group that a fit predicts; add --fit=scaling")
    page = page_path(output, "report.html")
    table, text, values = (page.with_suffix(suffix) for suffix in (".csv", ".md", ".json"))
    for path, mark in ((page, PAGE), (table, _TABLE), (text, _TEXT), (values, _VALUES)):
        check_output(path, mark.encode())
    runs = [load.read(path) for path in load.find(folders)]
    for run in runs:
        if run.damage:
            warn(f"{run.folder} is damaged: {run.damage}")
    if metric is not None and not any(metric in run.metrics for run in runs):
        names = {name for run in runs for name in run.metrics}
        raise UserError(f"--metric={metric}: no run has it; {nearest(metric, names)}")
    parts = sections(runs, metric, sequential.parse(looks) if looks else ())
    if against and not any(part.group(against) for part in parts):
        names = {name for part in parts for group in part.groups for name in (str(group.number), group.label)}
        raise UserError(f"--against={against} does not name a group of these runs; {nearest(against, names)}")
    wanted = targets.parse(aims, runs)
    given = normalization.parse(scales, parts)
    overall = None
    if len(parts) > 1:
        overall = across.across(parts, *normalization.ranges(parts, repository_root(), given))
    fits = _fits(parts, fit, held_out)
    write_atomically(page, render(parts, runs, page.parent, method, against, wanted, overall, fits))
    write_atomically(table, as_csv(parts, runs, fits))
    write_atomically(text, as_markdown(parts, method, against, wanted, overall, fits))
    write_atomically(values, as_json(parts, method, against, wanted, overall, fits))
    for found in fits.values():
        print(scaling.lines(found))
    bad = sum(bool(run.problem) for run in runs)
    print(f"{page}: {len(runs)} run(s) of {len(parts)} recipe(s){f', {bad} unfinished or damaged' if bad else ''}")
    print(f"{table}: one row per run; {text}, {values}: one row per group and comparison")


def _fits(parts: Sequence[Section], fit: str | None, held_out: Sequence[str]) -> dict[str, Scaling]:
    """Returns {recipe: scaling law}; warns of recipes without one if another recipe has one."""
    if fit is None:
        return {}
    found, problems = dict[str, Scaling](), list[UserError]()
    for part in parts:
        try:
            found[part.recipe] = scaling.scaling(part, held_out)
        except UserError as error:
            problems.append(error)
    if problems and not found:
        raise problems[0]
    for problem in problems:
        warn(str(problem))
    return found


def page_path(output: str | None, default: str) -> Path:
    """Returns the path of the page. Raises UserError if it does not end in .html or .htm."""
    page = Path(output or default)
    if page.suffix not in (".html", ".htm"):
        raise UserError(f"--output={output} is not an HTML file; write --output={default}")
    return page


def as_csv(parts: Sequence[Section], runs: Sequence[Run], fits: Mapping[str, Scaling] | None = None) -> str:
    """Returns a row for each run: recipe, group, varied settings, seed, metrics, state, cost, folder and fit.

    A text that a spreadsheet would compute as a formula gets an apostrophe. Runs with an unknown configuration come
    last, without a group.
    """
    arguments = list(dict.fromkeys(name for section in parts for name in section.arguments))
    metrics = list(dict.fromkeys(name for section in parts for name in section.metrics))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = ("state", "selected_step", "minutes", "device", "commit", "folder")
    fitted = scaling.columns(list((fits or {}).values()))
    writer.writerow(map(_csv_cell, ["recipe", "group", *arguments, "seed", *metrics, *columns, *fitted]))
    places = [(run, group) for section in parts for group in section.groups for run in group.runs]
    known = {run.folder for run, _ in places}
    for run, group in [*places, *((run, None) for run in runs if run.folder not in known)]:
        values = [group.arguments.get(name, "") if group else "" for name in arguments]
        scores = [run.metrics.get(name, "") for name in metrics]
        spent = "" if math.isnan(run.minutes) else round(run.minutes, 2)
        commit = f"{run.commit}{'-dirty' if run.dirty else ''}"
        place, seed = group.number if group else "", "" if run.seed is None else run.seed_name
        chosen = "" if run.selected is None else run.selected
        row = [run.recipe, place, *values, seed, *scores, run.state, chosen, spent, run.device, commit, str(run.folder)]
        writer.writerow(map(_csv_cell, [*row, *(column.get(run.folder, "") for column in fitted.values())]))
    return buffer.getvalue()


def _csv_cell(value: object) -> object:
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) and number(value) is None
    return f"'{value}" if is_formula else value


def as_markdown(
    parts: Sequence[Section],
    method: str = "t",
    against: str | None = None,
    aims: Sequence[Target] = (),
    overall: Across | None = None,
    fits: Mapping[str, Scaling] | None = None,
) -> str:
    """Returns tables with a row for each configuration of all recipes, and for each recipe's groups and comparisons."""
    texts = []
    if overall and overall.shown:
        texts += ["## Across recipes\n", _markdown_table(across.NAMES, [across.cells(m) for m in overall.methods])]
        texts.append(f"{_plain(overall.note)}\n")
    for part in parts:
        names = ("Group", part.metric or "Result", "Std", "95% interval", "Seeds", "Minutes", "Device")
        texts.append(f"## {_plain(part.recipe)}\n")
        texts.append(_markdown_table(names, [_markdown_row(part, group, method) for group in part.groups]))
        for group in part.groups:
            if found := part.decomposition(group):
                texts.append(f"Variance over seeds of {_plain(group.name)}: {describe(found)}.\n")
        if rows := pairs.pairs(part, _reference(part, against)):
            texts.append(_markdown_table(pairs.names(rows), [pairs.cells(pair, rows) for pair in rows]))
            texts.append(f"{_plain(pairs.note(part, rows))}\n")
        if found := (fits or {}).get(part.recipe):
            texts += [f"{_plain(found.title)}: {_plain(found.note)}\n"]
            texts.append(_markdown_table(scaling.COEFFICIENTS, scaling.coefficient_cells(found)))
            texts.append(_markdown_table(found.names, scaling.held_out_cells(found)))
        for aim in aims:
            if found := targets.reached(part, aim):
                texts.append(f"{_plain(targets.note(aim))}\n")
                texts.append(_markdown_table(targets.NAMES, [targets.cells(row) for row in found]))
    return f"{_TEXT}\n" + "\n".join(texts)


def as_json(
    parts: Sequence[Section],
    method: str = "t",
    against: str | None = None,
    aims: Sequence[Target] = (),
    overall: Across | None = None,
    fits: Mapping[str, Scaling] | None = None,
) -> str:
    """Returns each recipe's groups with results, intervals and seeds, and their comparisons."""
    recipes = []
    for part in parts:
        rows = pairs.pairs(part, _reference(part, against))
        groups = [_group_values(part, group, method) for group in part.groups]
        comparisons = [pairs.as_json(pair) for pair in rows]
        reached = [targets.as_json(aim, found) for aim in aims if (found := targets.reached(part, aim))]
        law = (fits or {}).get(part.recipe)
        fitted = {"scaling": scaling.as_json(law)} if law else {}
        values = {"groups": groups, "comparisons": comparisons, "targets": reached, **fitted}
        recipes.append({"recipe": part.recipe, "metric": part.metric, **values})
    everything = {"recipes": recipes, "across": across.as_json(overall) if overall else None}
    body = json.dumps(everything, indent=1, ensure_ascii=False)
    return f"{_VALUES},{body[1:]}\n"


def _group_values(section: Section, group: Group, method: str) -> dict[str, Any]:
    estimate = group.estimate(section.metric or "")
    interval = group.interval(section.metric or "", method)
    return {
        "number": group.number,
        "name": group.label,
        "mean": estimate.mean if estimate.values else None,
        "std": estimate.std,
        "interval": pairs.interval_json(interval),
        "results": group.results(section.metric or ""),
        "best": group in section.leaders,
        "variance": _shares(section.decomposition(group)),
        "minutes": group.minutes if group.counted else None,
        "devices": group.devices,
    }


def _shares(found: Decomposition | None) -> dict[str, Any] | None:
    if found is None:
        return None
    rows = {share.source: {"share": share.share, "low": share.low, "high": share.high} for share in found.shares}
    return {"std": found.std, "runs": found.runs, "shares": rows}


def _reference(section: Section, against: str | None) -> Group | None:
    return section.group(against) if against else None


def _markdown_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (" | ".join(map(_plain, row)) for row in (names, *rows))
    head, *body = (f"| {line} |\n" for line in lines)
    return f"{head}|{'---|' * len(names)}\n{''.join(body)}"


def _plain(text: str) -> str:
    """Returns a text for Markdown, without its markup, HTML and line breaks."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", printable(text)).replace("&", "&amp;").replace("<", "&lt;")


def _markdown_row(section: Section, group: Group, method: str) -> tuple[str, ...]:
    result = std = between = "-"
    if section.metric and (estimate := group.estimate(section.metric)).values:
        result = figure(estimate.mean)
        std = "-" if estimate.std is None else figure(estimate.std)
        interval = group.interval(section.metric, method)
        between = "-" if interval is None else f"{figure(interval.low)} to {figure(interval.high)}"
    spent = minutes(group.minutes) if group.counted else "-"
    return group.label, result, std, between, group.seeds(section.metric), spent, ", ".join(group.devices) or "-"
