"""Docstrings of recipes and the README's table agree with the recorded results."""

from jaxdl.config.recipes import recipes, repository_root
from jaxdl.runs.ledger import NONE_RECORDED, figure, minutes, summaries

ROOT = repository_root()


def test_docstrings_match_the_records():
    results = summaries(ROOT)
    expected = {recipe.name: f"Result: {_headline(results.get(recipe.name))}" for recipe in recipes(ROOT)}
    docstrings = {recipe.name: " ".join(recipe.docstring.split()) for recipe in recipes(ROOT)}
    assert [(name, text) for name, text in expected.items() if text not in docstrings[name]] == []


def test_the_readme_matches_the_records():
    readme = (ROOT / "README.md").read_text()
    assert readme.split("<!-- results -->")[1].split("<!-- /results -->")[0].strip() == _table().strip()


def _headline(summary):
    """Formats a summary for a docstring.

    Example: "0.937 +- 0.002 test accuracy, 3 seeds, 6.1 min on NVIDIA H100".
    """
    if summary is None:
        return NONE_RECORDED
    metric = summary.metric.replace("/", " ").replace("_", " ")
    return f"{figure(summary.mean, summary.std)} {metric}, {summary.cost}"


def _table():
    """Formats the recorded results as a Markdown table with one row per recipe."""
    names = ("Recipe", "Data", "Metric", "Result", "Seeds", "Minutes", "Device")
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    results = summaries(ROOT)
    for recipe in (recipe for recipe in recipes(ROOT) if recipe.name in results):
        row = results[recipe.name]
        cells = (row.split, row.metric.replace("_", " "), figure(row.mean, row.std), row.seeds, minutes(row.minutes))
        title = f"[{recipe.title.replace('|', '/')}]({recipe.name})"
        lines.append(f"| {title} | {' | '.join(map(str, cells))} | {row.device} |")
    return "\n".join(lines)
