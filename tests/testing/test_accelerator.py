"""Accelerator benchmark: its rows at toy size on the CPU, measured once."""

import json

import pytest

from benchmarks import accelerator

DIGITS = accelerator.Workload("digits", "rate", "experiments/cnn/digits.py", "images/s", 1000.0)


@pytest.mark.slow
def test_a_row_is_measured_once_part_by_part(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(accelerator, "WORKLOADS", (DIGITS,))
    arguments = ["--toy", f"--outcomes={tmp_path / 'outcomes'}"]
    assert accelerator.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["rate", "resume", "nondeterministic"]
    names, cells = (line.split("  ") for line in lines[-2:])
    assert [name.strip() for name in names if name.strip()] == [*accelerator.NAMES]
    assert cells[-1] == "equal"
    figures = [json.loads(line)["figures"] for line in (tmp_path / "outcomes").read_text().splitlines()]
    assert figures[0]["step_time"] > 0
    assert figures[0]["planned"] > 0
    assert figures[1]["killed"]
    monkeypatch.setattr(accelerator.Bench, "measure", None)
    assert accelerator.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == lines[-2:]


def test_a_call_ends_when_its_budget_is_spent(monkeypatch, capsys):
    monkeypatch.setattr(accelerator, "WORKLOADS", (DIGITS,))
    assert accelerator.main(["--toy", "--budget=0.01"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "3 measurement(s) left after 0 s; with --outcomes=FILE the same command continues"
    )


def test_cells_compare_with_the_target_and_mark_differences():
    rate = {"step_time": 0.1, "examples": 80, "tokens": 0, "mfu": 0.4, "peak": 2e9, "planned": 1.9e9, "first_step": 9.0}
    found = {"rate": rate, "resume": {"equal": False, "killed": True}, "nondeterministic": {**rate, "step_time": 0.08}}
    assert accelerator.row(DIGITS, found)[1:] == (
        *("800", "images/s", "1,000", "80%", "40.0%"),
        *("2.0 GB", "1.9 GB", "9.0 s", "1.25x", "DIFFERENT"),
    )
    assert accelerator.row(DIGITS, {"resume": {"equal": True, "killed": False}})[-1] == "not killed"
    assert accelerator.row(DIGITS, {"rate": {"error": "out of memory"}})[-1].strip() == "out of memory"


def test_every_recipe_of_the_benchmark_exists():
    recipes = [workload.recipe for workload in accelerator.WORKLOADS if workload.recipe]
    assert all((accelerator.ROOT / recipe).is_file() for recipe in recipes)
