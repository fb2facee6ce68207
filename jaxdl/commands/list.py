"""`launch.py list`: recipes and their recorded results."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from jaxdl.config.overrides import resolve
from jaxdl.config.recipes import RecipeFile, load_recipe, recipes
from jaxdl.errors import UserError
from jaxdl.runs.folder import to_json
from jaxdl.runs.ledger import Summary, figure, minutes, summaries


def rows(root: Path) -> list[dict[str, Any]]:
    """One dictionary a recipe: name, family, title, task, data, metric, value, std, seeds, device, minutes, error.

    `value` and what follows are None where nothing is recorded; `task` and `data` are None, and `error` says why, for a
    recipe that does not load.
    """
    found = summaries(root)
    return [_row(recipe, found.get(recipe.name)) for recipe in recipes(root)]


def show(root: Path, format: str = "text", stream: TextIO | None = None) -> None:
    """Prints `rows`: as JSON, as a table on a terminal, as aligned lines elsewhere."""
    listed = rows(root)
    if format == "json":
        print(to_json(listed), file=stream)
        return
    lines = [(row["name"], row["task"] or "-", row["data"] or "-", row["error"] or _result(row)) for row in listed]
    print_table(("recipe", "task", "data", "result"), lines, stream)


def _row(recipe: RecipeFile, summary: Summary | None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": recipe.name, "family": recipe.family, "title": recipe.title}
    try:
        row |= {**_task_and_data(recipe), "error": None}
    except UserError as error:
        row |= {"task": None, "data": None, "error": str(error)}
    return row | {
        "metric": summary.metric if summary else recipe.metric,
        "value": summary.mean if summary else None,
        "std": summary.std if summary else None,
        "seeds": summary.seeds if summary else None,
        "device": summary.device if summary else None,
        "minutes": summary.minutes if summary else None,
    }


def _task_and_data(recipe: RecipeFile) -> dict[str, str | None]:
    """The names of the task and of the training data, from the resolved configuration."""
    import fiddle as fdl

    config = resolve(load_recipe(str(recipe.path)))
    task, data = config.__arguments__.get("task"), config.__arguments__.get("data")
    train = data.__arguments__.get("train") if isinstance(data, fdl.Buildable) else None
    name = train.__arguments__.get("name") if isinstance(train, fdl.Buildable) else None
    return {"task": _call_name(task), "data": name or _call_name(train)}


def _call_name(value: Any) -> str | None:
    import fiddle as fdl

    return getattr(fdl.get_callable(value), "__name__", None) if isinstance(value, fdl.Buildable) else None


def _result(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "none recorded"
    seeds = "1 seed" if row["seeds"] == 1 else f"{row['seeds']} seeds"
    return (
        f"{figure(row['value'], row['std'])} {row['metric']}, {seeds}, {minutes(row['minutes'])} min, {row['device']}"
    )


def print_table(names: Sequence[str], lines: Sequence[Sequence[str]], stream: TextIO | None) -> None:
    """Prints columns: as a table on a terminal, as aligned lines elsewhere."""
    out = stream or sys.stdout
    if out.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*names, box=None, pad_edge=False)
        for line in lines:
            table.add_row(*map(Text, line))
        Console(file=out).print(table)
        return
    widths = [max(map(len, column)) for column in zip(names, *lines)]
    for line in (names, *lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip(), file=out)
