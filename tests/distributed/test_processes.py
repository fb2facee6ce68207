"""Multi-process runs: equal results, and a common end if a process is killed or preempted.

The processes run on this machine and use 127.0.0.1.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from slurm_cluster import free_ports
from survivors import ROOT, lines, newest_step, result
from two_processes import SAME_ROWS, measured

from jaxdl.distributed.processes import Place, initialize
from jaxdl.errors import UserError
from jaxdl.runs import profiles

FAMILIES = (
    "experiments/cnn/digits.py",
    "experiments/rnn/austen_chars.py",
    "experiments/autoencoder/fashion_vae.py",
    "experiments/gan/fashion_dcgan.py",
    "experiments/diffusion/fashion_ddpm.py",
    "experiments/transformer/austen_gpt.py",
)
LOST = "lost: another process of this run ended or does not respond"


def measured_by_two(*arguments: str) -> dict[str, dict]:
    """Measures recipes with two processes of four devices, {recipe: ...}."""
    port, environment = str(free_ports(1)[0]), {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "tests/two_processes.py", "2"]
    options = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen([*command, str(n), port, "4", *arguments], **options) for n in range(2)]
    outputs = [process.communicate(timeout=500)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs[0][-3000:] + outputs[1][-3000:]
    lines = [line.removeprefix("MEASURED") for line in outputs[0].splitlines() if line.startswith("MEASURED")]
    return {recipe: measurements for line in lines for recipe, measurements in json.loads(line).items()}


def law_processes(two_processes: dict, one_process: dict) -> None:
    """Checks that two processes of four devices equal one of eight: losses to 1e-5."""
    np.testing.assert_allclose(two_processes["losses"], one_process["losses"], rtol=1e-5, atol=1e-5)
    assert two_processes["evaluations"].keys() == one_process["evaluations"].keys()
    pairs = [[*measurements["evaluations"].values()] for measurements in (two_processes, one_process)]
    np.testing.assert_allclose(*pairs, rtol=1e-3, atol=1e-4)


@pytest.mark.xdist_group("processes")
def test_two_processes_of_four_devices_equal_one_of_eight():
    recipe, mutated = FAMILIES[0], SAME_ROWS + FAMILIES[0]
    two_processes, one_process = measured_by_two(recipe, mutated), measured(recipe)
    law_processes(two_processes[recipe], one_process)
    with pytest.raises(AssertionError):  # processes with equal rows are detected
        law_processes(two_processes[mutated], one_process)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_two_processes_equal_one_in_the_other_families():
    two_processes = measured_by_two(*FAMILIES[1:])
    for recipe in FAMILIES[1:]:
        law_processes(two_processes[recipe], measured(recipe))


class Launched:
    """`launch.py` on survivor.py in several processes, each with a watchdog process."""

    def __init__(self, workdir: Path, *flags: str, count: int = 2, devices: int = 2):
        self.workdir = workdir
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        coordinator = f"--coordinator=127.0.0.1:{free_ports(1)[0]}"
        common = ["--config=tests/survivor.py", f"--workdir={workdir}", "--set=pause=0.03", "--set=steps=30"]
        common += [f"--processes={count}", coordinator, "--heartbeat=10", f"--cpu_devices={devices}", *flags]
        options = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.processes = [
            subprocess.Popen([sys.executable, "launch.py", *common, f"--process={number}"], text=True, **options)
            for number in range(count)
        ]

    def at(self, step: int) -> "Launched":
        while newest_step(self.workdir) < step and all(process.poll() is None for process in self.processes):
            time.sleep(0.005)
        return self

    def saved(self, step: int) -> "Launched":
        """Waits for a checkpoint of that step or a later one."""
        folder = self.workdir / "checkpoints"
        while not any(path.name.isdecimal() and int(path.name) >= step for path in folder.glob("*")):
            time.sleep(0.005)
        return self

    def inner(self, number: int) -> int:
        """Returns the id of the training process."""
        parent = self.processes[number].pid
        return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])

    def ended(self) -> tuple[list[int], list[str]]:
        outputs = [process.communicate(timeout=200)[0] for process in self.processes]
        return [process.returncode for process in self.processes], outputs


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_together_and_a_relaunch_resumes(tmp_path):
    single, workdir, copy = tmp_path / "alone", tmp_path / "run", tmp_path / "other"
    codes, outputs = Launched(single, "--profile=11..12").ended()
    assert codes == [0, 0], outputs
    summaries = profiles.read(single)
    assert [(one["first_step"], one["last_step"], one["devices"]) for one in summaries.values()] == [(11, 12, 2)] * 2
    assert all(one["shares"]["collectives"] > 0 for one in summaries.values())
    assert all(sum(one["shares"].values()) == pytest.approx(1) for one in summaries.values())
    assert "process 1" in profiles.describe(summaries)

    launched = Launched(workdir).at(1)  # the first checkpoint is saved at step 5
    os.kill(launched.inner(1), signal.SIGKILL)
    codes, outputs = launched.ended()
    assert codes == [1, 1], outputs  # a process that always fails is not restarted
    assert all("no checkpoint was saved since the start" in output.splitlines()[-1] for output in outputs), outputs

    launched = Launched(workdir).at(7).saved(5)
    os.kill(launched.inner(0), signal.SIGKILL)
    codes, outputs = launched.ended()
    assert codes == [75, 75], outputs
    assert "killed: this process of the run received SIGKILL; the last checkpoint is kept" in outputs[0]
    assert LOST in outputs[1].splitlines()[-1]
    assert "Python stacks in" in outputs[1].splitlines()[-1]
    stacks = [path.read_text() for path in (workdir / "hangs").glob("*_process_1.txt")]
    assert any(text.startswith("process 1     step ") and "in train" in text for text in stacks)

    launched = Launched(workdir).at(12).saved(10)
    stopped = launched.inner(1)
    os.kill(stopped, signal.SIGSTOP)
    assert launched.processes[0].wait(timeout=100) == 75
    os.kill(stopped, signal.SIGCONT)
    codes, outputs = launched.ended()
    assert codes == [75, 75], outputs
    assert all(LOST in output.splitlines()[-1] for output in outputs), outputs

    launched = Launched(workdir).at(17)
    launched.processes[1].kill()  # the watchdog: its process receives SIGTERM, and both save the state
    codes, outputs = launched.ended()
    assert codes == [75, -signal.SIGKILL], outputs
    assert all("stopped: SIGTERM after step" in output for output in outputs), outputs
    shutil.copytree(workdir, copy)

    codes, outputs = Launched(workdir).ended()
    assert codes == [0, 0], outputs
    assert result(workdir)["state_digest"] == result(single)["state_digest"]
    assert lines(workdir) == lines(single)

    codes, outputs = Launched(copy, count=1, devices=4).ended()  # resumes with another number of processes
    assert codes == [0], outputs
    assert "resuming from step" in outputs[0]
    losses, single_losses = ([row["loss"] for row in lines(output)] for output in (copy, single))
    np.testing.assert_allclose(losses, single_losses, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (Place(count=2), "--processes, --process and --coordinator=HOST:PORT require each other"),
        (Place(2, 2, "127.0.0.1:9000"), "--process=2 of --processes=2: must be from 0 to 1"),
        (Place(2, 0, "somewhere"), "--coordinator=somewhere: write HOST:PORT"),
        (Place(2, 0, "host:99999"), "--coordinator=host:99999: write HOST:PORT"),
    ],
)
def test_invalid_places_are_refused(place, message):
    with pytest.raises(UserError, match=message):
        initialize(place)


def test_an_error_of_all_processes_is_printed_once_with_exit_code_2():
    command = [sys.executable, "launch.py", "--config=tests/survivor.py", "--processes=2", "--process=5"]
    process = subprocess.run([*command, "--coordinator=127.0.0.1:9"], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr == "error: --process=5 of --processes=2: must be from 0 to 1\n"


def test_a_single_process_does_not_initialize_a_cluster():
    assert not Place().several
    assert not Place(count=1).several
    assert Place(2, 0, "127.0.0.1:9000").several
    initialize(Place(count=1))
