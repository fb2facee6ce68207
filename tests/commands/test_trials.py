"""Hyperparameter search: search spaces, trials, and resuming after a stop."""

import json
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from run_files import rewrite

from jaxdl.commands import search
from jaxdl.errors import Failed, Preempted, UserError
from jaxdl.launchers import Options

ROOT = Path(__file__).parents[2]
RECIPE, RATE = "tests/survivor.py", "task.label_smoothing"


def test_a_space_gives_distributions():
    distributions = search.distributions(["a=1e-4..1e-2:log", "b=16..64:16", "c=0.0..1.0", "d=x,(1,2)", "e=1..9"])
    assert distributions == {
        "a": FloatDistribution(1e-4, 1e-2, log=True),
        "b": IntDistribution(16, 64, step=16),
        "c": FloatDistribution(0.0, 1.0),
        "d": CategoricalDistribution(("x", "(1,2)")),
        "e": IntDistribution(1, 9),
    }


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ([], "--trials needs --space"),
        (["a=4..1"], "--space=a=4..1 is not a range"),
        (["a=0..1:log"], "--space=a=0..1:log is not a range"),
        (["a=1,"], "a name or a value is missing"),
        (["a=1..2", "a=3..4"], "--space has 'a' twice"),
    ],
)
def test_invalid_spaces_are_refused(space, message):
    with pytest.raises(UserError, match=message):
        search.distributions(space)


def test_a_damaged_storage_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / search.FILE).write_bytes(b"not a database")
    with pytest.raises(UserError, match=r"search\.db \(file is not a database\); restore it"):
        search.run(RECIPE, (), [f"{RATE}=0.1..0.5"], 1, str(tmp_path), "validation/accuracy:max", Options())


class FakeLauncher:
    """Launcher whose runs have the best accuracy at a label smoothing of 0.3."""

    def __init__(self, stops_at: int = -1, fails: bool = False):
        self.folders, self.stops_at, self.fails = [], stops_at, fails

    def __call__(self, jobs, options):
        for job in jobs:
            if len(self.folders) == self.stops_at:
                self.stops_at = -1
                raise Preempted("SIGTERM")
            self.folders.append(job.folder)
            chosen = next(float(argument.split("=")[2]) for argument in job.command if RATE in argument)
            job.folder.mkdir(parents=True)
            rewrite(job.folder / "config.json", "{}")
            score = {"validation": {"accuracy": 1 - (chosen - 0.3) ** 2}}
            if not self.fails:
                rewrite(job.folder / "result.json", json.dumps({"step": job.steps, "metrics": score}))


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.chdir(ROOT)
    launcher = FakeLauncher()
    monkeypatch.setattr(search, "LAUNCHERS", {"local": launcher})
    return launcher


def run_search(tmp_path, trials, metric=None, slots=2):
    search.run(RECIPE, ["steps=3"], [f"{RATE}=0.0..0.9"], trials, str(tmp_path), metric, Options(slots=slots))


def test_a_search_optimizes_and_resumes_where_it_was_stopped(tmp_path, machine, capsys):
    machine.stops_at = 5
    with pytest.raises(Preempted):
        run_search(tmp_path, 24)
    run_search(tmp_path, 24)
    assert len(machine.folders) == len(set(machine.folders)) == 24
    lines = capsys.readouterr().out.splitlines()
    chosen = float(lines[-1].split(f"{RATE}=")[1].split(":")[0])
    assert abs(chosen - 0.3) < 0.1
    assert lines[-1].startswith("best of 24: ")
    run_search(tmp_path, 24)  # all trials are done
    assert len(machine.folders) == 24
    run_search(tmp_path, 26)
    assert len(machine.folders) == 26


def test_two_searches_at_the_same_time_share_the_trials(tmp_path, machine, monkeypatch, capsys):
    def second(jobs, options):
        monkeypatch.setattr(search, "LAUNCHERS", {"local": machine})
        run_search(tmp_path, 4)

    monkeypatch.setattr(search, "LAUNCHERS", {"local": second})
    run_search(tmp_path, 4)
    assert len(machine.folders) == len(set(machine.folders)) == 4
    assert capsys.readouterr().out.count("best of 4: ") == 2


def test_a_search_whose_trials_all_fail_raises(tmp_path, machine):
    machine.fails = True
    with pytest.raises(Failed, match=r"none of the 3 trial\(s\) has validation/accuracy"):
        run_search(tmp_path, 3)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("test/accuracy:max", "settings must not be chosen on the test split"),
        ("validation/loss", "the recipe has no metric to optimize"),
        ("valid/loss:min", "evaluations that exist: validation"),
    ],
)
def test_invalid_metrics_are_refused(tmp_path, machine, metric, message):
    with pytest.raises(UserError, match=message):
        run_search(tmp_path, 2, metric)


def test_names_are_checked_before_the_first_trial(tmp_path, machine):
    with pytest.raises(UserError, match="no 'widht'"):
        search.run(RECIPE, [], ["widht=1..2"], 2, str(tmp_path), None, Options())
