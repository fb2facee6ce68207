"""kill -9 at random steps, and signals, on real processes of launch.py."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from survivors import launch, lines, newest_step, result, wait_for_step

from jaxdl.runs.tracked import state_of
from jaxdl.trackers.wandb import stored_steps

KILLS = int(os.environ.get("JAXDL_TEST_KILLS", "2"))
STEPS = 36
SPARE = 16  # steps after the last signal; few are prefetched, so a late signal still arrives before the end
LENGTH = f"--set=steps={STEPS}"
SLOWLY = "--set=pause=0.2"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """Workdir of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("kill") / "alone"
    process = launch(workdir, LENGTH)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return workdir


def test_a_run_that_is_killed_and_stopped_equals_an_uninterrupted_one(uninterrupted, tmp_path):
    workdir, chance = tmp_path / "killed", random.Random(0)
    for number, signal_number in enumerate([*[signal.SIGKILL] * KILLS, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]):
        step = 1 + (number * (STEPS - SPARE)) // (KILLS + 3) + chance.randrange(5)
        step = max(step, newest_step(workdir) + 1)  # earlier rows are of the last process
        process = launch(workdir, LENGTH, SLOWLY)
        wait_for_step(process, workdir, step)
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal_number)
        output, _ = process.communicate(timeout=120)
        assert not (workdir / "result.json").exists(), "the signal came too late to test anything"
        if signal_number != signal.SIGKILL:
            code = 76 if signal_number == signal.SIGUSR1 else 75  # of a search that prunes the trial
            assert process.returncode == code, output
            assert f"stopped: {signal_number.name} after step" in output
            assert json.loads((workdir / "manifest.json").read_text())["attempts"][-1]["exit"] == code
    process = launch(workdir, LENGTH, SLOWLY)
    assert process.stdout is not None
    assert any("resuming from step" in line for line in process.stdout)
    process.stdout.close()  # the reader of a run's output may end before the run
    assert process.wait(timeout=300) == 0
    assert result(workdir)["state_digest"] == result(uninterrupted)["state_digest"]
    assert result(workdir)["metrics"] == result(uninterrupted)["metrics"]
    assert lines(workdir) == lines(uninterrupted)


@pytest.mark.slow
def test_a_tracker_has_each_step_of_a_killed_run_once(uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    workdir, flags = tmp_path / "tracked", (LENGTH, SLOWLY, "--tracker=wandb")
    process = launch(workdir, *flags)
    wait_for_step(process, workdir, 17)
    while not state_of(workdir, "wandb")["id"] and process.poll() is None:  # the tracker starts in another thread
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=120)
    assert not (workdir / "result.json").exists(), "the signal came too late to test anything"
    before = state_of(workdir, "wandb")
    assert before["id"]
    process = launch(workdir, *flags)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "warning: --tracker" not in output
    assert result(workdir)["state_digest"] == result(uninterrupted)["state_digest"]
    assert state_of(workdir, "wandb") == {**before, "step": STEPS, "finished": True}
    assert stored_steps(workdir / "tracker", before["id"]) == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_a_failed_save_keeps_earlier_checkpoints(tmp_path):
    workdir, flags = tmp_path / "full", ("--set=steps=10", "--set=task.model.channels=(32, 64)")
    process = launch(workdir, *flags)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    final_result = result(workdir)
    (workdir / "result.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "10")
    process = launch(workdir, *flags, largest_file=150_000)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert "error: cannot write the checkpoint of step 10" in output
    assert "File too large; raise the limit of file sizes (ulimit -f) and run again" in output
    assert "the checkpoint of step 5 is intact" in output
    assert "Traceback" not in output
    process = launch(workdir, *flags)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert result(workdir)["state_digest"] == final_result["state_digest"]
