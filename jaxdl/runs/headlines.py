"""Headlines of recorded results: the `Result:` line of each recipe, and the table of the README."""

from pathlib import Path

from jaxdl.config.recipes import recipes
from jaxdl.report.intervals import mean_interval
from jaxdl.runs.baselines import read_baselines
from jaxdl.runs.files import write_atomically
from jaxdl.runs.ledger import NONE_RECORDED, Summary, figure, minutes, summaries, tflop

START, END = "<!-- results -->", "<!-- /results -->"  # marks of the table in the README
_COLUMNS = ("Recipe", "Data", "Metric", "Result", "95% interval", "Baseline", "Seeds", "Minutes (TFLOP)", "Device")


def headline(summary: Summary | None) -> str:
    """Returns the text of a result, such as "0.937 +- 0.002 test accuracy, 3 seeds, 6.1 min on NVIDIA H100"."""
    if summary is None:
        return NONE_RECORDED
    metric = summary.metric.replace("/", " ").replace("_", " ")
    return f"{figure(summary.mean, summary.std)} {metric}, {summary.cost}"


def table(root: Path) -> str:
    """Returns the recorded results as a Markdown table with one row per recipe."""
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    results, baselines = summaries(root), read_baselines(root)
    for recipe in (recipe for recipe in recipes(root) if recipe.name in results):
        row, baseline = results[recipe.name], baselines.get(recipe.name)
        metric = row.metric.replace("_", " ") + (f" ({baseline.unit})" if baseline and baseline.unit else "")
        spent = minutes(row.minutes) + (f" ({tflop(row.tflop)})" if row.tflop is not None else "")
        found = mean_interval(row.values)
        interval = "-" if found is None else f"{figure(found.low)} to {figure(found.high)}"
        cells = (row.split, metric, figure(row.mean, row.std), interval, baseline or "-", row.seeds, spent, row.device)
        title = f"[{recipe.title.replace('|', '/')}]({recipe.name})"
        lines.append(f"| {title} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def update(root: Path) -> list[Path]:
    """Writes the recorded results to the recipes and to the README of a repository; returns the files that changed.

    A recipe without a line `Result:`, and a README without the marks of the table, are left as they are.
    """
    results, changed = summaries(root), []
    for recipe in recipes(root):
        lines = recipe.path.read_text().split("\n")
        found = [number for number, line in enumerate(lines) if line.startswith("Result: ")]
        if found:
            lines[found[0]] = f"Result: {headline(results.get(recipe.name))}"
            changed += _written(recipe.path, "\n".join(lines))
    readme = root / "README.md"
    text = readme.read_text() if readme.is_file() else ""
    if START in text and END in text:
        before, after = text.split(START)[0], text.split(END)[1]
        changed += _written(readme, f"{before}{START}\n{table(root)}\n{END}{after}")
    return changed


def _written(path: Path, text: str) -> list[Path]:
    if path.read_text() == text:
        return []
    write_atomically(path, text)
    return [path]
