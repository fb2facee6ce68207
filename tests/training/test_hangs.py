"""Hangs: stacks of a step that does not end are written, those of slow evaluations and saves are not."""

import dataclasses
import time

import pytest
from fakes import Regression, regression_experiment

import jaxdl
from jaxdl.training import hangs
from jaxdl.training.checkpoint import Checkpoints
from jaxdl.training.hangs import HangWatch
from jaxdl.training.meters import Meter

pytestmark = pytest.mark.filterwarnings("ignore:JAX was in use before jaxdl")


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch):
    monkeypatch.setattr(hangs, "LEAST_SECONDS", 1.5)
    monkeypatch.setattr(hangs, "POLL_SECONDS", 0.05)


class Slow(Regression):
    """Regression whose second score takes seconds; the first one is that of the checks before training."""

    calls = 0

    def score(self, records, metrics, names):
        Slow.calls += 1
        time.sleep(2.5 if Slow.calls == 2 else 0)
        return {}


def sleeping_transform(batch, draws):
    """Hangs at the batches of the second epoch."""
    if sleeping_transform.calls == 20:
        time.sleep(3)
    sleeping_transform.calls += 1
    return batch


def train(folder, *, asleep):
    Slow.calls = 2 if asleep else 0
    experiment = regression_experiment(task=Slow(), steps=24, eval_every=8, save_every=8, log_every=8)
    data = dataclasses.replace(experiment.data, evals={"validation": experiment.data.train})
    if asleep:
        sleeping_transform.calls = 0
        data = dataclasses.replace(data, augment=(sleeping_transform,))
    return jaxdl.train(dataclasses.replace(experiment, data=data), folder, progress=False)


def test_a_hanging_data_transform_is_named(tmp_path, capsys):
    train(tmp_path, asleep=True)
    (file,) = (tmp_path / "hangs").iterdir()
    text = file.read_text()
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "Python stacks" in line)
    step = int(line.partition("step ")[2].split()[0])
    assert 12 <= step <= 21
    assert line.endswith(f"Python stacks are in {file}")
    assert f"last finished step: {step - 1}\n" in text
    assert "in sleeping_transform" in text
    assert "in train" in text  # of the main thread


def test_slow_evaluations_and_saves_are_not_hangs(tmp_path, monkeypatch, capsys):
    save = Checkpoints.save

    def slow(self, *arguments):
        time.sleep(2.5 if int(arguments[0].step) == 16 else 0)
        save(self, *arguments)

    monkeypatch.setattr(Checkpoints, "save", slow)
    train(tmp_path, asleep=False)
    assert not (tmp_path / "hangs").exists()
    assert "Python stacks" not in capsys.readouterr().err


def test_evaluations_as_part_of_steps_are_detected(tmp_path, monkeypatch):
    monkeypatch.setattr(Meter, "active_seconds", lambda self: time.monotonic())
    train(tmp_path, asleep=False)
    assert (tmp_path / "hangs").exists()


def test_a_hang_is_reported_once_and_the_first_steps_have_a_limit_of_their_own(tmp_path, monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(hangs, "FIRST_SECONDS", 100.0)
    with HangWatch(tmp_path, lambda: now[0]).begin(0) as watch:
        for second, reports in ((99.0, 0), (101.0, 1), (300.0, 1)):
            now[0] = second
            time.sleep(0.3)
            assert capsys.readouterr().err.count("one of the first steps") == (second == 101.0)
            assert len(list(tmp_path.glob("hangs/*"))) == reports
        for step in range(1, 8):
            now[0] += 1.0
            watch.step(step)
        now[0] += 19.0
        time.sleep(0.3)
        assert capsys.readouterr().err == ""
        now[0] += 2.0
        time.sleep(0.3)
        assert "step 8 is not finished after 21 s (median of the recent steps: 1 s)" in capsys.readouterr().err
