"""Trackers: each step once, after kills and failures too, and training that does not depend on them."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from jaxdl import trackers
from jaxdl.commands.cli import main
from jaxdl.commands.show import describe_run
from jaxdl.config.recipes import repository_root
from jaxdl.errors import UserError
from jaxdl.runs import profiles
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.manifest import start_manifest
from jaxdl.runs.tracked import TrackedFolder
from jaxdl.trackers import TrackedRun
from jaxdl.trackers.wandb import stored_steps

PICTURE = np.zeros((4, 5, 3), np.uint8)
SETTINGS = "seed = 3\noptimizers.train[1].rate = 0.1\ntask = ImageClassification(...)\n"


class Recorder:
    """Tracker in memory, `--tracker=recorder`."""

    def __init__(self, fails=()):
        self.fails, self.ids, self.log_book, self.results, self.step = fails, [], [], [], -1
        self.id = "7"

    def start(self, run):
        self.ids.append(run.id)
        self.config = run.config
        if "start" in self.fails:
            raise ConnectionError("no\nnetwork")
        return self

    def log(self, step, metrics, pictures):
        if "log" in self.fails:
            raise RuntimeError
        self.step = step
        self.log_book.append((step, metrics, sorted(pictures)))

    def finish(self, result):
        self.results.append(result)


@pytest.fixture
def recorder(monkeypatch):
    def install(**options):
        tracker = Recorder(**options)
        monkeypatch.setitem(sys.modules, "jaxdl.trackers.recorder", SimpleNamespace(start=tracker.start, PACKAGES={}))
        return tracker

    return install


def train(path, tracker, start, stop, finish=False, **provenance):
    """Writes the metrics of steps `start + 1` to `stop`, with an evaluation and a picture at every second one."""
    with TrackedFolder(path, tracker=tracker) as folder:
        folder.write_config("{}", SETTINGS)
        start_manifest(folder, {"recipe": "r", **provenance})
        folder.rewind(start)
        for step in range(max(start, 0) + 1, stop + 1):
            folder.write(step, "train", {"loss": 1 / step})
            if step % 2 == 0:
                folder.write(step, "validation", {"accuracy": step / 10})
                folder.picture(step, "samples", PICTURE)
        if finish:
            folder.finish({"step": stop, "metrics": {"validation": {"accuracy": 0.5}}})


def test_a_tracker_gets_each_step_once_and_whole(tmp_path, recorder):
    tracker = recorder()
    train(tmp_path / "run", "recorder", -1, 5)
    train(tmp_path / "run", "recorder", 2, 6, finish=True)
    assert [step for step, *_ in tracker.log_book] == [1, 2, 3, 4, 5, 6]
    assert tracker.log_book[1] == (2, {"train/loss": 0.5, "validation/accuracy": 0.2}, ["pictures/samples"])
    assert tracker.ids == ["", "7"]
    assert tracker.config == {"seed": 3, "optimizers.train[1].rate": 0.1, "task": "ImageClassification(...)"}
    assert tracker.results == [None, RunFolder.open(tmp_path / "run").result()]
    with TrackedFolder(tmp_path / "run", tracker="recorder") as folder:
        folder.send_all()  # as for the command of a finished run
    assert len(tracker.ids) == 2


def test_a_tracker_that_failed_or_was_added_later_gets_the_steps_that_it_lacks(tmp_path, recorder, capsys):
    train(tmp_path / "run", "", -1, 3)
    recorder(fails=["log"])
    train(tmp_path / "run", "recorder", 3, 4)
    assert capsys.readouterr().err == (
        "warning: --tracker=recorder: RuntimeError; training continues without it, and the next attempt sends the"
        " rest\n"
    )
    tracker = recorder()
    train(tmp_path / "run", "recorder", 3, 5, finish=True)
    assert [step for step, *_ in tracker.log_book] == [1, 2, 3, 4, 5]
    assert tracker.log_book[1][2] == ["pictures/samples"]


@pytest.mark.parametrize("content", ["{", "[]", '{"key": 3}'])
def test_a_damaged_state_of_a_tracker_does_not_end_training(tmp_path, recorder, capsys, content):
    tracker = recorder()
    train(tmp_path / "run", "recorder", -1, 2)
    (tmp_path / "run" / "tracker" / "recorder.json").write_text(content)
    train(tmp_path / "run", "recorder", 2, 3, finish=True)
    assert "recorder.json cannot be read" in capsys.readouterr().err
    assert [step for step, *_ in tracker.log_book] == [1, 2]


def test_processes_that_do_not_write_have_no_tracker(tmp_path, recorder):
    tracker = recorder()
    with TrackedFolder(tmp_path / "run", mode="silent", tracker="recorder") as folder:
        folder.rewind(-1)
        folder.write(1, "train", {"loss": 1.0})
        folder.finish({"step": 1})
    assert not tracker.ids


def test_steps_of_an_earlier_configuration_are_named(tmp_path, recorder, capsys):
    recorder()
    train(tmp_path / "run", "recorder", -1, 5, config_fingerprint="a")
    train(tmp_path / "run", "recorder", 2, 6, config_fingerprint="b")
    assert "steps 3 to 5 are those before the change and are kept" in capsys.readouterr().err


def test_a_failing_tracker_and_a_profile_change_no_result(tmp_path, recorder, monkeypatch, capsys):
    monkeypatch.chdir(repository_root())
    monkeypatch.setattr(trackers, "check", lambda name, installed=True: None)
    recorder(fails=["start"])
    for name, flags in {"with": ["--tracker=recorder", "--profile=2..3"], "without": []}.items():
        arguments = ["--config=tests/survivor.py", f"--workdir={tmp_path / name}", "--set=steps=6"]
        assert main([*arguments, *flags]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: --tracker=recorder: ConnectionError: no network; training continues without it")
    (summary,) = profiles.read(tmp_path / "with").values()
    assert summary["activities"]["evaluation"] > 0  # of step 2
    assert "Profile of steps 2 to 3" in describe_run(str(tmp_path / "with"))
    assert main(["report", str(tmp_path / "with"), f"--output={tmp_path / 'report.html'}"]) == 0
    assert "Profile of steps 2 to 3" in (tmp_path / "report.html").read_text()
    results = [RunFolder.open(tmp_path / name).result() or {} for name in ("with", "without")]
    assert results[0]["state_digest"] == results[1]["state_digest"]
    assert results[0]["metrics"] == results[1]["metrics"]
    manifests = [RunFolder.open(tmp_path / name).manifest() for name in ("with", "without")]
    assert manifests[0]["config_fingerprint"] == manifests[1]["config_fingerprint"]


def test_wandb_is_sent_the_steps_after_the_last_complete_block_of_a_killed_attempt(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    picture = tmp_path / "1_samples.png"
    with TrackedFolder(tmp_path / "run") as folder:
        folder.picture(1, "samples", PICTURE)
        picture = folder.pictures / "1_samples.png"
    other = trackers.start("wandb", TrackedRun("other", {}, tmp_path, "k4"))
    first = trackers.start("wandb", TrackedRun("run", {"seed": 3}, tmp_path, "k3"))
    assert first.step == -1
    other.log(7, {"train/loss": 1.0}, {})
    for step in range(1, 101):
        first.log(step, {f"train/metric {number}": step / 3 for number in range(20)}, {"pictures/a": picture})
    first.finish(None)
    other.finish(None)  # another run of the same process
    assert stored_steps(tmp_path, other.id) == [7]
    assert stored_steps(tmp_path, first.id) == list(range(1, 101))
    (log,) = tmp_path.glob("wandb/offline-run-*/run-k3.wandb")
    log.write_bytes(log.read_bytes()[:32768])  # as after kill -9
    second = trackers.start("wandb", TrackedRun("run", {"seed": 3}, tmp_path, "k3"))
    assert second.id == first.id
    assert 1 < second.step < 100
    for step in range(second.step + 1, 103):
        second.log(step, {"train/loss": step / 3}, {})
    second.finish({"step": 102, "metrics": {}})
    assert stored_steps(tmp_path, first.id) == list(range(1, 103))


def test_wandb_that_is_disabled_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(UserError, match="WANDB_MODE=disabled sends nothing"):
        trackers.start("wandb", TrackedRun("run", {}, tmp_path, "k3"))


def test_wandb_without_login_does_not_ask(tmp_path, monkeypatch):
    for name, value in {"WANDB_MODE": "online", "HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(Exception, match="not logged in; run wandb login, or set WANDB_MODE=offline"):
        trackers.start("wandb", TrackedRun("run", {}, tmp_path, "k3"))


@pytest.mark.slow
def test_mlflow_has_each_step_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    train(tmp_path / "run", "mlflow", -1, 5)
    train(tmp_path / "run", "mlflow", 2, 6, finish=True)
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("jaxdl")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(value.step, value.value) for value in history] == [(step, 1 / step) for step in range(1, 7)]
    assert run.data.params["optimizers.train_1_.rate"] == "0.1"
    assert run.info.status == "FINISHED"
    artifacts = {file.path for folder in ("", "pictures") for file in client.list_artifacts(run.info.run_id, folder)}
    assert {"result.json", "pictures/6_samples.png"} <= artifacts


def test_a_new_tracker_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "third.py").write_text(THIRD)
    monkeypatch.setattr(trackers, "__path__", [*trackers.__path__, str(tmp_path)])
    trackers.check("third")
    train(tmp_path / "run", "third", -1, 3, finish=True)
    assert (tmp_path / "run" / "tracker" / "log").read_text() == "1 2 3 0.5"


THIRD = """
PACKAGES = {"json": "wandb"}

class Third:
    def __init__(self, folder):
        self.folder, self.id, self.step, self.steps = folder, "1", -1, []

    def log(self, step, metrics, pictures):
        self.steps.append(str(step))

    def finish(self, result):
        (self.folder / "log").write_text(f"{' '.join(self.steps)} {result['metrics']['validation']['accuracy']}")

def start(run):
    return Third(run.folder)
"""


def test_unknown_trackers_and_missing_packages_are_refused(tmp_path, monkeypatch, capsys):
    arguments = ["--config=tests/survivor.py", f"--workdir={tmp_path / 'run'}"]
    monkeypatch.chdir(repository_root())
    assert main([*arguments, "--tracker=wand"]) == 2
    assert "--tracker=wand is unknown; did you mean 'wandb'? names that exist: mlflow, wandb" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([*arguments, "--tracker=wandb"]) == 2
    assert "--tracker=wandb needs wandb: pip install -e '.[wandb]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
