"""Reproduction of a run: bitwise on this machine, and reports of differences."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_files import rewrite

from jaxdl.commands import reproduce, train
from jaxdl.commands.reproduce import Compared
from jaxdl.errors import Failed, UserError
from jaxdl.report.intervals import Interval, prediction_interval

ROOT = Path(__file__).parents[2]
RECIPE = "tests/survivor.py"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """Folder with the same short run for three seeds."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for seed in range(3):
            train.run(RECIPE, ["steps=4", f"seed={seed}"], str(folder / f"seed{seed}"))
    return folder


@pytest.fixture
def runs(sweep, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    return Path(shutil.copytree(sweep, tmp_path / "sweep"))


def change(path: Path, **values) -> None:
    content = json.loads(path.read_text())
    rewrite(path, json.dumps({**content, **values}))


def test_a_run_is_reproduced_bitwise_without_code_of_its_neighbours(runs, tmp_path, capsys, monkeypatch):
    theirs = tmp_path / "theirs.py"
    theirs.write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    change(runs / "seed2" / "config.json", recipe=str(theirs))
    monkeypatch.chdir(runs / "seed1")
    reproduce.run(".")
    assert not (tmp_path / "marker").exists()
    assert "Reproduced bitwise: tests/survivor.py with seed 1" in capsys.readouterr().out
    report = json.loads((runs / "seed1-again" / "reproduction.json").read_text())
    assert report["bitwise"] is True
    assert all(metric["before"] == metric["after"] for metric in report["metrics"].values())
    repeated = json.loads((runs / "seed1-again" / "manifest.json").read_text())
    assert repeated["overrides"] == ["steps=4", "seed=1"]


def test_differences_of_versions_devices_and_data_are_reported(runs, capsys):
    path = runs / "seed0" / "manifest.json"
    content = json.loads(path.read_text())
    content["packages"]["jax"] = "0.1.0"
    content["devices"]["count"] = 64
    content["code"] = {"commit": "0123456789abcdef", "dirty": False}
    content["datasets"]["train"]["fingerprint"] = "feedfeedfeedfeed"
    rewrite(path, json.dumps(content))
    reproduce.run(str(runs / "seed0"), dry_run=True)
    output = capsys.readouterr().out
    assert "jax: then 0.1.0, now " in output
    assert "device's count: then 64, now 8" in output
    assert "commit: then 0123456789ab, now" in output
    assert "data of 'train': then " in output
    assert "fingerprint feedfeedfeed, now" in output
    assert not (runs / "seed0-again").exists()


@pytest.mark.parametrize(("shift", "margin", "agrees"), [(0.001, None, True), (3.0, None, False), (3.0, 5.0, True)])
def test_other_bits_are_judged_by_the_interval_over_seeds(runs, capsys, shift, margin, agrees):
    for seed in range(3):
        path = runs / f"seed{seed}" / "result.json"
        (split, figures), *_ = json.loads(path.read_text())["metrics"].items()
        name = next(iter(figures))
        figures[name] += 0.01 * seed + shift
        change(path, state_digest="00", metrics={split: figures})
    (shutil.copytree(runs / "seed1", runs / "damaged") / "config.txt").unlink()
    if agrees:
        reproduce.run(str(runs / "seed0"), output=str(runs / "other"), margin=margin)
    else:
        with pytest.raises(Failed, match="was not reproduced"):
            reproduce.run(str(runs / "seed0"), output=str(runs / "other"))
    captured = capsys.readouterr()
    expected = "Reproduced, but not bitwise: " if agrees else "Not reproduced: "
    assert f"{expected}{split}/{name} is {'within' if agrees else 'outside'} the " in captured.out
    assert ("margin 5" if margin else "95% interval for one more run") in captured.out
    assert f"warning: {runs / 'damaged'} is not compared: config.txt is missing" in captured.err


def test_a_single_seed_cannot_be_judged(runs, capsys):
    for seed in (1, 2):
        shutil.rmtree(runs / f"seed{seed}")
    rows = (runs / "seed0" / "metrics.jsonl").read_text().splitlines()
    changed = [json.loads(row) for row in rows]
    for row in changed:
        if row["step"] >= 3:
            row["loss"] = row.get("loss", 0.0) + 1.0
    rewrite(runs / "seed0" / "metrics.jsonl", "".join(f"{json.dumps(row)}\n" for row in changed))
    result = json.loads((runs / "seed0" / "result.json").read_text())
    metrics = {s: {n: v + 0.1 for n, v in f.items()} for s, f in result["metrics"].items()}
    change(runs / "seed0" / "result.json", state_digest="00", metrics=metrics)
    reproduce.run(str(runs / "seed0"))
    output = capsys.readouterr().out
    assert "Cannot judge: not bitwise equal, and " in output
    assert "The curves diverge at step " in output
    with pytest.raises(UserError, match=r"--margin=-1\.0 must be at least 0"):
        reproduce.run(str(runs / "seed0"), margin=-1.0)


def test_equal_parameters_with_other_metrics_are_not_a_reproduction():
    """result.json was edited and accepted."""
    then = {"recipe": "digits.py", "attempts": [{"seed": 0}]}
    equal, both_nan = Compared("a", 1.0, 1.0 + 1e-7, None, True), Compared("b", math.nan, math.nan, None)
    assert "Reproduced bitwise" in reproduce.verdict(then, True, [equal, both_nan], [])
    for after in (0.9, math.nan):
        text = reproduce.verdict(then, True, [equal, Compared("c", 1.0, after, None)], [])
        assert text.startswith("Not reproduced")
        assert "same parameters, but c of its result.json differs" in text


def test_only_the_recipes_metric_is_judged():
    interval = Interval(0.9, 1.2, "")
    assert Compared("a", 1.0, 1.0, None, True).agrees is True
    assert Compared("a", math.nan, math.nan, None, True).agrees is True
    assert Compared("a", 1.0, 1.1, None, True).agrees is None
    assert Compared("a", 1.0, 1.1, interval, True).agrees is True
    assert Compared("a", 1.0, 1.3, interval, True).agrees is False
    assert Compared("a", 1.0, 1.3, interval).agrees is None
    assert Compared("a", 1.0, 1.3, interval, True, margin=0.4).agrees is True
    assert Compared("a", 1.0, math.nan, interval, True).agrees is False
    results = [{"metrics": {"test": {"error": 0.1, "loss": value, "table": [1]}}} for value in (1.0, 1.2, 1.4, None)]
    error, loss = reproduce.compare(results[0], results[1], results[2:], "test/loss")
    assert (loss.before, loss.after, loss.judged, error.judged) == (1.0, 1.2, True, False)
    assert loss.interval == prediction_interval([1.0, 1.4])
    error, loss = reproduce.compare(results[0], results[0], (), "test/absent")
    assert (error.judged, loss.judged, loss.interval) == (True, False, None)


def test_runs_diverge_at_the_first_different_step():
    steps = np.array([1, 2, 3, 4])
    before = {"loss": {"train": (steps, np.array([1.0, math.nan, 3.0, 4.0])), "test": (steps[-1:], np.array([1.0]))}}
    assert reproduce.diverged(before, before) is None
    after = {"loss": {"train": (steps[1:], np.array([math.nan, 3.1, 5.0])), "test": (steps[-1:], np.array([2.0]))}}
    assert reproduce.diverged(before, after) == 3
    assert reproduce.diverged(before, {}) is None


def test_unfinished_runs_and_occupied_folders_are_refused(runs):
    (runs / "seed2" / "result.json").unlink()
    with pytest.raises(UserError, match=r"is not finished \(no result.json\), so its results cannot be compared"):
        reproduce.run(str(runs / "seed2"))
    with pytest.raises(UserError, match="another configuration: seed was 1 and is 0; give another --output"):
        reproduce.run(str(runs / "seed0"), output=str(runs / "seed1"))
    with pytest.raises(UserError, match="is the original run; give another folder"):
        reproduce.run(str(runs / "seed0"), output=str(runs / "seed0"))


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ({"platform": "cpu", "cpu_cores": 1}, [{2}]),
        ({"platform": "cpu", "cpu_cores": 3}, []),
        ({"platform": "cpu", "cpu_cores": 4}, []),
        ({"platform": "gpu", "cpu_cores": 1}, []),
        ({}, []),
    ],
)
def test_a_run_uses_as_many_cores_as_the_original(monkeypatch, then, expected):
    requests = []
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {2, 5, 7}, raising=False)
    monkeypatch.setattr("os.sched_setaffinity", lambda _, cores: requests.append(set(cores)), raising=False)
    reproduce.take_cores(then)
    assert requests == expected
