"""Diagnosis of hangs: each process writes its Python stacks and its last step into `hangs/` of the run folder."""

import faulthandler
import os
import statistics
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import jax

from jaxdl.distributed.processes import lost
from jaxdl.errors import warn

FOLDER = "hangs"
FACTOR = 20.0  # of the median of the recent steps
LEAST_SECONDS = 10.0  # a step below it is not reported: a pause of the file system or of the scheduler takes as long
FIRST_SECONDS = 600.0  # limit of the first steps, which connect the devices and tune kernels
POLL_SECONDS = 1.0
RECENT, ENOUGH = 64, 5  # steps of the median, at most and at least


class HangWatch:
    """Thread that reports a step which takes far longer than the recent ones, once for each step.

    With several processes, the stacks are also written if JAX's runtime aborts this process because another one is
    lost. A context manager around the steps.

    Args:
      run: Run folder.
      clock: Seconds in training, which stop during evaluations, saves and compilation.
    """

    def __init__(self, run: Path, clock: Callable[[], float]):
        self._clock = clock
        # A name of its own for each attempt, whose evidence the next attempt does not replace.
        name = f"{time.strftime('%Y%m%dT%H%M%S')}_process_{jax.process_index()}.txt"
        self.path = Path(run) / FOLDER / name
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._last: tuple[int, float] | None = None  # step, and the clock at its end
        self._reported = -1
        self._file: BinaryIO | None = None
        self._written = self._fatal = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hang watch", daemon=True)

    def begin(self, step: int) -> "HangWatch":
        """Sets the step from which training starts."""
        self._last = (step, self._clock())
        return self

    def step(self, step: int) -> None:
        """Marks the end of a step."""
        now = self._clock()
        if self._last is not None:
            self._seconds.append(now - self._last[1])
        self._last = (step, now)

    def __enter__(self) -> "HangWatch":
        if jax.process_count() > 1 and self._open() is not None:
            assert self._file is not None
            self._note()
            faulthandler.enable(self._file, all_threads=True)
            self._fatal = True
        self._thread.start()
        return self

    def __exit__(self, kind, error: BaseException | None, trace) -> None:
        self._ended.set()
        self._thread.join()
        if lost(error):
            self._write("another process is lost\n" + "".join(traceback.format_exception(error)))
        if self._fatal:
            faulthandler.disable()
        if self._file is not None:
            self._file.close()
            if not self._written:
                with suppress(OSError):  # the folder has files of other processes or attempts
                    self.path.unlink()
                    self.path.parent.rmdir()

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            if self._fatal:
                self._note()
            if self._last is None or self._reported == self._last[0]:
                continue
            step, end = self._last
            seconds, limit, recent = self._clock() - end, *self._limit()
            if seconds > limit and self._last[0] == step:
                self._reported = step
                self._write(f"step {step + 1} is not finished after {seconds:.0f} s ({recent})")

    def _limit(self) -> tuple[float, str]:
        """Returns the limit of a step in seconds and its explanation."""
        recent = list(self._seconds)
        if len(recent) < ENOUGH:
            return FIRST_SECONDS, "one of the first steps"
        median = statistics.median(recent)
        return max(FACTOR * median, LEAST_SECONDS), f"median of the recent steps: {median:.2g} s"

    def _write(self, problem: str) -> None:
        """Writes a problem and the stacks of all threads to the file, and the problem's first line as a warning."""
        process = f"process {jax.process_index()}: " if jax.process_count() > 1 else ""
        line = problem.partition("\n")[0]
        file = self._open()
        if file is None:
            warn(f"{process}{line}; its Python stacks cannot be written to {self.path.parent}")
            return
        with suppress(OSError):  # a full disk, which the run reports itself
            last = "none" if self._last is None else self._last[0]
            file.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {problem}\nlast finished step: {last}\n".encode())
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        self._written = True
        warn(f"{process}{line}; Python stacks are in {self.path}")

    def _open(self) -> BinaryIO | None:
        """Opens the file at the first call; None if it cannot be written."""
        if self._file is None:
            with suppress(OSError):
                self.path.parent.mkdir(exist_ok=True)
                self._file = self.path.open("xb", buffering=0)
                self._file.write(_header(None))
        return self._file

    def _note(self) -> None:
        """Writes the last step at the start of the file, where it is if the runtime aborts the process."""
        if self._file is not None and self._last is not None:
            with suppress(OSError):
                os.pwrite(self._file.fileno(), _header(self._last[0]), 0)


def _header(step: int | None) -> bytes:
    """Returns the first line, of constant length."""
    text = "" if step is None else f"step {step}"
    return f"process {jax.process_index():<5} {text:<24}\n".encode()
