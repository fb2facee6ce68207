"""Time to target: first evaluations that reach a value, runs that never do, minutes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from jaxdl.commands.report import as_json, as_markdown
from jaxdl.config.text import Setting
from jaxdl.errors import UserError
from jaxdl.report import targets
from jaxdl.report.load import FINISHED, Run
from jaxdl.report.statistics import Group, Section

STEPS = np.array([10.0, 20.0, 30.0])
CLOCK = (np.array([0.0, 15.0, 30.0]), np.array([0.0, 60.0, 90.0]))  # steps, seconds


def run(seed, values, clock=CLOCK):
    curves = {"accuracy": {"validation": (STEPS, np.array(values, float))}}
    settings = (Setting("keep.metric", "'validation/accuracy'", False), Setting("keep.mode", "'max'", False))
    return Run(Path(f"run{seed}"), FINISHED, seed=seed, settings=settings, curves=curves, clock=clock)


def part(*runs):
    return Section("a.py", "", "test/accuracy", (Group(1, runs, {}, alone=True),))


def test_steps_and_minutes_of_the_first_evaluation_that_reaches_the_value():
    runs = run(0, [0.5, 0.9, 0.8]), run(1, [math.nan, 0.7, 0.95]), run(2, [0.1, 0.2, 0.3])
    [target] = targets.parse(["validation/accuracy=0.9"], runs)
    [found] = targets.reached(part(*runs), target)
    assert (found.runs, found.steps) == (3, (20.0, 30.0))
    assert found.minutes == (pytest.approx(70 / 60), 1.5)
    assert targets.cells(found)[1:] == ["2 of 3", "30", "20 to 30", "1.5", "1.2 to 1.5"]
    values = json.loads(as_json([part(*runs)], aims=[target]))["recipes"][0]["targets"]
    assert values[0]["groups"] == [{"group": 1, "runs": 3, "reached": 2, "steps": [20, 30], "minutes": [70 / 60, 1.5]}]
    assert "| 2 of 3 | 30 | 20 to 30 | 1.5 | 1.2 to 1.5 |" in as_markdown([part(*runs)], aims=[target])
    assert "Time to validation accuracy 0.900" in targets.tables(part(*runs), [target])


def test_a_median_is_unknown_if_most_runs_do_not_reach_the_value():
    runs = run(0, [0.5, 0.9, 0.8]), run(1, [0.1, 0.2, 0.3]), run(2, [0.1, 0.2, 0.3])
    [found] = targets.reached(part(*runs), targets.Target("validation/accuracy", 0.9, ""))
    assert targets.cells(found)[1:4] == ["1 of 3", "–", "20 to 20"]
    [none] = targets.reached(part(*runs), targets.Target("validation/accuracy", 0.99, ""))
    assert targets.cells(none)[1:] == ["0 of 3", "–", "–", "–", "–"]


def test_lower_values_reach_a_target_with_min():
    runs = (run(0, [0.5, 0.2, 0.1], clock=(np.zeros(0), np.zeros(0))),)
    [target] = targets.parse(["validation/accuracy:min=0.2"], runs)
    [found] = targets.reached(part(*runs), target)
    assert found.steps == (20.0,)
    assert targets.cells(found)[-2:] == ["–", "–"]  # without step times


def test_invalid_targets_are_refused():
    runs = (run(0, [0.5, 0.9, 0.8]),)
    for text, message in (
        ("validation/accuracy", "is not EVAL/NAME=VALUE"),
        ("validation/accuracy:most=1", "is not EVAL/NAME=VALUE"),
        ("validation/accurcy=1", "did you mean 'validation/accuracy'"),
    ):
        with pytest.raises(UserError, match=message):
            targets.parse([text], runs)
    unknown = Section("a.py", "", None, (Group(1, (Run(Path("r"), FINISHED, seed=0, curves=runs[0].curves),)),))
    with pytest.raises(UserError, match=r"write --target=validation/accuracy:max=0.5, or :min"):
        targets.reached(unknown, targets.Target("validation/accuracy", 0.5, ""))
