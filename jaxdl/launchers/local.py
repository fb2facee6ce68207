"""Local launcher: runs as processes of this machine, which share its cores and GPUs.

A sweep's runs are known from the start; a search yields its trials one by one, as a `Queue`.
"""

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jaxdl.distributed.gpus import visible_gpus
from jaxdl.distributed.watchdog import PARENT
from jaxdl.errors import Failed, Preempted, UserError, write_errors
from jaxdl.launchers import Job, Options
from jaxdl.launchers.table import Table
from jaxdl.runs.lock import WAIT
from jaxdl.signals import PRUNING
from jaxdl.training.interrupt import interruptible

_MOST = 8  # slots by default on a machine without GPUs: each run has its own memory


@dataclass(frozen=True)
class Slot:
    """Share of the machine of one concurrent run: cores and environment variables."""

    cores: frozenset[int]
    environment: Mapping[str, str] = field(default_factory=dict)


class Queue(Protocol):
    """Jobs that are chosen while others run."""

    @property
    def done(self) -> bool:
        """Whether no job will follow."""
        ...

    def next(self) -> Job | None:
        """Returns the job to start now; None if there is none at present."""
        ...

    def pruned(self) -> Sequence[Job]:
        """Returns the running jobs to stop with `PRUNING`; called ten times per second."""
        ...

    def ended(self, job: Job, code: int) -> None:
        """Accepts the exit code of a job that is not started again."""
        ...


class _Listed:
    """Queue of jobs that are known from the start, which are never pruned."""

    def __init__(self, jobs: Sequence[Job]):
        self._jobs, self.failed = deque(jobs), list[str]()

    @property
    def done(self) -> bool:
        return not self._jobs

    def next(self) -> Job | None:
        return self._jobs.popleft() if self._jobs else None

    def pruned(self) -> Sequence[Job]:
        return ()

    def ended(self, job: Job, code: int) -> None:
        if code:
            self.failed.append(f"{job.folder / 'run.log'} (exit code {code})")


@dataclass
class _Running:
    job: Job
    slot: Slot
    process: subprocess.Popen
    tries: int
    saved: int  # step of its newest checkpoint at the start, -1 without one
    pruned: float | None = None  # time of the newest signal


SETTINGS: dict[str, str] = {}
REQUIRED: dict[str, str] = {}
NUMBERS: dict[str, int] = {}
FORMS: dict[str, tuple[str, str]] = {}
FILE = MARK = ""


def launch(jobs: Sequence[Job], options: Options) -> None:
    """Launches the runs, as many at a time as there are slots; their output is in `run.log` in their folders.

    Raises:
      Failed: Some runs failed; all others are finished.
      Preempted: A signal was received; the active runs have saved their states.
    """
    queue = _Listed(jobs)
    with Table(jobs) as table:
        work(queue, slots(options.slots, len(jobs)), options.retries, table)
    if failed := queue.failed:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise Failed(f"{len(failed)} of {len(jobs)} run(s) failed, see {', '.join(failed[:3])}{more}")


def work(queue: Queue, slots: Sequence[Slot], retries: int, table: Table) -> None:
    """Runs the jobs of a queue until it is done, one at a time in each slot.

    Raises:
      Preempted: A signal was received; the active runs have saved their states.
    """
    free, again, running = list(slots), deque[tuple[Job, int]](), list[_Running]()
    stopping = False
    with interruptible() as interrupt:
        while running or not (interrupt.received or (queue.done and not again)):
            while free and not interrupt.received:
                job, tries = again.popleft() if again else (queue.next(), 0)
                if job is None:
                    break
                running.append(_start(job, tries, free.pop(0)))
                table.started(job, tries)
            time.sleep(0.1)
            if interrupt.received and not stopping:
                stopping = True
                for run in running:
                    run.process.send_signal(signal.SIGTERM)
            if not stopping:
                _prune(running, queue.pruned())
            for run in [run for run in running if run.process.poll() is not None]:
                running.remove(run)
                free.append(run.slot)
                code = run.process.returncode
                table.ended(run.job, code)
                if stopping:
                    continue
                if (tries := _next_try(run, code, retries)) is not None:
                    again.append((run.job, tries))
                else:
                    queue.ended(run.job, code)
            table.refresh()
    if interrupt.received:
        raise Preempted(f"{interrupt.received}: the runs have saved their states; run the same command to resume them")


def _prune(running: Sequence[_Running], jobs: Sequence[Job]) -> None:
    """Sends the signal that prunes, again after a second: a process that still imports JAX would not handle it."""
    now = time.monotonic()
    for run in running:
        if run.job in jobs and (run.pruned is None or now - run.pruned > 1.0):
            run.pruned = now
            run.process.send_signal(PRUNING)


def _next_try(run: _Running, code: int, retries: int) -> int | None:
    """Returns the number of failures of an ended run if it is started again, otherwise None."""
    if code in (0, 2, 76) or run.pruned is not None:
        return None
    if code == 75 or (code < 0 and _newest(run.job) > run.saved):  # stopped, or killed after it has saved
        return run.tries
    return run.tries + 1 if run.tries < retries else None


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
    cores, cards = _cores(), visible_gpus()
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


def _start(job: Job, tries: int, slot: Slot) -> _Running:
    with write_errors(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
        saved = _newest(job)
        log = (job.folder / "run.log").open("ab")
    environment = {**os.environ, **slot.environment, PARENT: str(os.getpid()), WAIT: "1"}
    with log:
        # In a new session, a run does not receive the terminal's SIGINT in addition to this process's SIGTERM.
        process = subprocess.Popen(
            job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, slot.cores)
    return _Running(job, slot, process, tries, saved)


def _newest(job: Job) -> int:
    """Returns the step of the newest checkpoint of a run, -1 without one."""
    return max((int(path.name) for path in job.folder.glob("checkpoints/*") if path.name.isdecimal()), default=-1)
