"""Lists the recipes with their recorded results."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from absl.flags import FlagValues

from jaxdl.commands.flags import FORMAT, Command
from jaxdl.config.recipes import RecipeFile, recipes, repository_root
from jaxdl.errors import UserError
from jaxdl.runs.files import to_json
from jaxdl.runs.ledger import figure, minutes, summaries, tflop
from jaxdl.runs.table import print_table

COMMAND = Command(
    name="list",
    summary="Lists the recipes with their recorded results",
    synopsis=("[--format=json]",),
    flags=(FORMAT,),
    example="jaxdl list --format=json",
    needs="nothing",
)


_RECORDED = ("std", "seeds", "device", "minutes", "tflop")  # fields of a summary


def main(arguments: list[str], flags: FlagValues) -> None:
    show(repository_root(), flags.format)


def rows(root: Path) -> list[dict[str, Any]]:
    """Returns the fields of each recipe: name, family, title, task, data, metric, value, std, interval and others.

    `interval` is Student's 95% interval of the mean over seeds, [low, high]. The fields from `value` on are None if no
    result is recorded, `std` and `interval` for one seed. If a recipe does not load, `task` and `data`
    are None and `error` is the reason. Every recipe is imported, which takes seconds.
    """
    from jaxdl.report.intervals import mean_interval

    intervals = {name: mean_interval(summary.values) for name, summary in summaries(root).items()}
    ends = {name: [interval.low, interval.high] for name, interval in intervals.items() if interval}
    return [{**row, "interval": ends.get(recipe.name), **_task_and_data(recipe)} for recipe, row in _recorded(root)]


def show(root: Path, format: str = "text", stream: TextIO | None = None) -> None:
    """Prints the recipes with titles and results as a table, which imports none of them, or all fields as JSON."""
    if format == "json":
        print(to_json(rows(root)), file=stream)
        return
    lines = [(row["name"], row["title"], _result(row)) for _, row in _recorded(root)]
    print_table(("recipe", "title", "result"), lines, stream)


def _recorded(root: Path) -> Iterator[tuple[RecipeFile, dict[str, Any]]]:
    """Yields each recipe with its fields that are known without importing it."""
    results = summaries(root)
    for recipe in recipes(root):
        row = {"name": recipe.name, "family": recipe.family, "title": recipe.title, "metric": recipe.metric}
        row |= dict.fromkeys(("value", *_RECORDED))
        if (summary := results.get(recipe.name)) is not None:
            recorded = {name: getattr(summary, name) for name in ("metric", *_RECORDED)}
            row |= {"value": summary.mean, **recorded}
        yield recipe, row


def _task_and_data(recipe: RecipeFile) -> dict[str, str | None]:
    """Returns the names of the task and of the training data, from the resolved configuration, or its error."""
    import fiddle as fdl

    from jaxdl.config import resolve

    def call_name(value: Any) -> str | None:
        return getattr(fdl.get_callable(value), "__name__", None) if isinstance(value, fdl.Buildable) else None

    try:
        config = resolve(str(recipe.path))
    except UserError as error:
        return {"task": None, "data": None, "error": str(error)}
    task, data = config.__arguments__.get("task"), config.__arguments__.get("data")
    train = data.__arguments__.get("train") if isinstance(data, fdl.Buildable) else None
    name = train.__arguments__.get("name") if isinstance(train, fdl.Buildable) else None
    return {"task": call_name(task), "data": name or call_name(train), "error": None}


def _result(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "none recorded"
    seeds = "1 seed" if row["seeds"] == 1 else f"{row['seeds']} seeds"
    spent = [f"{minutes(row['minutes'])} min", *([] if row["tflop"] is None else [f"{tflop(row['tflop'])} TFLOP"])]
    return ", ".join((f"{figure(row['value'], row['std'])} {row['metric']}", seeds, *spent, row["device"]))
