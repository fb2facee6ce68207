"""Sweeps on a local SLURM cluster: stopped, cancelled and requeued jobs, and lost nodes."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slurm_cluster
from counted_jobs import ROOT, job

from jaxdl.launchers import Job

pytestmark = [
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing()),
    pytest.mark.xdist_group("slurm"),  # one cluster at a time
]

# In a separate process: submitit reconfigures logging and closes the streams of pytest.
SUBMIT = """
import json, sys
from pathlib import Path
from jaxdl.errors import UserError
from jaxdl.launchers import Job, Options, slurm
jobs, options = json.loads(sys.argv[1])
try:
    slurm.launch([Job(name, command, Path(folder), 1) for name, command, folder in jobs], Options(**options))
except UserError as error:
    print(error)
"""


def submit(environment: dict[str, str], jobs: list[Job], **options) -> str:
    """Submits jobs and returns the printed output."""
    arguments = json.dumps([[[entry.name, list(entry.command), str(entry.folder)] for entry in jobs], options])
    command = [sys.executable, "-c", SUBMIT, arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_slurm_requeues_stopped_runs_and_does_not_submit_twice(tmp_path_factory):
    root = tmp_path_factory.mktemp("slurm")
    with slurm_cluster.cluster(root) as cluster:
        environment = cluster.environment
        codes = {"good": [0], "stopped": [75, 75, 0], "again": [1, 0], "bad": [1], "mistake": [2]}
        jobs = [job(root, name, exit_codes) for name, exit_codes in codes.items()]
        options = {"slots": 2, "retries": 1, "more": {"cpus": "1"}}
        assert "job 1_4" in submit(environment, jobs, **options)
        assert submit(environment, jobs, **options) == "5 run(s) already queued\n"
        deadline = time.monotonic() + 90
        while cluster.queue():
            assert time.monotonic() < deadline
            time.sleep(0.5)
        counts = {name: len((root / "counts" / name).read_text()) for name in codes}
        assert counts == {"good": 1, "stopped": 3, "again": 2, "bad": 2, "mistake": 1}
        assert (root / "sweep" / "stopped" / "run.log").read_text() == "run 0\nrun 1\nrun 2\n"
        other_jobs = [job(root, "other", [0])]
        assert "SLURM refused the jobs" in submit(environment, other_jobs, more={"partition": "none"})
    assert "squeue failed" in submit(environment, other_jobs)


SEEDS = 4
FLAGS = [f"--grid=seed=0..{SEEDS - 1}", "--set=steps=200", "--set=log_every=5", "--set=save_every=20"]


def sweep(environment: dict[str, str], folder: Path, *flags: str) -> str:
    """Runs `launch.py sweep` with `SEEDS` runs in a folder and returns its output."""
    command = [sys.executable, "launch.py", "sweep", "--config=tests/survivor.py", f"--workdir={folder}"]
    environment = {**environment, "JAX_PLATFORMS": "cpu"}
    process = subprocess.run([*command, *FLAGS, *flags], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def digests(folder: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["state_digest"] for path in folder.glob("*/result.json")}


def wait(until, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_disrupted_sweep_has_the_digests_of_a_local_one(tmp_path_factory):
    root = tmp_path_factory.mktemp("slurm")
    remote, local = root / "there", root / "here"
    with slurm_cluster.cluster(root) as cluster:
        slurm = ("--launcher=slurm", "--slots=2", "--launch=cpus=1")
        assert f"{SEEDS} run(s): {SEEDS} new" in sweep(cluster.environment, remote, *slurm)

        def running(count: int, beyond: int = 0) -> list[str]:
            """Returns the running jobs, once `count` run and metrics have more than `beyond` lines."""

            def lines() -> list[int]:
                return [path.read_bytes().count(b"\n") for path in remote.glob("*/metrics.jsonl")]

            wait(lambda: [*cluster.queue().values()].count("RUNNING") == count and sum(lines()) > beyond)
            return [name for name, state in cluster.queue().items() if state == "RUNNING"]

        cancelled = running(2, beyond=8)[0]
        cluster.run("scancel", cancelled)
        wait(lambda: cancelled not in cluster.queue())
        output = sweep(cluster.environment, remote, *slurm)
        queued = re.search(r"(\d+) run\(s\) already queued", output)
        assert queued, output
        assert int(queued[1]) + output.count(" finished ") == SEEDS - 1, output
        cluster.run("scontrol", "requeue", running(2)[-1])
        running(2, beyond=40)
        cluster.kill("slurmd")
        cluster.run("scontrol", "update", "nodename=localhost", "state=down", "reason=test")
        assert set(cluster.queue().values()) == {"PENDING"}
        cluster.start("slurmd")
        cluster.run("scontrol", "update", "nodename=localhost", "state=resume")
        wait(lambda: not cluster.queue(), 240)
    sweep({**os.environ}, local, "--slots=2")
    assert len(digests(local)) == SEEDS
    assert digests(remote) == digests(local)


def test_slurm_run_of_two_processes(tmp_path_factory):
    root = tmp_path_factory.mktemp("slurm")
    port = slurm_cluster.free_ports(1)[0]
    with slurm_cluster.cluster(root) as cluster:
        variables = {
            "JAX_COORDINATOR_PORT": str(port),
            "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
            "JAX_PLATFORMS": "cpu",
        }
        environment = {**cluster.environment, **variables}
        command = [sys.executable, "launch.py", "--config=tests/survivor.py", "--set=steps=10"]
        run = Job("one", [*command, f"--workdir={root / 'run'}"], root / "run", steps=10)
        submit(environment, [run], more={"cpus": "1", "processes": "2"})
        wait(lambda: not cluster.queue())
    assert json.loads((root / "run" / "result.json").read_text())["step"] == 10
    manifest = json.loads((root / "run" / "manifest.json").read_text())
    assert (manifest["devices"]["processes"], manifest["devices"]["count"]) == (2, 2)
    assert (root / "run" / "run.1.log").exists()


@pytest.mark.slow
def test_the_tasks_of_a_search_share_its_trials_and_survive_a_requeue(tmp_path_factory):
    root = tmp_path_factory.mktemp("slurm")
    space = ["--trials=4", "--space=task.label_smoothing=0.0..0.9", f"--workdir={root / 'runs'}", "--set=steps=90"]
    command = [sys.executable, "launch.py", "sweep", "--config=tests/survivor.py", *space]
    with slurm_cluster.cluster(root) as cluster:
        environment = {**cluster.environment, "JAX_PLATFORMS": "cpu"}

        def search(*flags: str) -> str:
            line = [*command, *flags]
            process = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
            assert process.returncode == 0, process.stdout + process.stderr
            return process.stdout

        slurm = ("--launcher=slurm", "--slots=2", "--launch=cpus=1")
        assert "worker 1  job " in search(*slurm)
        assert "2 run(s) already queued" in search(*slurm)
        wait(lambda: any(path.stat().st_size for path in (root / "runs").glob("*/metrics.jsonl")))
        running = [name for name, state in cluster.queue().items() if state == "RUNNING"]
        cluster.run("scontrol", "requeue", running[0])
        wait(lambda: not cluster.queue(), 240)
        output = search()
    assert "best of 4: " in output
    assert "started" not in output  # all trials were trained by the workers
    assert len(digests(root / "runs")) == 4
