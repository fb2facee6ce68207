"""Resumed runs: batch size, reached number of steps, optimizers that average parameters, selected checkpoints."""

import dataclasses
import json
import math
import os
import signal
from pathlib import Path

import jax
import numpy as np
import optax
import optax.contrib
import pytest
from fakes import Columns, duel_experiment, regression_experiment

import jaxdl
from jaxdl.config.experiment import Experiment
from jaxdl.data.pipeline import Batches
from jaxdl.errors import Preempted, UserError
from jaxdl.runs.folder import RunFolder
from jaxdl.testing.laws import Killed
from jaxdl.training.checkpoint import CheckpointPolicy, Checkpoints
from jaxdl.training.progress import Progress

pytestmark = pytest.mark.filterwarnings("ignore:JAX was in use before jaxdl")


def with_data(experiment, **changes):
    return dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, **changes))


def scored(experiment):
    """The regression with its examples as validation and test split."""
    return with_data(experiment, evals={"validation": experiment.data.train}, test=experiment.data.train)


@pytest.fixture
def positions(monkeypatch):
    """Positions of the training examples that were read, without those read for their shapes."""
    read: list[int] = []
    make = Batches.make

    def recorded(self, positions):
        read.extend(positions.tolist() if len(positions) > 1 else [])
        return make(self, positions)

    monkeypatch.setattr(Batches, "make", recorded)
    return read


def train(experiment, folder, **options):
    return jaxdl.train(experiment, folder, progress=False, allow=("config", "batch_size"), **options)


def test_another_batch_size_continues_at_the_next_example(tmp_path, positions):
    train(with_data(regression_experiment(steps=3), batch_size=8), tmp_path)
    for batch_size, steps, expected in ((16, 5, range(24, 56)), (8, 7, range(56, 72))):
        positions.clear()
        run = train(with_data(regression_experiment(steps=steps), batch_size=batch_size), tmp_path)
        assert sorted(set(positions))[: len(expected)] == list(expected)  # later ones are prefetched
    assert run.trained.record["examples_seen"] == 72


def test_another_batch_size_is_refused_where_rows_carry_a_state(tmp_path):
    train(duel_experiment(steps=2), tmp_path)
    with pytest.raises(UserError, match=r"data\.batch_size was 16 and is 8, but the rows of this run carry a state"):
        train(with_data(duel_experiment(steps=4), batch_size=8), tmp_path)


def test_a_run_shortened_to_its_current_step_is_evaluated_there(tmp_path):
    long = dataclasses.replace(scored(regression_experiment(steps=6)), eval_every=4, save_every=2)
    train(long, tmp_path)
    for part in ("result.json", "checkpoints/6"):
        (tmp_path / part).rename(tmp_path / part.replace("/", "_").replace(".json", ".old"))
    run = train(dataclasses.replace(long, steps=4), tmp_path)
    assert set(run.metrics) == {"validation", "test"}
    assert run.metrics["validation"] == run.metrics["test"]
    assert run.metrics == jaxdl.load(tmp_path, experiment=dataclasses.replace(long, steps=4)).metrics
    assert (tmp_path / "result.json").exists()


def schedule_free(rate=0.05, **changes):
    optimizer = optax.contrib.schedule_free(optax.sgd(rate), rate, b1=0.9)
    return scored(regression_experiment(optimizers={"train": optimizer}, **changes))


def test_schedule_free_parameters_are_evaluated_saved_and_loaded(tmp_path):
    policy = CheckpointPolicy(metric="validation/loss", mode="min")
    run = train(schedule_free(steps=8, keep=policy), tmp_path / "first")
    state = run.trained.state
    expected = optax.contrib.schedule_free_eval_params(state.opt_state["train"], state.params["line"])
    kernel = np.asarray(run.params["line"]["kernel"])
    np.testing.assert_allclose(kernel, expected["kernel"], rtol=1e-6)
    assert not np.allclose(kernel, state.params["line"]["kernel"])

    dataset = schedule_free().data.train.columns
    mask = np.arange(12)[None] < dataset["length"][:, None]
    loss = (mask * np.square(dataset["x"] @ kernel - dataset["y"])).sum() / mask.sum()
    assert run.metrics["validation"]["loss"] == pytest.approx(loss, rel=1e-5)

    start = jaxdl.InitFromRun(str(tmp_path / "first"), ("line",))
    other = train(schedule_free(rate=1e-6, steps=1, start=start), tmp_path / "second")
    np.testing.assert_allclose(other.params["line"]["kernel"], kernel, atol=1e-3)


def test_an_average_of_schedule_free_parameters_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"optimizers\.train averages the parameters itself .*; set ema=None"):
        train(schedule_free(steps=1, ema=0.9), tmp_path)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.polyak_sgd(max_learning_rate=0.1),
        optax.chain(optax.sgd(0.05), optax.contrib.reduce_on_plateau(patience=1, cooldown=0, factor=0.5)),
    ],
    ids=["polyak_sgd", "reduce_on_plateau"],
)
def test_optimizers_receive_the_loss(optimizer, tmp_path):
    run = train(regression_experiment(optimizers={"train": optimizer}, steps=8), tmp_path)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.trained.state.params))


def selecting(**changes):
    """A run of 12 steps whose validation loss is least at step 4, because its targets are a tenth of the others."""
    keep = CheckpointPolicy(latest=1, best=2, metric="validation/loss", mode="min")
    options = {"steps": 12, "eval_every": 1, "save_every": 2, "log_every": 1, "keep": keep, "select": "best"}
    experiment = scored(regression_experiment(**{**options, **changes}))
    columns = experiment.data.train.columns
    return with_data(experiment, evals={"validation": Columns(**{**columns, "y": 0.1 * columns["y"]})})


def outcome(folder):
    """Result, and metrics by step and split, without times."""
    with RunFolder(folder, mode="read") as run:
        result, rows = run.result(), run.rows()
    assert result is not None
    metrics = {(row["step"], row["split"]): row["loss"] for row in rows}
    assert len(metrics) == len(rows)
    return {name: result[name] for name in ("selected_step", "metrics", "state_digest")}, metrics


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """Folder of an uninterrupted run with select="best"."""
    folder = tmp_path_factory.mktemp("selected") / "run"
    train(selecting(), folder)
    return folder


def test_the_best_checkpoint_on_validation_is_scored_and_loaded(selected, capsys):
    result, metrics = outcome(selected)
    saved = {step: metrics[step, "validation"] for step in range(2, 13, 2)}
    best = min(saved, key=lambda step: saved[step])
    assert result["selected_step"] == best == 4
    run, last = (jaxdl.load(selected, step, experiment=selecting()) for step in (None, 12))
    assert (run.step, last.step) == (best, 12)
    assert run.metrics == result["metrics"]
    assert run.metrics["validation"]["loss"] == saved[best]
    assert last.metrics == {"validation": {"loss": saved[12]}}
    columns = selecting().data.train.columns
    mask = np.arange(12)[None] < columns["length"][:, None]
    error = np.square(columns["x"] @ np.asarray(run.params["line"]["kernel"]) - columns["y"])
    assert run.metrics["test"]["loss"] == metrics[12, "test"] == pytest.approx((mask * error).sum() / mask.sum(), 1e-5)
    jaxdl.train(selecting(), selected)
    assert f"selected    step {best}" in capsys.readouterr().out


@pytest.mark.parametrize(("step", "expected"), [(None, 4), (12, 12)])
def test_a_run_starts_from_the_selected_checkpoint_of_another(selected, tmp_path, step, expected):
    start = jaxdl.InitFromRun(str(selected), ("line",), step)
    run = train(regression_experiment(steps=1, optimizers={"train": optax.sgd(0.0)}, start=start), tmp_path)
    source = jaxdl.load(selected, expected, experiment=selecting())
    np.testing.assert_array_equal(run.params["line"]["kernel"], source.params["line"]["kernel"])


def killed_run(monkeypatch, folder, owner, name, when, late):
    """Runs until the method `owner.name` is called with arguments for which `when` is true; raises there or after."""
    method = getattr(owner, name)

    def call(self, *args, **options):
        if when(*args) and not late:
            raise Killed
        value = method(self, *args, **options)
        if when(*args):
            raise Killed
        return value

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, call)
        with pytest.raises(Killed):
            train(selecting(), folder)


@pytest.mark.parametrize(
    ("owner", "name", "when", "late"),
    [
        (RunFolder, "write", lambda step, split, figures: (step, split) == (11, "validation"), False),
        (RunFolder, "write", lambda step, split, figures: (step, split) == (12, "validation"), True),
        (RunFolder, "write", lambda step, split, figures: split == "test", True),
        (Checkpoints, "save", lambda state, record: int(state.step) == 12, True),
        (RunFolder, "finish", lambda result: True, False),
    ],
    ids=["in step 11", "after the last validation", "after the test", "after the last save", "before the result"],
)
def test_a_killed_run_selects_the_same_checkpoint(monkeypatch, tmp_path, selected, owner, name, when, late):
    killed_run(monkeypatch, tmp_path, owner, name, when, late)
    train(selecting(), tmp_path)
    assert outcome(tmp_path) == outcome(selected)


def assert_a_stopped_run_selects_the_same_checkpoint(monkeypatch, folder):
    """Stops a run by a signal after its best step, which is evaluated and then saved, but not by `save_every`."""
    experiment = selecting(save_every=3)
    train(experiment, folder / "alone")
    advance = Progress.advance

    def stopped(self, step):
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        advance(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", stopped)
        with pytest.raises(Preempted):
            train(experiment, folder / "stopped")
    train(experiment, folder / "stopped")
    assert outcome(folder / "stopped") == outcome(folder / "alone")


def test_a_stopped_run_selects_the_same_checkpoint(monkeypatch, tmp_path):
    assert_a_stopped_run_selects_the_same_checkpoint(monkeypatch, tmp_path)


def test_selection_of_a_step_that_only_a_signal_saved_is_detected(monkeypatch, tmp_path):
    monkeypatch.setattr(Experiment, "scheduled", lambda self, step: True)
    with pytest.raises(AssertionError, match="selected_step"):
        assert_a_stopped_run_selects_the_same_checkpoint(monkeypatch, tmp_path)


def test_a_metric_that_is_never_finite_selects_the_last_step(tmp_path, capsys):
    experiment = selecting(steps=2)
    columns = experiment.data.evals["validation"].columns
    experiment = with_data(experiment, evals={"validation": Columns(**{**columns, "y": columns["y"] * math.nan})})
    jaxdl.train(experiment, tmp_path)
    assert "validation/loss is finite at no evaluated checkpoint; the last step is selected" in capsys.readouterr().out
    assert json.loads((tmp_path / "result.json").read_text())["selected_step"] == 2


def damage(checkpoint):
    """Empties the files of a checkpoint's parameters."""
    for path in filter(Path.is_file, (checkpoint / "params").rglob("*")):
        path.write_bytes(b"")


def test_a_damaged_best_checkpoint_is_named_and_the_next_one_selected(monkeypatch, tmp_path, selected, capsys):
    best = outcome(selected)[0]["selected_step"]
    killed_run(monkeypatch, tmp_path, RunFolder, "write", lambda step, split, figures: step == 12, late=False)
    damage(tmp_path / "checkpoints" / str(best))
    jaxdl.train(selecting(), tmp_path)
    chosen, output = outcome(tmp_path)[0]["selected_step"], capsys.readouterr().out
    assert chosen == 8
    assert f"checkpoint of step {best} is damaged" in output
    assert "step 8 is selected by validation/loss" in output
    assert jaxdl.load(tmp_path, experiment=selecting()).step == 8
    damage(tmp_path / "checkpoints" / "8")
    assert jaxdl.load(tmp_path, experiment=selecting()).step == 12
    assert "checkpoint of step 8" in capsys.readouterr().err


def test_saving_by_minutes_changes_neither_results_nor_selection(monkeypatch, tmp_path, selected):
    """Every step is saved, also after a kill; the selected checkpoint is one that `save_every` saves."""
    experiment = selecting(save_minutes=1e-9)
    advance = Progress.advance

    def killed(self, step):
        if step == 7:
            raise Killed
        advance(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", killed)
        with pytest.raises(Killed):
            train(experiment, tmp_path)
    assert {int(path.name) for path in (tmp_path / "checkpoints").iterdir()} >= {6}
    assert 5 in saved_steps(monkeypatch, experiment, tmp_path / "other")
    train(experiment, tmp_path)
    assert outcome(tmp_path) == outcome(selected)


def saved_steps(monkeypatch, experiment, folder):
    steps = []
    save = Checkpoints.save

    def recorded(self, state, record):
        steps.append(int(state.step))
        save(self, state, record)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", recorded)
        train(experiment, folder)
    return steps


def test_checkpoints_of_a_period_are_kept(monkeypatch, tmp_path):
    keep = CheckpointPolicy(latest=1, period=4)
    experiment = regression_experiment(steps=10, save_every=2, save_minutes=1e6, keep=keep)
    assert saved_steps(monkeypatch, experiment, tmp_path) == [2, 4, 6, 8, 10]
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [4, 8, 10]
    with pytest.raises(UserError, match=r"keep\.period=5 is not a multiple of save_every=2"):
        train(dataclasses.replace(experiment, keep=CheckpointPolicy(period=5)), tmp_path / "refused")


def test_training_without_evaluation_has_the_same_state(tmp_path):
    experiment = scored(regression_experiment(steps=4, eval_every=2))
    digests = []
    for evaluate in (True, False):
        folder = tmp_path / str(evaluate)
        train(dataclasses.replace(experiment, evaluate=evaluate), folder)
        result = json.loads((folder / "result.json").read_text())
        digests.append(result["state_digest"])
    assert digests[0] == digests[1]
    assert result["metrics"] == {}
    with pytest.raises(UserError, match="select='best' needs the evaluations of training"):
        train(selecting(evaluate=False), tmp_path / "refused")
