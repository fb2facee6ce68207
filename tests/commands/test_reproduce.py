"""Reproduction of a run: bitwise on this machine, and reports of differences."""

import json
import math
import shutil
from pathlib import Path

import pytest
from run_files import rewrite

from jaxdl.commands import reproduce, train
from jaxdl.commands.reproduce import Compared
from jaxdl.errors import Failed, UserError

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
    assert all(before == after for before, after, *_ in report["metrics"].values())
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


@pytest.mark.parametrize(("shift", "agrees"), [(0.5, True), (30.0, False)])
def test_other_bits_are_compared_with_the_std_over_seeds(runs, capsys, shift, agrees):
    result = json.loads((runs / "seed0" / "result.json").read_text())
    split, name = next((s, n) for s, figures in result["metrics"].items() for n, v in figures.items() if n == "loss")
    losses = [json.loads((runs / f"seed{n}" / "result.json").read_text())["metrics"][split][name] for n in (1, 2)]
    spread = abs(losses[0] - losses[1])
    assert spread > 0
    result["metrics"][split][name] += shift * spread
    change(runs / "seed0" / "result.json", state_digest="00", metrics=result["metrics"])
    if agrees:
        (shutil.copytree(runs / "seed1", runs / "damaged") / "config.txt").unlink()
        reproduce.run(str(runs / "seed0"), output=str(runs / "other"))
        captured = capsys.readouterr()
        assert "Reproduced, but not bitwise" in captured.out
        assert f"warning: {runs / 'damaged'} is not compared: config.txt is missing" in captured.err
    else:
        with pytest.raises(Failed, match="was not reproduced"):
            reproduce.run(str(runs / "seed0"), output=str(runs / "other"))
        assert f"Not reproduced: {split}/{name} differs by more" in capsys.readouterr().out


def test_equal_parameters_with_other_metrics_are_not_a_reproduction():
    """result.json was edited and accepted."""
    then = {"recipe": "digits.py", "attempts": [{"seed": 0}]}
    equal, both_nan = Compared("a", 1.0, 1.0 + 1e-7, None), Compared("b", math.nan, math.nan, None)
    assert "Reproduced bitwise" in reproduce.verdict(then, True, [equal, both_nan], [])
    for after in (0.9, math.nan):
        text = reproduce.verdict(then, True, [equal, Compared("c", 1.0, after, 1.0)], [])
        assert text.startswith("Not reproduced")
        assert "same parameters, but c of its result.json differs" in text


def test_values_agree_within_the_spread_if_it_is_known():
    assert Compared("a", 1.0, 1.0, None).agrees is True
    assert Compared("a", math.nan, math.nan, None).agrees is True
    assert Compared("a", 1.0, 1.1, None).agrees is None
    assert Compared("a", 1.0, 1.1, 0.06).agrees is True
    assert Compared("a", 1.0, math.nan, 0.06).agrees is False
    results = [{"metrics": {"test": {"loss": value, "table": [1]}}} for value in (1.0, 1.2, 1.4, None)]
    (comparison,) = reproduce.compare(results[0], results[1], results[2:])
    assert (comparison.name, comparison.before, comparison.after, comparison.spread) == ("test/loss", 1.0, 1.2, None)
    (comparison,) = reproduce.compare(results[0], results[0], results[1:])
    assert comparison.spread == pytest.approx(0.2 / math.sqrt(2))


def test_unfinished_runs_and_occupied_folders_are_refused(runs):
    (runs / "seed2" / "result.json").unlink()
    with pytest.raises(UserError, match=r"is not finished \(no result.json\), so its results cannot be compared"):
        reproduce.run(str(runs / "seed2"))
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
