"""`launch.py report`: runs compared, as a page that stands alone, as a table for a spreadsheet, and as Markdown."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from jaxdl.errors import UserError, nearest
from jaxdl.report import load
from jaxdl.report.load import Run
from jaxdl.report.page import render
from jaxdl.report.statistics import Group, Section, interval, sections
from jaxdl.runs.files import write_atomically
from jaxdl.runs.ledger import figure, minutes


def run(folders: Sequence[str], output: str | None = None, metric: str | None = None) -> None:
    """Writes the report of all runs in some folders, and says where.

    Args:
      folders: run folders, or folders with run folders in them at any depth.
      output: the page, NAME.html; NAME.csv and NAME.md are written beside it. By default report.html.
      metric: "EVAL/NAME" to compare by, see `jaxdl.report.statistics.sections`.

    Raises:
      UserError: a folder without a run, a metric that no run has, or a page that cannot be written.
    """
    page = page_path(output, "report.html")
    runs = [load.read(path) for path in load.find(folders)]
    if metric is not None and not any(metric in run.metrics for run in runs):
        names = {name for run in runs for name in run.metrics}
        raise UserError(f"--metric={metric}: no run has it; {nearest(metric, names)}")
    found = sections(runs, metric)
    write_atomically(page, render(found, runs, page.parent))
    write_atomically(page.with_suffix(".csv"), as_csv(found, runs))
    write_atomically(page.with_suffix(".md"), as_markdown(found))
    wrong = sum(bool(run.problem) for run in runs)
    print(f"{page}: {len(runs)} run(s) of {len(found)} recipe(s){f', {wrong} unfinished or damaged' if wrong else ''}")
    print(f"{page.with_suffix('.csv')}: a row a run; {page.with_suffix('.md')}: a row a group")


def page_path(output: str | None, default: str) -> Path:
    """Where the page goes. Raises UserError for a name that is not a page's."""
    page = Path(output or default)
    if page.suffix not in (".html", ".htm"):
        raise UserError(f"--output={output} is no name of a page; write --output={default}")
    return page


def as_csv(found: Sequence[Section], runs: Sequence[Run]) -> str:
    """A row a run: recipe, group, what varies, seed, every metric, state, minutes, device, commit, folder.

    Runs whose configuration is not known come last, without a group.
    """
    arguments = list(dict.fromkeys(name for section in found for name in section.arguments))
    metrics = list(dict.fromkeys(name for section in found for name in section.metrics))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    told = ("state", "minutes", "device", "commit", "folder")
    writer.writerow(["recipe", "group", *arguments, "seed", *metrics, *told])
    places = [(run, group) for section in found for group in section.groups for run in group.runs]
    known = {run.folder for run, _ in places}
    for run, group in [*places, *((run, None) for run in runs if run.folder not in known)]:
        values = [group.arguments.get(name, "") if group else "" for name in arguments]
        scores = [run.metrics.get(name, "") for name in metrics]
        spent = "" if math.isnan(run.minutes) else round(run.minutes, 2)
        commit = f"{run.commit}{'-dirty' if run.dirty else ''}"
        number, seed = group.number if group else "", "" if run.seed is None else run.seed
        writer.writerow([run.recipe, number, *values, seed, *scores, run.state, spent, run.device, commit, run.folder])
    return buffer.getvalue()


def as_markdown(found: Sequence[Section]) -> str:
    """A table a recipe, a row a group."""
    return "\n".join(f"## {section.recipe}\n\n{_markdown_table(section)}" for section in found)


def _markdown_table(section: Section) -> str:
    names = ("Group", section.metric or "Result", "Std", "95% interval", "Seeds", "Minutes", "Device")
    rows = [_markdown_row(section, group) for group in section.groups]
    lines = (" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in (names, *rows))
    head, *body = (f"| {line} |\n" for line in lines)
    return f"{head}|{'---|' * len(names)}\n{''.join(body)}"


def _markdown_row(section: Section, group: Group) -> tuple[str, ...]:
    result = std = between = "-"
    if section.metric and (told := group.estimate(section.metric)).values:
        result = figure(told.mean)
        std = "-" if told.std is None else figure(told.std)
        between = " to ".join(map(figure, interval(told.values) or ())) or "-"
    spent = minutes(group.minutes) if group.counted else "-"
    return group.label, result, std, between, group.seeds(section.metric), spent, ", ".join(group.devices) or "-"
