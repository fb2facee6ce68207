"""Runs over several processes: they equal one process, and one that is killed, stopped or preempted takes all along.

Processes of this machine, which meet on 127.0.0.1.
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

pytestmark = pytest.mark.slow

FAMILIES = (
    "experiments/cnn/digits.py",
    "experiments/rnn/austen_chars.py",
    "experiments/autoencoder/fashion_vae.py",
    "experiments/gan/fashion_dcgan.py",
    "experiments/diffusion/fashion_ddpm.py",
    "experiments/transformer/austen_gpt.py",
)
LOST = "lost: another process of this run ended or does not respond"


def by_two(*arguments: str) -> dict[str, dict]:
    """What two processes of four devices measure, {recipe: ...}."""
    port, environment = str(free_ports(1)[0]), {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "tests/two_processes.py", "2"]
    options = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen([*command, str(n), port, "4", *arguments], **options) for n in range(2)]
    told = [process.communicate(timeout=500)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told[0][-3000:] + told[1][-3000:]
    lines = [line.removeprefix("MEASURED") for line in told[0].splitlines() if line.startswith("MEASURED")]
    return {recipe: found for line in lines for recipe, found in json.loads(line).items()}


def law_processes(found: dict, alone: dict) -> None:
    """Two processes of four devices equal one of eight: losses to 1e-5."""
    np.testing.assert_allclose(found["losses"], alone["losses"], rtol=1e-5, atol=1e-5)
    assert found["evaluations"].keys() == alone["evaluations"].keys()
    pairs = [[*each["evaluations"].values()] for each in (found, alone)]
    np.testing.assert_allclose(*pairs, rtol=1e-3, atol=1e-4)


@pytest.mark.xdist_group("processes")
def test_two_processes_of_four_devices_equal_one_of_eight():
    mutated = SAME_ROWS + FAMILIES[0]
    found = by_two(*FAMILIES, mutated)
    assert found.keys() == {*FAMILIES, mutated}
    alone = {recipe: measured(recipe) for recipe in FAMILIES}
    for recipe in FAMILIES:
        law_processes(found[recipe], alone[recipe])
    with pytest.raises(AssertionError):  # processes that make the same rows are noticed
        law_processes(found[mutated], alone[FAMILIES[0]])


class Launched:
    """launch.py on survivor.py in several processes, beside each of which the one is that was started here."""

    def __init__(self, workdir: Path, count: int = 2, devices: int = 4):
        self.workdir = workdir
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        coordinator = f"--coordinator=127.0.0.1:{free_ports(1)[0]}"
        common = ["--config=tests/survivor.py", f"--workdir={workdir}", coordinator, "--heartbeat=10"]
        common += [f"--processes={count}", f"--cpu_devices={devices}"]
        options = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.processes = [
            subprocess.Popen([sys.executable, "launch.py", *common, f"--process={number}"], text=True, **options)
            for number in range(count)
        ]

    def at(self, step: int) -> "Launched":
        while newest_step(self.workdir) < step and all(each.poll() is None for each in self.processes):
            time.sleep(0.005)
        return self

    def saved(self, step: int) -> "Launched":
        """Once there is a checkpoint of that step or a later one."""
        folder = self.workdir / "checkpoints"
        while not any(each.name.isdecimal() and int(each.name) >= step for each in folder.glob("*")):
            time.sleep(0.005)
        return self

    def inner(self, number: int) -> int:
        """The process that trains."""
        parent = self.processes[number].pid
        return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])

    def ended(self) -> tuple[list[int], list[str]]:
        told = [process.communicate(timeout=200)[0] for process in self.processes]
        return [process.returncode for process in self.processes], told


@pytest.mark.xdist_group("processes")
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_whatever_happens_to_one_process_ends_all_and_a_relaunch_goes_on(tmp_path):
    alone, workdir, other = tmp_path / "alone", tmp_path / "run", tmp_path / "other"
    codes, told = Launched(alone).ended()
    assert codes == [0, 0], told

    for number, step in ((1, 7), (0, 17)):  # kill -9 of either
        launched = Launched(workdir).at(step).saved(step - 2)
        os.kill(launched.inner(number), signal.SIGKILL)
        codes, told = launched.ended()
        assert codes == [75, 75], told
        assert "killed: this process of the run received SIGKILL; the last checkpoint is kept" in told[number]
        assert LOST in told[1 - number].splitlines()[-1]

    launched = Launched(workdir).at(26)
    os.kill(launched.inner(1), signal.SIGTERM)
    codes, told = launched.ended()
    assert codes == [75, 75], told
    assert all("stopped: SIGTERM after step" in each for each in told), told
    shutil.copytree(workdir, other)

    launched = Launched(workdir).at(37).saved(35)
    stopped = launched.inner(1)
    os.kill(stopped, signal.SIGSTOP)
    assert launched.processes[0].wait(timeout=100) == 75
    os.kill(stopped, signal.SIGCONT)
    codes, told = launched.ended()
    assert codes == [75, 75], told
    assert all(LOST in each.splitlines()[-1] for each in told), told

    launched = Launched(workdir).at(46)
    launched.processes[1].kill()  # the one that watches: the other one saves its state
    codes, told = launched.ended()
    assert codes == [75, -signal.SIGKILL], told
    assert "stopped: SIGTERM after step" in told[0]

    codes, told = Launched(workdir).ended()
    assert codes == [0, 0], told
    assert result(workdir)["state_digest"] == result(alone)["state_digest"]
    assert lines(workdir) == lines(alone)

    codes, told = Launched(other, count=1, devices=8).ended()  # goes on in another number of processes
    assert codes == [0], told
    assert "resuming from step" in told[0]
    mine, theirs = ([row["loss"] for row in lines(each)] for each in (other, alone))
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.xdist_group("processes")
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_process_that_only_ever_fails_is_not_begun_again_for_ever(tmp_path):
    launched = Launched(tmp_path / "run").at(1)  # nothing is saved before step 5
    os.kill(launched.inner(1), signal.SIGKILL)
    codes, told = launched.ended()
    assert codes == [1, 1], told
    assert all("no checkpoint was saved since the start" in each.splitlines()[-1] for each in told), told


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (Place(count=2), "--processes, --process and --coordinator=HOST:PORT require each other"),
        (Place(2, 2, "127.0.0.1:9000"), "--process=2 of --processes=2: must be from 0 to 1"),
        (Place(2, 0, "somewhere"), "--coordinator=somewhere: write HOST:PORT"),
    ],
)
def test_mistakes(place, message):
    with pytest.raises(UserError, match=message):
        initialize(place)


def test_a_mistake_in_each_process_is_told_once_and_ends_with_2():
    command = [sys.executable, "launch.py", "--config=tests/survivor.py", "--processes=2", "--process=5"]
    done = subprocess.run([*command, "--coordinator=127.0.0.1:9"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: --process=5 of --processes=2: must be from 0 to 1\n"


def test_one_process_needs_no_other():
    assert not Place().several
    assert not Place(count=1).several
    assert Place(2, 0, "127.0.0.1:9000").several
    initialize(Place(count=1))
