"""Docstrings of recipes and the README's table agree with the recorded results."""

import pytest

from jaxdl.config.recipes import recipes, repository_root
from jaxdl.errors import UserError
from jaxdl.report.intervals import mean_interval
from jaxdl.runs.baselines import Baseline, baselines_path, read_baselines, write_baselines
from jaxdl.runs.ledger import NONE_RECORDED, figure, minutes, summaries, tflop

ROOT = repository_root()


def test_docstrings_match_the_records():
    results = summaries(ROOT)
    expected = {recipe.name: f"Result: {_headline(results.get(recipe.name))}" for recipe in recipes(ROOT)}
    docstrings = {recipe.name: " ".join(recipe.docstring.split()) for recipe in recipes(ROOT)}
    assert [(name, text) for name, text in expected.items() if text not in docstrings[name]] == []


def test_the_readme_matches_the_records():
    readme = (ROOT / "README.md").read_text()
    assert readme.split("<!-- results -->")[1].split("<!-- /results -->")[0].strip() == _table().strip()


def test_every_result_has_a_baseline_in_its_metric():
    results, baselines = summaries(ROOT), read_baselines(ROOT)
    assert {name: row.metric for name, row in results.items()} == {
        name: baseline.metric for name, baseline in baselines.items()
    }


def test_baselines_are_read_as_written(tmp_path):
    (tmp_path / "experiments").mkdir()
    assert read_baselines(tmp_path) == {}
    known = Baseline("b.py", "test/accuracy", "", 0.1, "most frequent class")
    unknown = Baseline("a.py", "test/fid", "features of a classifier", None, "")
    write_baselines(tmp_path, [known, unknown])
    assert list(read_baselines(tmp_path).values()) == [unknown, known]
    assert (str(known), str(unknown)) == ("0.100 (most frequent class)", "-")
    with baselines_path(tmp_path).open("a") as file:
        file.write("c.py,test/accuracy,,high,x\n")
    with pytest.raises(UserError, match=r"baselines\.csv:4 is not a baseline"):
        read_baselines(tmp_path)


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
    names = ("Recipe", "Data", "Metric", "Result", "95% interval", "Baseline", "Seeds", "Minutes (TFLOP)", "Device")
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    results, baselines = summaries(ROOT), read_baselines(ROOT)
    for recipe in (recipe for recipe in recipes(ROOT) if recipe.name in results):
        row = results[recipe.name]
        baseline = baselines[recipe.name]
        metric = row.metric.replace("_", " ") + (f" ({baseline.unit})" if baseline.unit else "")
        spent = minutes(row.minutes) + (f" ({tflop(row.tflop)})" if row.tflop is not None else "")
        found = mean_interval(row.values)
        interval = "-" if found is None else f"{figure(found.low)} to {figure(found.high)}"
        cells = (row.split, metric, figure(row.mean, row.std), interval, baseline, row.seeds, spent)
        title = f"[{recipe.title.replace('|', '/')}]({recipe.name})"
        lines.append(f"| {title} | {' | '.join(map(str, cells))} | {row.device} |")
    return "\n".join(lines)
