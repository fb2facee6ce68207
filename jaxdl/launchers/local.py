"""Local launcher: runs as processes of this machine, which share its cores and GPUs."""

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxdl.distributed.watchdog import PARENT
from jaxdl.errors import Failed, Preempted, UserError, write_errors
from jaxdl.launchers import Job, Options
from jaxdl.launchers.table import Table
from jaxdl.runs.lock import WAIT
from jaxdl.training.interrupt import interruptible

_MOST = 8  # slots by default on a machine without GPUs: each run has its own memory
_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Slot:
    """Share of the machine of one concurrent run: cores and environment variables."""

    cores: frozenset[int]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Running:
    job: Job
    slot: Slot
    process: subprocess.Popen
    tries: int


SETTINGS: dict[str, str] = {}
REQUIRED: dict[str, str] = {}
NUMBERS: dict[str, int] = {}
FILE = MARK = ""


def launch(jobs: Sequence[Job], options: Options) -> None:
    """Launches the runs, as many at a time as there are slots; their output is in `run.log` in their folders.

    Raises:
      Failed: Some runs failed; all others are finished.
      Preempted: A signal was received; the active runs have saved their states.
    """
    free = slots(options.slots, len(jobs))
    waiting, running, failed = deque((job, 0) for job in jobs), list[_Running](), list[str]()
    stopping = False
    with interruptible() as interrupt, Table(jobs) as table:
        while running or (waiting and not interrupt.received):
            while waiting and free and not interrupt.received:
                running.append(_start(*waiting.popleft(), free.pop(0)))
                table.started(running[-1].job, running[-1].tries)
            time.sleep(0.1)
            if interrupt.received and not stopping:
                stopping = True
                for run in running:
                    run.process.send_signal(signal.SIGTERM)
            for run in [run for run in running if run.process.poll() is not None]:
                running.remove(run)
                free.append(run.slot)
                code = run.process.returncode
                if not interrupt.received:
                    retried, failures = _outcome(run, code, options.retries)
                    waiting.extend(retried)
                    failed.extend(failures)
                table.ended(run.job, code)
            table.refresh()
    if interrupt.received:
        raise Preempted(f"{interrupt.received}: the runs have saved their states; run the same command to resume them")
    if failed:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise Failed(f"{len(failed)} of {len(jobs)} run(s) failed, see {', '.join(failed[:3])}{more}")


def _outcome(run: _Running, code: int, retries: int) -> tuple[list[tuple[Job, int]], list[str]]:
    """Returns (job, tries) of an ended run if it is started again, and its failure otherwise."""
    if code == 75:
        return [(run.job, run.tries)], []
    if code not in (0, 2) and run.tries < retries:
        return [(run.job, run.tries + 1)], []
    return [], [f"{run.job.folder / 'run.log'} (exit code {code})"] if code else []


def slots(count: int | None, jobs: int) -> list[Slot]:
    """Divides this machine into slots for concurrent runs.

    Args:
      count: Number of slots. None: one per GPU; without GPUs one per core, at most 8.
      jobs: Number of runs, which limits the number of slots.

    Raises:
      UserError: Fewer than one slot.
    """
    if count is not None and count < 1:
        raise UserError(f"--slots={count} must be at least 1")
    cores, cards = _cores(), _gpus()
    count = min(count or len(cards) or min(len(cores), _MOST), jobs)
    shares = []
    for number in range(count):
        own = cores[number * len(cores) // count : (number + 1) * len(cores) // count] or cores
        environment = {}
        if cards:
            environment["CUDA_VISIBLE_DEVICES"] = cards[number % len(cards)]
            if (sharing := -(-count // len(cards))) > 1:
                environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / sharing:.2f}"
        shares.append(Slot(frozenset(own), environment))
    return shares


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _gpus() -> list[str]:
    """Lists the NVIDIA GPUs as in CUDA_VISIBLE_DEVICES, without initializing them."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    return [str(number) for number in range(len(list(_GPUS.iterdir())))] if _GPUS.is_dir() else []


def _start(job: Job, tries: int, slot: Slot) -> _Running:
    with write_errors(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
        log = (job.folder / "run.log").open("ab")
    environment = {**os.environ, **slot.environment, PARENT: str(os.getpid()), WAIT: "1"}
    with log:
        # In a new session, a run does not receive the terminal's SIGINT in addition to this process's SIGTERM.
        process = subprocess.Popen(
            job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, slot.cores)
    return _Running(job, slot, process, tries)
