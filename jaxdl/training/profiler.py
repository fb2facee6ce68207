"""Traces of chosen steps with JAX's profiler."""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax

from jaxdl.errors import UserError, warn

_FORM = re.compile(r"(\d+)(?:\.\.(\d+))?")


def parse_range(text: str) -> tuple[int, int]:
    """Parses FIRST..LAST, or one step, to (first, last), both included. Raises UserError."""
    match = _FORM.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise UserError(f"--profile={text} is not a range of steps; write --profile=100..105, with steps from 1")
    return first, last


class Profiler:
    """Traces the steps of a range, with their evaluations and saves.

    The trace contains only these steps: before and after it, the host waits for the devices. A profiler that fails is
    reported in one line and does not end training.

    Args:
      first: First step to trace. 0: none.
      last: Last step to trace.
      folder: Folder of the trace, for `xprof --logdir` and TensorBoard; the trace in it is replaced.
      summarize: Called with the folder, the first and last traced step and the HLO of the train step; returns one line.
      say: Prints a line.
    """

    def __init__(
        self,
        first: int = 0,
        last: int = 0,
        folder: Path | None = None,
        summarize: Callable[[Path, int, int, str], str] = lambda *_: "",
        say: Callable[[str], None] = lambda _: None,
    ):
        self._first, self._last, self._folder = first, last, folder
        self._summarize, self._say = summarize, say
        self._tracing = contextlib.ExitStack()
        self._begun: int | None = None
        self._wait: Callable[[], Any] = lambda: None
        self._program: Callable[[], str] = str

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *exception) -> None:
        self._tracing.close()
        if self._begun is not None:  # stopped by a signal or an error inside of the range
            with contextlib.suppress(Exception):
                jax.profiler.stop_trace()

    def steps(
        self,
        start: int,
        stop: int,
        wait: Callable[[], Any],
        program: Callable[[], str],
        pause: Callable[[str], AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> Iterator[int]:
        """Yields the steps after `start` up to `stop`, and traces those of the range.

        Args:
          start: Steps done.
          stop: Last step.
          wait: Waits until the devices have computed all steps.
          program: Returns the optimized HLO of the train step.
          pause: Excludes the start and the summary of the trace from the time of training.
        """
        self._wait, self._program = wait, program
        if self._folder is not None and self._last <= start:
            self._say(f"--profile: steps {self._first} to {self._last} are done, at step {start}; nothing is traced")
        elif self._folder is not None and self._first <= start:
            self._say(f"--profile: traces steps {start + 1} to {self._last} only, since step {start} is done")
        for step in range(start + 1, stop + 1):
            if self._folder is not None and self._begun is None and self._first <= step <= self._last:
                with pause("profile"):
                    self._start(self._folder, step)
            with self._tracing:
                self._tracing.enter_context(jax.profiler.StepTraceAnnotation("step", step_num=step))
                yield step
            if self._folder is not None and self._begun is not None and step == self._last:
                with pause("profile"):
                    self._stop(self._folder, self._begun, step)

    def _start(self, folder: Path, step: int) -> None:
        self._wait()
        try:
            shutil.rmtree(folder, ignore_errors=True)
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # calls of Python functions would be most of the trace
            jax.profiler.start_trace(str(folder), profiler_options=options)
            self._begun = step
        except Exception as error:  # such as a second profiler, or no permission for the GPU's counters
            self._fail(error)

    def _stop(self, folder: Path, first: int, last: int) -> None:
        self._begun = None
        self._wait()
        try:
            jax.profiler.stop_trace()
            self._say(self._summarize(folder, first, last, self._program()))
        except Exception as error:  # a trace that cannot be written or read
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._folder = None
        warn(f"--profile: {type(error).__name__}: {' '.join(str(error).split())[:300]}; training continues without it")
