"""Runs as processes of this machine, which share its cores and GPUs out among them."""

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxdl.distributed.watchdog import PARENT
from jaxdl.errors import Failed, UserError
from jaxdl.launchers import Job, Options
from jaxdl.launchers.table import Table
from jaxdl.training.interrupt import Preempted, interruptible

_MOST = 8  # slots by default on a machine without GPUs: each run has its own memory
_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Slot:
    """What one of the runs that go on at the same time has for itself: cores, and variables of the environment."""

    cores: frozenset[int]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Running:
    job: Job
    slot: Slot
    process: subprocess.Popen
    tries: int


def launch(jobs: Sequence[Job], options: Options) -> None:
    """Makes the runs, some at a time; what each says is in `run.log` in its folder.

    Raises:
      Failed: some runs failed; all others are made.
      Preempted: a signal came; the runs that were going on have saved their states.
    """
    free = slots(options.slots, len(jobs))
    waiting, running, failed = deque((job, 0) for job in jobs), list[_Running](), list[str]()
    asked = False
    with interruptible() as interrupt, Table(jobs) as table:
        while running or (waiting and not interrupt.received):
            while waiting and free and not interrupt.received:
                running.append(_start(*waiting.popleft(), free.pop(0)))
                table.started(running[-1].job, running[-1].tries)
            time.sleep(0.1)
            if interrupt.received and not asked:
                asked = True
                for each in running:
                    each.process.send_signal(signal.SIGTERM)
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                free.append(each.slot)
                code = each.process.returncode
                if not interrupt.received:
                    again, wrong = _judged(each, code, options.retries)
                    waiting.extend(again)
                    failed.extend(wrong)
                table.ended(each.job, code)
            table.refresh()
    if interrupt.received:
        raise Preempted(f"{interrupt.received}: the runs have saved their states; run the same command again to go on")
    if failed:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise Failed(f"{len(failed)} of {len(jobs)} run(s) failed, see {', '.join(failed[:3])}{more}")


def _judged(each: _Running, code: int, retries: int) -> tuple[list[tuple[Job, int]], list[str]]:
    """Of a run that has ended: itself and the number of its tries if it is made again, and what is to be said of it."""
    if code == 75:
        return [(each.job, each.tries)], []
    if code not in (0, 2) and each.tries < retries:
        return [(each.job, each.tries + 1)], []
    return [], [f"{each.job.folder / 'run.log'} (exit code {code})"] if code else []


def slots(count: int | None, jobs: int) -> list[Slot]:
    """The shares of this machine for `count` runs at once, None: one for each GPU, without GPUs one for each core up to
    8; never more than there are jobs.

    Raises:
      UserError: fewer than one.
    """
    if count is not None and count < 1:
        raise UserError(f"--slots={count}: runs at once are 1 or more")
    cores, cards = _cores(), _gpus()
    count = min(count or len(cards) or min(len(cores), _MOST), jobs)
    found = []
    for number in range(count):
        own = cores[number * len(cores) // count : (number + 1) * len(cores) // count] or cores
        environment = {}
        if cards:
            environment["CUDA_VISIBLE_DEVICES"] = cards[number % len(cards)]
            if (sharing := -(-count // len(cards))) > 1:
                environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / sharing:.2f}"
        found.append(Slot(frozenset(own), environment))
    return found


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _gpus() -> list[str]:
    """The NVIDIA GPUs that runs may use, as CUDA_VISIBLE_DEVICES names them; found without touching one."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    return [str(number) for number in range(len(list(_GPUS.iterdir())))] if _GPUS.is_dir() else []


def _start(job: Job, tries: int, slot: Slot) -> _Running:
    job.folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **slot.environment, PARENT: str(os.getpid())}
    with (job.folder / "run.log").open("ab") as log:
        # In a session of its own: an interrupt from the terminal comes to it once, from here.
        process = subprocess.Popen(
            job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, slot.cores)
    return _Running(job, slot, process, tries)
