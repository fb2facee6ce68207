"""Sweeps on a real SLURM of this machine: what is stopped, cancelled, requeued or loses its node ends all the same."""

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
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing()),
    pytest.mark.xdist_group("slurm"),  # one cluster at a time
]

# In a process of its own: submitit configures logging anew, which closes what pytest has open.
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
    """What is said when the jobs are submitted."""
    given = json.dumps([[[each.name, list(each.command), str(each.folder)] for each in jobs], options])
    command = [sys.executable, "-c", SUBMIT, given]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_slurm_makes_each_run_requeues_what_was_stopped_and_takes_none_twice(tmp_path_factory):
    root = tmp_path_factory.mktemp("slurm")
    with slurm_cluster.cluster(root) as cluster:
        environment = cluster.environment
        codes = {"good": [0], "stopped": [75, 75, 0], "again": [1, 0], "bad": [1], "mistake": [2]}
        jobs = [job(root, name, each) for name, each in codes.items()]
        options = {"slots": 2, "retries": 1, "more": {"cpus": "1"}}
        assert "job 1_4" in submit(environment, jobs, **options)
        assert submit(environment, jobs, **options) == "5 run(s) already queued\n"
        deadline = time.monotonic() + 90
        while cluster.queue():
            assert time.monotonic() < deadline
            time.sleep(0.5)
        made = {name: len((root / "counts" / name).read_text()) for name in codes}
        assert made == {"good": 1, "stopped": 3, "again": 2, "bad": 2, "mistake": 1}
        assert (root / "sweep" / "stopped" / "run.log").read_text() == "run 0\nrun 1\nrun 2\n"
        other = [job(root, "other", [0])]
        assert "SLURM refused the jobs" in submit(environment, other, more={"partition": "none"})
    assert "squeue failed" in submit(environment, other)


SEEDS = 6
FLAGS = [f"--grid=seed=0..{SEEDS - 1}", "--set=steps=200", "--set=log_every=5", "--set=save_every=20"]


def sweep(environment: dict[str, str], folder: Path, *flags: str) -> str:
    """What `launch.py sweep` says of six runs in a folder."""
    command = [sys.executable, "launch.py", "sweep", "--config=tests/survivor.py", f"--workdir={folder}"]
    environment = {**environment, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([*command, *FLAGS, *flags], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def digests(folder: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["state_digest"] for path in folder.glob("*/result.json")}


def wait(until, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_sweep_ends_with_the_digests_of_a_local_one_whatever_happens(tmp_path_factory):
    root = tmp_path_factory.mktemp("slurm")
    there, here = root / "there", root / "here"
    with slurm_cluster.cluster(root) as cluster:
        slurm = ("--launcher=slurm", "--slots=2", "--launch=cpus=1")
        assert f"{SEEDS} run(s): {SEEDS} new" in sweep(cluster.environment, there, *slurm)

        def running(count: int, beyond: int = 0) -> list[str]:
            """The jobs that run, once there are so many, and as many runs have made more lines than `beyond`."""

            def lines() -> list[int]:
                return [path.read_bytes().count(b"\n") for path in there.glob("*/metrics.jsonl")]

            wait(lambda: [*cluster.queue().values()].count("RUNNING") == count and sum(lines()) > beyond)
            return [name for name, state in cluster.queue().items() if state == "RUNNING"]

        cancelled = running(2, beyond=8)[0]
        cluster.run("scancel", cancelled)
        wait(lambda: cancelled not in cluster.queue())
        output = sweep(cluster.environment, there, *slurm)
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
    sweep({**os.environ}, here, "--slots=2")
    assert len(digests(here)) == SEEDS
    assert digests(there) == digests(here)


def test_a_run_of_two_processes(tmp_path_factory):
    root = tmp_path_factory.mktemp("slurm")
    port = slurm_cluster.free_ports(1)[0]
    with slurm_cluster.cluster(root) as cluster:
        own = {
            "JAX_COORDINATOR_PORT": str(port),
            "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
            "JAX_PLATFORMS": "cpu",
        }
        environment = {**cluster.environment, **own}
        command = [sys.executable, "launch.py", "--config=tests/survivor.py", "--set=steps=10"]
        run = Job("one", [*command, f"--workdir={root / 'run'}"], root / "run", steps=10)
        submit(environment, [run], more={"cpus": "1", "processes": "2"})
        wait(lambda: not cluster.queue())
    assert json.loads((root / "run" / "result.json").read_text())["step"] == 10
    manifest = json.loads((root / "run" / "manifest.json").read_text())
    assert (manifest["devices"]["processes"], manifest["devices"]["count"]) == (2, 2)
    assert (root / "run" / "run.1.log").exists()
