"""Hyperparameter search: trials, pruning, and resuming after a stop."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_files import rewrite

from jaxdl.commands import search
from jaxdl.errors import Failed, Preempted, UserError
from jaxdl.launchers import Options

ROOT = Path(__file__).parents[2]
RECIPE, RATE = "tests/survivor.py", "task.label_smoothing"
STEPS = 9  # three evaluations


class FakeMachine:
    """Machine on which a label smoothing of 0.3 has the best accuracy; it runs one trial at a time."""

    def __init__(self, stops_at: int = -1, fails: bool = False):
        self.folders, self.stops_at, self.fails, self.best = [], stops_at, fails, 1.0
        self.pruned: dict[Path, int] = {}  # step by folder

    def __call__(self, queue, slots, retries, table):
        while (job := queue.next()) is not None:
            if len(self.folders) == self.stops_at:
                self.stops_at = -1
                raise Preempted("SIGTERM")
            queue.ended(job, self.train(queue, job))
        assert queue.done

    def train(self, queue, job) -> int:
        self.folders.append(job.folder)
        chosen = next(float(argument.split("=")[2]) for argument in job.command if RATE in argument)
        score = self.best - (chosen - 0.3) ** 2
        job.folder.mkdir(parents=True, exist_ok=True)
        rewrite(job.folder / "config.json", "{}")
        if self.fails:
            return 1
        lines = []
        for step in range(job.steps // 3, job.steps + 1, job.steps // 3):
            lines.append(json.dumps({"step": step, "split": "validation", "accuracy": score * step / job.steps}))
            rewrite(job.folder / "metrics.jsonl", "\n".join(lines) + "\n")
            queue._reads_at = 0.0
            if job in queue.pruned():
                self.pruned[job.folder] = step
                return 76
        rewrite(
            job.folder / "result.json", json.dumps({"step": job.steps, "metrics": {"validation": {"accuracy": score}}})
        )
        return 0


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.chdir(ROOT)
    fake = FakeMachine()
    monkeypatch.setattr(search, "work", fake)
    return fake


def run_search(tmp_path, trials, metric=None, pruner=None):
    goal = search.Goal(trials, [f"{RATE}=0.0..0.9"], metric, pruner)
    search.run(RECIPE, [f"steps={STEPS}"], goal, str(tmp_path), Options(slots=1))


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
    def first(queue, *arguments):
        job = queue.next()
        monkeypatch.setattr(search, "work", second)
        run_search(tmp_path, 4)
        queue.ended(job, machine.train(queue, job))
        assert queue.next() is None
        assert queue.done

    def second(queue, *arguments):
        for _ in range(3):
            job = queue.next()
            queue.ended(job, machine.train(queue, job))
        assert queue.next() is None
        assert not queue.done  # it waits for the trial of the first

    monkeypatch.setattr(search, "work", first)
    run_search(tmp_path, 4)
    assert len(machine.folders) == len(set(machine.folders)) == 4
    output = capsys.readouterr().out
    assert "waiting for the trials of other processes" in output
    assert output.count("best of 4: ") == 1


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_poor_trials_are_pruned_before_their_last_step(tmp_path, machine, capsys, pruner):
    run_search(tmp_path, 20, pruner=pruner)
    assert 3 <= len(machine.pruned) < 20
    assert set(machine.pruned.values()) <= {3, 6}
    lines = capsys.readouterr().out.splitlines()
    assert sum(f": pruned at step {step}  " in line for line in lines for step in (3, 6)) == len(machine.pruned)
    best = Path(lines[-1].split("  ")[-1])
    assert best not in machine.pruned
    run_search(tmp_path, 20, pruner=pruner)
    assert len(machine.folders) == 20


def test_a_search_that_was_killed_while_it_pruned_a_trial_does_not_train_it_again(tmp_path, machine, monkeypatch):
    def killed(queue, *arguments):
        while (job := queue.next()) is not None:
            code = machine.train(queue, job)
            if code == 76:
                raise Preempted("SIGKILL")
            queue.ended(job, code)

    monkeypatch.setattr(search, "work", killed)
    with pytest.raises(Preempted):
        run_search(tmp_path, 20, pruner="asha")
    [pruned] = machine.pruned
    monkeypatch.setattr(search, "work", machine)
    run_search(tmp_path, 20, pruner="asha")
    assert machine.folders.count(pruned) == 1


def test_equal_trials_are_trained_once(tmp_path, machine, capsys):
    goal = search.Goal(6, [f"{RATE}=0.1,0.3"])
    search.run(RECIPE, [f"steps={STEPS}"], goal, str(tmp_path), Options(slots=1))
    assert len(machine.folders) == 2
    assert "best of 6: task.label_smoothing=0.3" in capsys.readouterr().out


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


def test_a_search_without_evaluations_is_refused(tmp_path, machine):
    with pytest.raises(UserError, match="a search needs the evaluations of training; set evaluate=True"):
        search.run(RECIPE, ["evaluate=False"], search.Goal(2, [f"{RATE}=0.0..0.9"]), str(tmp_path), Options())


def test_names_are_checked_before_the_first_trial(tmp_path, machine):
    with pytest.raises(UserError, match="no 'widht'"):
        search.run(RECIPE, [], search.Goal(2, ["widht=1..2"]), None, Options())


@pytest.mark.parametrize(
    ("settings", "space", "message"),
    [
        (["steps=3", "eval_every=3"], f"{RATE}=0.1..0.2", "needs evaluations before the last step.*--set=eval_every=1"),
        ([], "steps=10..20", "compares trials at equal steps, but the space changes .* from .4, 10. to .7, 20."),
    ],
)
def test_a_pruner_refuses_trials_that_it_cannot_compare(tmp_path, machine, settings, space, message):
    with pytest.raises(UserError, match=message):
        search.run(RECIPE, settings, search.Goal(2, [space], pruner="asha"), str(tmp_path), Options())


def test_workers_of_a_cluster_are_launched(tmp_path, machine):
    goal = search.Goal(20, [f"{RATE}=0.0..0.9"], pruner="asha")
    output, runs = tmp_path / "k8s.json", tmp_path / "runs"
    options = Options(slots=3, output=str(output), more={"image": "lab/jaxdl:1", "gpus": "2"})
    search.run(RECIPE, ["steps=9"], goal, str(runs), options, "kubernetes")
    spec = json.loads(output.read_text())["spec"]
    assert (spec["completions"], spec["parallelism"]) == (3, 3)
    script = spec["template"]["spec"]["containers"][0]["command"][2]
    script = script.replace("exec python launch.py", 'echo "$JAXDL_WORKER"')
    process = subprocess.run(["sh", "-c", script], env={"JOB_COMPLETION_INDEX": "1"}, capture_output=True, text=True)
    assert process.stdout == (
        f"sweep-1 sweep --config={RECIPE} --set=steps=9 --space={RATE}=0.0..0.9 --pruner=asha --trials=20"
        f" --workdir={runs} --slots=2 --retries=1\n"
    )
    for launcher, more, message in (
        ("tpu", {}, "a search runs with --launcher=local, slurm or kubernetes"),
        ("kubernetes", {"image": "i", "processes": "2"}, "the trials of a search are runs of one process"),
    ):
        with pytest.raises(UserError, match=message):
            search.run(RECIPE, [], goal, str(runs), Options(output=str(output), more=more), launcher)


def test_a_worker_of_a_cluster_ends_without_waiting_for_others(tmp_path, machine, monkeypatch, capsys):
    def first(queue, *arguments):
        job = queue.next()
        monkeypatch.setattr(search, "work", machine)
        monkeypatch.setenv("JAXDL_WORKER", "7_1")
        run_search(tmp_path, 3)  # by a worker
        assert len(machine.folders) == 2
        monkeypatch.delenv("JAXDL_WORKER")
        queue.ended(job, machine.train(queue, job))
        assert queue.next() is None

    monkeypatch.setattr(search, "work", first)
    run_search(tmp_path, 3)
    assert capsys.readouterr().out.count("best of 3: ") == 1


def launch(command: str, *arguments: str) -> subprocess.Popen:
    line = [sys.executable, "launch.py", command, f"--config={RECIPE}", *arguments]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_a_killed_search_resumes_its_trial_and_a_pruned_run_is_trained_to_the_end_by_hand(tmp_path, machine, capsys):
    """After five trials of a fake machine that are better than possible, the median pruner stops any real one."""
    settings, space = ["steps=60", "pause=0.05"], f"{RATE}=0.0..0.9"
    machine.best = 3.0
    search.run(RECIPE, settings, search.Goal(5, [space], pruner="median"), str(tmp_path), Options(slots=1))
    known = set(tmp_path.glob("survivor-*"))
    flags = ["--trials=6", f"--space={space}", "--pruner=median", "--slots=1", f"--workdir={tmp_path}"]
    flags += [f"--set={setting}" for setting in settings]
    killed = launch("sweep", *flags)
    while not (started := [path for path in tmp_path.glob("survivor-*/metrics.jsonl") if path.parent not in known]):
        time.sleep(0.05)
        assert killed.poll() is None
    killed.kill()
    killed.communicate(timeout=60)
    output = launch("sweep", *flags).communicate(timeout=120)[0]
    folder = started[0].parent
    assert f"pruned at step 20  {folder}" in output
    assert "failed" not in output  # the signal is sent until the process has ended
    assert "best of 6: " in output
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["attempts"][-1]["exit"] == 76
    assert len(manifest["attempts"]) > 1
    assert not (folder / "result.json").exists()
    smoothing = next(line for line in output.splitlines() if "pruned at" in line).split(f"{RATE}=")[1].split(":")[0]
    chosen = [f"--set={setting}" for setting in (*settings, f"{RATE}={smoothing}")]
    by_hand = launch("train", *chosen, f"--workdir={folder}")
    by_hand.communicate(timeout=60)
    assert by_hand.returncode == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 61))
