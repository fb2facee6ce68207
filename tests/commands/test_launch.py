"""Command line from training to prediction, and one-line usage errors."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdl.commands.cli import main
from jaxdl.runs.folder import RunFolder

ROOT = Path(__file__).parents[2]
RECIPE = "tests/survivor.py"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Sets the repository's root as the working directory."""
    monkeypatch.chdir(ROOT)


def command(*arguments: str) -> int:
    """Returns the exit code of a command that runs in this process."""
    return main(arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Short run, copied by tests that change it."""
    os.chdir(ROOT)
    path = tmp_path_factory.mktemp("run") / "run"
    assert command(f"--config={RECIPE}", f"--workdir={path}", "--set=steps=12") == 0
    return path


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_a_run_has_the_files_of_the_contract(trained):
    result = json.loads((trained / "result.json").read_text())
    assert set(result) == {
        "step",
        "metrics",
        "parameters",
        "examples",
        "seconds",
        "tflop",
        "gflops",
        "goodput",
        "badput",
        "state_digest",
    }
    assert result["step"] == 12
    assert 0 < result["goodput"] <= 1
    assert result["gflops"] > 0
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["attempts"][0]["exit"] == 0
    assert (trained / "config.txt").read_text().startswith("experiment = ")
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 13))
    assert {row["step"] for row in rows if row["split"] == "validation"} == {4, 8, 12}
    assert [path.name for path in (trained / "pictures").iterdir()] == ["12_learning_curves.png"]
    assert list((trained / "tensorboard").iterdir())


def test_a_finished_run_is_not_repeated_and_its_killed_attempt_ends(run, capsys):
    with RunFolder(run) as folder:
        manifest = folder.manifest()
        manifest["attempts"][-1].update(end=None, exit=None)  # killed after result.json was written
        folder.write_manifest(manifest)
    before = (run / "metrics.jsonl").read_bytes()
    assert command(f"--config={RECIPE}", f"--workdir={run}", "--set=steps=12") == 0
    assert "finished" in capsys.readouterr().out
    assert (run / "metrics.jsonl").read_bytes() == before
    assert RunFolder.open(run).manifest()["attempts"][-1]["exit"] == "killed"


def test_eval_reproduces_the_metrics_of_the_run(run, capsys):
    assert command("eval", str(run), "--format=json") == 0
    scored = json.loads(capsys.readouterr().out)
    recorded = json.loads((run / "result.json").read_text())["metrics"]["validation"]
    for name, value in recorded.items():
        assert scored["metrics"]["validation"][name] == pytest.approx(value, abs=1e-6)


def test_eval_supports_other_steps_and_splits(run, capsys):
    assert command("eval", str(run), "--format=json", "--step=10", "--split=train") == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["step"] == 10
    assert set(scored["metrics"]) == {"train"}


def test_eval_supports_overrides(run, capsys):
    assert command("eval", str(run), "--format=json", "--set=task.top=(1,2)") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]["validation"]
    assert metrics["accuracy"] <= metrics["accuracy_top2"]
    assert command("eval", str(run), "--set=task.tops=(1,2)") == 2
    assert "no 'tops' in task" in capsys.readouterr().err


def test_eval_without_ema_equals_a_run_without_ema(run, tmp_path, capsys):
    settings = ("--set=steps=12", "--set=ema=None", "--set=task.pictures=True")
    assert command(f"--config={RECIPE}", f"--workdir={tmp_path / 'plain'}", *settings) == 0
    assert {path.name.split("_", 1)[1] for path in (tmp_path / "plain" / "pictures").iterdir()} == {
        "learning_curves.png",
        "validation_confusion.png",
        "validation_predictions.png",
    }
    plain, averaged = (
        json.loads((path / "result.json").read_text())["metrics"]["validation"]["loss"]
        for path in (tmp_path / "plain", run)
    )
    capsys.readouterr()
    assert command("eval", str(run), "--format=json", "--set=ema=None") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["validation"]["loss"] == pytest.approx(plain, abs=1e-5)
    assert abs(averaged - plain) > 1e-4


def test_predict_classifies_image_files(run, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    assert command("predict", str(run), str(folder), "--format=json", f"--output={tmp_path / 'out.jsonl'}") == 0
    output = capsys.readouterr().out
    rows = [json.loads(line) for line in output.splitlines()]
    assert output == (tmp_path / "out.jsonl").read_text()
    assert [Path(row["file"]).name for row in rows] == ["0.png", "1.png", "2.png"]
    for row in rows:
        assert row["label"].startswith("class ")
        assert sum(row["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)
    assert command("predict", str(run), str(folder)) == 0
    assert "probability" in capsys.readouterr().out.splitlines()[0]


def test_commands_import_the_libraries_that_they_need_only(run, tmp_path):
    code = f"""
import os, sys
run = {str(run)!r}
from jaxdl.commands.cli import main
def leaves(*modules):
    assert not (imported := set(modules) & set(sys.modules)), (sys.argv, imported)
for words in (["list"], ["diff", run, run], ["report", run, "--output=report.html"], ["data"]):
    sys.argv = ["jaxdl", *words]
    assert main() == 0
    leaves("jax", "fiddle", "tensorflow_datasets", "matplotlib")
sys.argv = ["jaxdl", "show", "--config={ROOT / RECIPE}"]
assert main() == 0
leaves("orbax.checkpoint", "grain", "tensorflow_datasets", "matplotlib", "tensorboardX", "torch")
assert "GLIBC_TUNABLES" not in os.environ  # set for a process that computes, which is restarted with it
from jaxdl.runs.folder import RunFolder
with RunFolder("other") as folder:
    folder.write(1, "train", {{"loss": 1.0}})
leaves("tensorboardX", "torch")
"""
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    environment["PYTHONPATH"] = str(ROOT)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, check=True)


def test_show_list_diff_curves_and_data_print_their_content(run, tmp_path, capsys):
    assert command("show", f"--config={RECIPE}") == 0
    assert "optimizers.train.learning_rate.init_value = 0.01" in capsys.readouterr().out
    assert command("list", "--format=json") == 0
    rows = json.loads(capsys.readouterr().out)
    keys = {"name", "family", "task", "data", "metric", "value", "std", "seeds", "device", "minutes"}
    assert rows
    assert all(keys <= set(row) for row in rows)
    other_run = tmp_path / "other"
    assert command(f"--config={RECIPE}", f"--workdir={other_run}", "--set=steps=1", "--set=seed=3") == 0
    capsys.readouterr()
    assert command("diff", str(run), str(other_run)) == 0
    assert "seed" in capsys.readouterr().out
    assert command("curves", str(run), str(other_run), f"--output={tmp_path / 'curves.png'}") == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert command("data") == 0
    assert "fashion_mnist" in capsys.readouterr().out


def test_resume_with_another_configuration_requires_a_flag(run, capsys):
    assert command(f"--config={RECIPE}", f"--workdir={run}", "--set=steps=14") == 2
    error = capsys.readouterr().err
    assert "steps was 12 and is 14" in error
    assert "--allow=config" in error
    assert command(f"--config={RECIPE}", f"--workdir={run}", "--set=steps=14", "--allow=config") == 0
    assert json.loads((run / "result.json").read_text())["step"] == 14


def test_resume_on_other_devices_does_not_change_the_fingerprint(run, capsys):
    (run / "result.json").unlink()
    shutil.rmtree(run / "checkpoints" / "12")
    before = json.loads((run / "config.json").read_text())["fingerprint"]
    code = command(f"--config={RECIPE}", f"--workdir={run}", "--set=steps=12", "--set=parallel.mesh.fsdp=2")
    assert code == 0, capsys.readouterr().err
    assert json.loads((run / "config.json").read_text())["fingerprint"] == before


# --- usage errors: arguments ({run} and {tmp} are filled in) and the expected message

MISTAKES = {
    "no recipe given": ("", r"--config=RECIPE is missing"),
    "unknown command": ("trian --config=x", r"unknown command 'trian'; did you mean 'train'\?"),
    "unknown flag": ("--confg=x", r"train does not take --confg; did you mean --config\?"),
    "flag of the wrong type": ("eval {run} --step=ten", r"--step=ten is not an integer of at least 0"),
    "recipe path that does not exist": ("--config=experiments/cnn/digts.py", r"no file.*experiments/cnn/digits.py"),
    "dotted name that does not exist": ("--config=experiments.cnn.nothing", r"no recipe 'experiments.cnn.nothing'"),
    "file that is no recipe": ("--config=launch.py", r"launch.py has no recipe"),
    "recipe that does not parse": ("--config={tmp}/broken.py", r"broken.py:2: SyntaxError"),
    "--set without =": (f"--config={RECIPE} --set=steps", r"steps.*NAME=VALUE"),
    "--set of an unknown name": (f"--config={RECIPE} --set=stps=3", r"stps.*did you mean 'steps'"),
    "--set of an unknown path": (f"--config={RECIPE} --set=task.model.widht=3", r"widht.*names that exist.*dropout"),
    "--set of the wrong type": (f"--config={RECIPE} --set=steps=abc", r"steps takes.*int.*'abc'"),
    "steps below one": (f"--config={RECIPE} --set=steps=-5", r"steps is -5; expected at least 1"),
    "batch that micro-batches do not divide": (f"--config={RECIPE} --set=accumulate=3", r"batch_size=16.*accumulate=3"),
    "moving average out of range": (f"--config={RECIPE} --set=ema=1.5", r"ema is 1.5; expected above 0 and below 1"),
    "unknown kind of nonfinite": (f"--config={RECIPE} --set=nonfinite=stpo", r"did you mean 'stop'"),
    "mesh that does not fill the devices": (
        f"--config={RECIPE} --workdir={{tmp}}/a --set=parallel.mesh.data=3",
        r"data=3.*does not match the 8 device",
    ),
    "batch that devices do not divide": (
        f"--config={RECIPE} --workdir={{tmp}}/a --set=data.batch_size=20",
        r"data.batch_size=20 is not divisible by 8 device.*16 or 24",
    ),
    "pmap with a model-parallel mesh": (
        f"--config={RECIPE} --workdir={{tmp}}/a --set=parallel.mode=pmap --set=parallel.mesh.fsdp=2",
        r"'pmap' is data-parallel only",
    ),
    "unknown data set": (
        "--config=experiments/cnn/digits.py --workdir={tmp}/a --set=data.train.name=digitss",
        r"digitss.*did you mean 'digits'",
    ),
    "unknown split": (
        "--config=experiments/cnn/digits.py --workdir={tmp}/a --set=data.train.split=trian",
        r"trian.*train",
    ),
    "workdir that is a file": (f"--config={RECIPE} --workdir={{tmp}}/broken.py", r"broken.py"),
    "workdir with foreign files": (f"--config={RECIPE} --workdir={{tmp}}", r"not a run and contains other files"),
    "unknown --allow": (f"--config={RECIPE} --allow=everything", r"--allow=everything is unknown"),
    "eval of no run": ("eval {tmp}/nothing", r"nothing does not exist"),
    "eval of a step that is not there": ("eval {run} --step=11", r"step.* 11|11.*steps that exist: 10, 12"),
    "eval of a split that is not there": ("eval {run} --split=tset", r"--split=tset"),
    "predict without files": ("predict {run}", r"FILE\.\.\. is missing; usage: jaxdl predict RUN FILE\.\.\. "),
    "predict of a missing file": ("predict {run} {tmp}/no.png", r"no.png"),
    "predict of a file that is no image": ("predict {run} {tmp}/broken.py", r"broken.py"),
    "predict to a table": (
        "predict {run} {tmp}/torn.png --output={tmp}/out.csv",
        r"out.csv is written as JSON lines, not as .csv; name it .*out.jsonl",
    ),
    "predict of a truncated image": ("predict {run} {tmp}/torn.png", r"torn.png"),
    "predict of a pipe": ("predict {run} {tmp}/pipe.png", r"pipe.png is a named pipe; pass the path of a file"),
    "predict of a device": ("predict {run} /dev/zero", r"/dev/zero is a device; pass the path of a file"),
    "predict of a socket in a folder": ("predict {run} {tmp}/sockets", r"a.png is a socket; pass the path of a file"),
    "predictions over an image": ("predict {run} {tmp}/torn.png --output={tmp}/torn.png", r"was not written by this"),
    "pictures over images": ("explain {run} {tmp}/a.png --output={tmp}/taken", r"was not written by this command"),
    "part of generated data": ("eval {run} --split=train[:5]", r"'train\[:5\]' is not a split of generated data"),
    "curves over an image": ("curves {run} --output={tmp}/torn.png", r"torn.png exists and was not written by this"),
    "reproduction in a folder of files": ("reproduce {run} --output={tmp}", r"is not a run and contains other files"),
    "format that does not exist": ("list --format=yaml", r"--format=yaml is unknown"),
    "curves of nothing": ("curves", r"RUN\.\.\. is missing; usage: jaxdl curves RUN\.\.\."),
    "curves of one name twice": ("curves {run} {run}", r"two run folders have the same name"),
    "diff of one run": ("diff {run}", r"RUN is missing; usage: jaxdl diff RUN RUN"),
    "record of no run": ("record {tmp}/nothing", r"nothing"),
    "no virtual devices": ("list --cpu_devices=0", r"--cpu_devices=0 is not an integer of at least 1"),
    "unknown data set to prepare": ("data --prepare=digitss", r"digitss.*did you mean 'digits'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_usage_error_is_one_line(name, trained, tmp_path, capsys, monkeypatch):
    (tmp_path / "broken.py").write_text("import os\ndef (:\n")
    complete = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(complete)
    (tmp_path / "torn.png").write_bytes(complete.read_bytes()[:2000])
    complete.rename(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "sockets").mkdir()
    monkeypatch.chdir(tmp_path / "sockets")  # the path of a socket has at most 107 characters
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a.png")
    monkeypatch.chdir(ROOT)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "12_filters.png").write_bytes((tmp_path / "torn.png").read_bytes())
    before = sorted(path.name for path in trained.iterdir())
    arguments, expected = MISTAKES[name]
    code = command(*arguments.format(run=trained, tmp=tmp_path).split())
    output = capsys.readouterr()
    lines = output.err.strip().splitlines()
    assert code == 2, output
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], output.err
    assert re.search(expected, lines[-1]), lines[-1]
    # The preparation of a data set is announced before the error.
    assert len(lines) == 1 or lines[0].startswith("preparing digits")
    assert "Traceback" not in output.err
    assert sorted(path.name for path in trained.iterdir()) == before


def test_debug_shows_the_traceback():
    from jaxdl.errors import UserError

    with pytest.raises(UserError):
        command(f"--config={RECIPE}", "--set=stps=3", "--debug")


# --- damaged checkpoints


def flip_bits(folder: Path) -> None:
    """Flips a bit in every 50th byte of the data files below a folder; names and sizes stay."""
    for path in folder.rglob("d/*"):
        data = bytearray(path.read_bytes())
        for position in range(25, len(data), 50):
            data[position] ^= 1
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
        path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", ["flipped bits", "truncated", "empty folder"])
def test_resume_falls_back_to_the_newest_checkpoint_that_verifies(run, capsys, damage):
    (run / "result.json").unlink()
    digest = json.loads((run / "checkpoints" / "12" / "record" / "metadata").read_text())["digests"]
    newest = run / "checkpoints" / "12"
    if damage == "flipped bits":
        flip_bits(newest / "params")
    elif damage == "truncated":
        path = max((p for p in (newest / "params").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        path.write_bytes(path.read_bytes()[:50])
    else:
        shutil.rmtree(newest)
        newest.mkdir()
    assert command(f"--config={RECIPE}", f"--workdir={run}", "--set=steps=12") == 0
    output = capsys.readouterr().out
    assert "checkpoint of step 12 is damaged" in output
    assert "resuming from step 10" in output
    repeated = json.loads((run / "checkpoints" / "12" / "record" / "metadata").read_text())["digests"]
    assert repeated == digest


def test_resume_without_a_valid_checkpoint_is_refused(run, capsys):
    (run / "result.json").unlink()
    for step in (run / "checkpoints").iterdir():
        flip_bits(step / "params")
    assert command(f"--config={RECIPE}", f"--workdir={run}", "--set=steps=12") == 2
    assert re.search(r"no checkpoint in .* can be restored \(step 12: .*; step 10: ", capsys.readouterr().err)


def test_changed_data_is_refused(run, capsys, monkeypatch):
    from jaxdl.data.synthetic.images import MockImages

    (run / "result.json").unlink()
    load = MockImages.load

    def other(self):
        import dataclasses

        return dataclasses.replace(load(self), fingerprint="0" * 64)

    monkeypatch.setattr(MockImages, "load", other)
    arguments = (f"--config={RECIPE}", f"--workdir={run}", "--set=steps=12")
    assert command(*arguments) == 2
    assert re.search(r"trained on other data: 'train' had fingerprint .*--allow=data", capsys.readouterr().err)
    assert command(*arguments, "--allow=data") == 0


def test_initialization_from_a_run_uses_its_groups(run, tmp_path, capsys):
    target = tmp_path / "tuned"
    flags_ = (f"--config={RECIPE}", f"--workdir={target}", "--set=steps=1", f"--set=start.run={run}")
    assert command(*flags_, "--set=start.groups=('classifier',)") == 0, capsys.readouterr().err
    assert len(json.loads((target / "result.json").read_text())["start_digest"]) == 64
    assert command(*flags_[:1], f"--workdir={tmp_path / 'b'}", *flags_[2:], "--set=start.groups=('clasifier',)") == 2
    assert "clasifier" in capsys.readouterr().err
