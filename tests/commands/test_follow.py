"""`jaxdl eval RUN --follow`: evaluations of checkpoints as they appear, equal to those of training."""

import json
import os
import shutil
from pathlib import Path

import pytest

from jaxdl.commands import follow
from jaxdl.commands.cli import main
from jaxdl.report import load

ROOT = Path(__file__).parents[2]
SETTINGS = ("eval_every=2", "save_every=2", "keep.latest=9", "task.pictures=False")


def train(folder, *settings) -> None:
    flags = [f"--set={setting}" for setting in (*SETTINGS, *settings)]
    assert main(["--config=tests/survivor.py", f"--workdir={folder}", *flags]) == 0


def evaluations(folder, name="evaluations.jsonl"):
    """Rows of the evaluations, in order."""
    rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    rows = [row for row in rows if row["split"] != "train"]
    return [{key: value for key, value in row.items() if key != "checkpoint"} for row in rows]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of six steps that evaluates, and one that does not."""
    os.chdir(ROOT)
    folder = tmp_path_factory.mktemp("runs")
    train(folder / "evaluated", "steps=6")
    train(folder / "plain", "steps=6", "evaluate=False")
    return folder / "evaluated", folder / "plain"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_checkpoints_that_appear_are_evaluated_as_in_training(runs, tmp_path, monkeypatch, capsys):
    evaluated, plain = runs
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    (run / "result.json").unlink()
    later = [run / "checkpoints" / str(step) for step in (4, 6)]
    for checkpoint in later:
        checkpoint.rename(tmp_path / checkpoint.name)

    def appear(seconds):
        """Stands for the training process, which saves a checkpoint between two looks."""
        if later:
            checkpoint = later.pop(0)
            (tmp_path / checkpoint.name).rename(checkpoint)
        else:
            shutil.copy(plain / "result.json", run / "result.json")

    monkeypatch.setattr(follow.time, "sleep", appear)
    assert main(["eval", str(run), "--follow"]) == 0
    output = capsys.readouterr().out
    assert evaluations(run) == evaluations(evaluated, "metrics.jsonl")
    assert [row["step"] for row in evaluations(run)] == [2, 4, 6]
    assert output.count("waiting for checkpoints") == 1
    assert "step 4 validation  " in output

    with (run / "evaluations.jsonl").open("a") as file:
        file.write('{"step": 6, "split": "valid')  # a kill
    assert main(["eval", str(run), "--follow", "--format=json"]) == 0
    assert capsys.readouterr().out == ""
    assert evaluations(run) == evaluations(evaluated, "metrics.jsonl")


def test_reports_have_the_evaluations(runs, tmp_path):
    evaluated, plain = runs
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    assert load.read(run).metrics == {}
    assert main(["eval", str(run), "--follow"]) == 0
    expected, read = load.read(evaluated), load.read(run)
    assert read.metrics == expected.metrics
    steps, values = read.curves["accuracy"]["validation"]
    assert steps.tolist() == [2, 4, 6]
    assert values.tolist() == expected.curves["accuracy"]["validation"][1].tolist()


def test_other_states_are_evaluated_again_and_other_splits_are_only_printed(runs, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(runs[0], run)
    assert main(["eval", str(run), "--follow", "--split=train", "--format=json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["step"], list(line["metrics"])) for line in lines] == [(step, ["train"]) for step in (2, 4, 6)]
    assert not (run / "evaluations.jsonl").exists()
    other = [{"step": step, "split": "validation", "checkpoint": "0", "loss": 9.0} for step in (2, 4, 6)]
    (run / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in other))
    assert main(["eval", str(run), "--follow"]) == 0
    assert evaluations(run)[3:] == evaluations(runs[0], "metrics.jsonl")
    assert load.read(run).curves["loss"]["validation"][1].max() < 9.0


def test_checkpoints_that_cannot_be_evaluated_are_named(runs, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(runs[1], run)
    for path in filter(Path.is_file, (run / "checkpoints" / "2" / "params").rglob("*")):
        path.write_bytes(b"")
    steps = follow.saved_steps
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(follow, "saved_steps", lambda folder: [1, *steps(folder)])
    assert main(["eval", str(run), "--follow"]) == 0
    warnings = capsys.readouterr().err
    assert "checkpoint of step 1 was deleted before it was evaluated; keep more with keep.latest" in warnings
    assert "checkpoint of step 2 is damaged" in warnings
    assert [row["step"] for row in evaluations(run)] == [4, 6]


def test_flags_that_exclude_each_other_are_refused(runs, capsys):
    assert main(["eval", str(runs[0]), "--follow", "--step=2"]) == 2
    assert "--follow evaluates every checkpoint; drop --step" in capsys.readouterr().err
