"""Comparison across recipes: normalization, shared configurations, tables."""

import json
from pathlib import Path

import pytest

from jaxdl.commands.report import as_json, as_markdown
from jaxdl.config.text import Setting
from jaxdl.errors import UserError
from jaxdl.report import normalization
from jaxdl.report.across import across, table
from jaxdl.report.load import FINISHED, Run
from jaxdl.report.normalization import Range
from jaxdl.report.statistics import Group, Section

SCALES = {"a.py": Range(0.0, 1.0, "given"), "b.py": Range(20.0, 10.0, "given")}


def section(recipe, results, metric="test/score", mode="max", selects="validation/score"):
    """Returns a recipe's runs from {label: results of seeds 0, 1, ...}."""
    settings = (Setting("keep.metric", repr(selects), False), Setting("keep.mode", repr(mode), False))
    groups = [
        Group(number, tuple(_run(recipe, label, seed, value, metric, settings) for seed, value in enumerate(values)),
              {"optimizer": label}, alone=False)
        for number, (label, values) in enumerate(results.items(), 1)
    ]  # fmt: skip
    return Section(recipe, recipe, metric, tuple(groups))


def _run(recipe, label, seed, value, metric, settings):
    folder = Path(f"{recipe}-{label}-{seed}")
    return Run(folder, FINISHED, recipe=recipe, seed=seed, settings=settings, metrics={metric: value})


@pytest.fixture
def root(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "baselines.csv").write_text(
        "recipe,metric,unit,value,predictor\na.py,test/score,,0.5,constant\nb.py,test/score,,20,constant\nc.py,,,,\n"
    )
    columns = "recipe,split,metric,value,seed,device,minutes,commit,command,date,steps,overrides,digest"
    rows = [("a.py", 0.8, ""), ("a.py", 0.9, ""), ("a.py", 0.99, "width=9"), ("b.py", 14, ""), ("b.py", 10, "")]
    lines = [f"{recipe},s,test/score,{value},0,d,1,c,x,2030-01-01,9,{over},e" for recipe, value, over in rows]
    (tmp_path / "experiments" / "results.csv").write_text("\n".join([columns, *lines]) + "\n")
    return tmp_path


def test_scores_are_between_the_baseline_and_the_best_recorded_result(root):
    parts = [section("a.py", {"x": [0.5]}), section("b.py", {"x": [15.0]}, mode="min")]
    ranges, reasons = normalization.ranges(parts, root)
    assert reasons == {}
    assert [range[:2] for range in ranges.values()] == [(0.5, 0.9), (20.0, 10.0)]
    assert ranges["b.py"].score(15.0) == 0.5
    given = normalization.parse(["a=0.2,0.4"], parts)
    assert normalization.ranges(parts, root, given)[0]["a.py"][:2] == (0.2, 0.4)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (section("a.py", {"x": [0.5]}, mode="min"), "no recorded result is better than the baseline"),
        (section("a.py", {"x": [0.5]}, selects="validation/loss"), "keep.metric does not define"),
        (section("a.py", {"x": [0.5]}, metric="test/other"), "no trivial baseline of test/other"),
        (section("c.py", {"x": [0.5]}), "no trivial baseline"),
    ],
)
def test_recipes_without_a_scale_are_left_out_with_the_reason(root, part, reason):
    ranges, reasons = normalization.ranges([part], root)
    assert ranges == {}
    assert reasons[part.recipe].startswith(reason)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=1", "is not NAME=LOW,HIGH"),
        ("a=1,1", "must be finite and differ"),
        ("a=nan,1", "must be finite and differ"),
        ("q=0,1", "no run of recipe 'q'"),
    ],
)
def test_invalid_scales_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        normalization.parse([text], [section("a.py", {"x": [0.5]})])


def test_configurations_of_all_recipes_are_compared():
    parts = [
        section("a.py", {"adam": [0.5, 0.6], "sgd": [0.2, 0.3], "only": [0.9, 0.9]}),
        section("b.py", {"adam": [15.0, 14.0], "sgd": [18.0, 17.0]}, mode="min"),
        section("c.py", {"adam": [1.0, 1.0]}),
    ]
    found = across(parts, SCALES, {"c.py": "no recorded result"})
    assert found is not None
    assert [method.name for method in found.methods] == ["optimizer=adam", "optimizer=sgd"]
    assert found.methods[0].iqm == pytest.approx(0.55)
    assert found.methods[1].iqm == pytest.approx(0.25)
    assert found.omitted == {"c.py": "no recorded result", "optimizer=only": "in 1 of 2 recipes"}
    page = table(found)
    assert "Left out: c.py (no recorded result)" in page
    assert "performance profiles" in page
    text = as_markdown(parts, overall=found)
    assert "| optimizer=adam | 0.550 | 0.500 to 0.600 | 4 |" in text
    values = json.loads(as_json(parts, overall=found))["across"]
    assert values["configurations"][1]["scores"] == {"a.py": [0.2, 0.3], "b.py": pytest.approx([0.2, 0.3])}


def test_without_common_configurations_the_reason_is_printed():
    parts = [section("a.py", {"adam": [0.5, 0.6]}), section("b.py", {"sgd": [15.0]})]
    found = across(parts, SCALES, {})
    assert found is not None
    assert found.methods == ()
    assert "(in 1 of 2 recipes)" in table(found)
    assert across(parts[:1], SCALES, {}) is None
