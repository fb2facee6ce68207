"""Docstrings of recipes and the README's table agree with the recorded results."""

import shutil

import pytest

from jaxdl.config.recipes import recipes, repository_root
from jaxdl.errors import UserError
from jaxdl.runs.baselines import Baseline, baselines_path, read_baselines, write_baselines
from jaxdl.runs.headlines import END, START, headline, table, update
from jaxdl.runs.ledger import summaries

ROOT = repository_root()


def test_docstrings_match_the_records():
    results = summaries(ROOT)
    expected = {recipe.name: f"Result: {headline(results.get(recipe.name))}" for recipe in recipes(ROOT)}
    docstrings = {recipe.name: " ".join(recipe.docstring.split()) for recipe in recipes(ROOT)}
    assert [(name, text) for name, text in expected.items() if text not in docstrings[name]] == []


def test_the_readme_matches_the_records():
    readme = (ROOT / "README.md").read_text()
    assert readme.split(START)[1].split(END)[0].strip() == table(ROOT).strip()


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


def test_recipes_and_readme_are_updated(tmp_path):
    for name in ("experiments", "README.md"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    recipe, readme = tmp_path / "experiments" / "cnn" / "digits.py", tmp_path / "README.md"
    before = {path: path.read_text() for path in (recipe, readme)}
    recipe.write_text(before[recipe].replace("Result: ", "Result: 0.5 "))
    readme.write_text(f"{before[readme].split(START)[0]}{START}{END}{before[readme].split(END)[1]}")
    assert update(tmp_path) == [recipe, readme]
    assert {path: path.read_text() for path in (recipe, readme)} == before
    assert update(tmp_path) == []
