"""kill -9 at random moments, and signals, to real processes of launch.py."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KILLS = int(os.environ.get("JAXDL_TEST_KILLS", "3"))
CLOCKED = {"step_time", "data_wait", "data_wait_share", "examples_per_second", "useful_seconds", "mfu"}


def launch(workdir: Path, *flags: str, largest_file: int | None = None) -> subprocess.Popen:
    """launch.py on survivor.py in a process of its own, which can write no file larger than `largest_file` bytes."""

    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "launch.py", "--config=tests/survivor.py", f"--workdir={workdir}", *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if largest_file is not None:  # it takes seconds to come to its first file
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (largest_file, largest_file))
    return process


def newest_step(workdir: Path) -> int:
    """The step of the last whole line of metrics.jsonl, 0 before the first."""
    path = workdir / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def wait_for_step(process: subprocess.Popen, workdir: Path, step: int) -> None:
    while newest_step(workdir) < step and process.poll() is None:
        time.sleep(0.002)


def lines(workdir: Path) -> list[dict]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in CLOCKED} for row in rows]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """A run that nobody disturbs."""
    workdir = tmp_path_factory.mktemp("kill") / "alone"
    process = launch(workdir)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return workdir


def result(workdir: Path) -> dict:
    return json.loads((workdir / "result.json").read_text())


def test_kill_at_random_moments(alone, tmp_path):
    workdir, chance = tmp_path / "killed", random.Random(0)
    for number in range(KILLS):
        process = launch(workdir)
        wait_for_step(process, workdir, 1 + (number * 55) // KILLS + chance.randrange(5))
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (workdir / "result.json").exists(), "the kill came too late to test anything"
    process = launch(workdir)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert result(workdir)["state_digest"] == result(alone)["state_digest"]
    assert result(workdir)["metrics"] == result(alone)["metrics"]
    assert lines(workdir) == lines(alone)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_with_75(alone, tmp_path, number):
    workdir = tmp_path / "stopped"
    process = launch(workdir)
    wait_for_step(process, workdir, 13)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert f"stopped: {number.name} after step" in output
    manifest = json.loads((workdir / "manifest.json").read_text())
    assert manifest["attempts"][-1]["exit"] == 75
    process = launch(workdir)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "going on from step" in output
    assert result(workdir)["state_digest"] == result(alone)["state_digest"]
    assert lines(workdir) == lines(alone)


def test_a_checkpoint_that_cannot_be_written_loses_no_earlier_one(tmp_path):
    workdir, flags = tmp_path / "full", ("--set=steps=20", "--set=task.model.channels=(32, 64)")
    process = launch(workdir, *flags)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    whole = result(workdir)
    (workdir / "result.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "20")
    process = launch(workdir, *flags, largest_file=150_000)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert "error: could not write" in output
    assert "step 15 is intact" in output
    process = launch(workdir, *flags)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert result(workdir)["state_digest"] == whole["state_digest"]
