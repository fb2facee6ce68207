"""kill -9 at random steps, and signals, on real processes of launch.py."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from survivors import launch, lines, result, wait_for_step

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("JAXDL_TEST_KILLS", "3"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """Workdir of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("kill") / "alone"
    process = launch(workdir)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return workdir


def test_kill_at_random_moments(uninterrupted, tmp_path):
    workdir, chance = tmp_path / "killed", random.Random(0)
    for number in range(KILLS):
        process = launch(workdir)
        wait_for_step(process, workdir, 1 + (number * 55) // KILLS + chance.randrange(5))
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (workdir / "result.json").exists(), "the kill came too late to test anything"
    process = launch(workdir)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # the reader of a run's output may end before the run
    assert process.wait(timeout=300) == 0
    assert result(workdir)["state_digest"] == result(uninterrupted)["state_digest"]
    assert result(workdir)["metrics"] == result(uninterrupted)["metrics"]
    assert lines(workdir) == lines(uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_exits_with_75(uninterrupted, tmp_path, number):
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
    assert "resuming from step" in output
    assert result(workdir)["state_digest"] == result(uninterrupted)["state_digest"]
    assert lines(workdir) == lines(uninterrupted)


def test_a_failed_save_keeps_earlier_checkpoints(tmp_path):
    workdir, flags = tmp_path / "full", ("--set=steps=20", "--set=task.model.channels=(32, 64)")
    process = launch(workdir, *flags)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    final_result = result(workdir)
    (workdir / "result.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "20")
    process = launch(workdir, *flags, largest_file=150_000)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert "error: cannot write the checkpoint of step 20" in output
    assert "File too large; raise the limit of file sizes (ulimit -f) and run again" in output
    assert "the checkpoint of step 15 is intact" in output
    assert "Traceback" not in output
    process = launch(workdir, *flags)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert result(workdir)["state_digest"] == final_result["state_digest"]
