"""Lists the recipes with their recorded results."""

from pathlib import Path
from typing import Any, TextIO

import fiddle as fdl
from absl.flags import FlagValues

from jaxdl.commands.flags import FORMAT, Command
from jaxdl.config import resolve
from jaxdl.config.recipes import RecipeFile, recipes, repository_root
from jaxdl.errors import UserError
from jaxdl.runs.folder import to_json
from jaxdl.runs.ledger import Summary, figure, minutes, summaries
from jaxdl.runs.table import print_table

COMMAND = Command(
    name="list",
    summary="Lists the recipes with their recorded results",
    synopsis=("[--format=json]",),
    flags=(FORMAT,),
    example="jaxdl list --format=json",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    show(repository_root(), flags.format)


def rows(root: Path) -> list[dict[str, Any]]:
    """Returns name, family, title, task, data, metric, value, std, seeds, device, minutes and error of each recipe.

    The fields from `value` to `minutes` are None if no result is recorded. If a recipe does not load, `task` and `data`
    are None and `error` is the reason.
    """
    results = summaries(root)
    return [_row(recipe, results.get(recipe.name)) for recipe in recipes(root)]


def show(root: Path, format: str = "text", stream: TextIO | None = None) -> None:
    """Prints the recipes as a table or as JSON."""
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
    row |= {"metric": recipe.metric, **dict.fromkeys(("value", "std", "seeds", "device", "minutes"))}
    if summary is None:
        return row
    recorded = {name: getattr(summary, name) for name in ("metric", "std", "seeds", "device", "minutes")}
    return row | {"value": summary.mean, **recorded}


def _task_and_data(recipe: RecipeFile) -> dict[str, str | None]:
    """Returns the names of the task and of the training data, from the resolved configuration."""
    config = resolve(str(recipe.path))
    task, data = config.__arguments__.get("task"), config.__arguments__.get("data")
    train = data.__arguments__.get("train") if isinstance(data, fdl.Buildable) else None
    name = train.__arguments__.get("name") if isinstance(train, fdl.Buildable) else None
    return {"task": _call_name(task), "data": name or _call_name(train)}


def _call_name(value: Any) -> str | None:
    return getattr(fdl.get_callable(value), "__name__", None) if isinstance(value, fdl.Buildable) else None


def _result(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "none recorded"
    seeds = "1 seed" if row["seeds"] == 1 else f"{row['seeds']} seeds"
    return (
        f"{figure(row['value'], row['std'])} {row['metric']}, {seeds}, {minutes(row['minutes'])} min, {row['device']}"
    )
