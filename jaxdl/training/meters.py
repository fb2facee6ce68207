"""Throughput of the training loop."""

import contextlib
import time
from collections.abc import Callable, Iterator


class Meter:
    """Measures the throughput of the loop on the host, without waiting for the device.

    Dispatch is asynchronous, so the host time of a single step is meaningless. Over the steps between two reports it is
    correct, because fetching a report waits for its step. The window of a report starts at the previous report (or the
    construction) and excludes pauses: compilation, evaluation, pictures, saving.

    Args:
      useful_seconds: Useful seconds of a resumed run up to its checkpoint.
      clock: Monotonic clock, seconds.
    """

    def __init__(self, useful_seconds: float = 0.0, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._useful = useful_seconds
        self._pauses = 0
        self._begin()

    def _begin(self) -> None:
        self._start = self._pause_start = self._clock()
        self._data = self._paused = 0.0
        self._steps = self._examples = 0

    def _seconds(self) -> float:
        """Returns the seconds of the window so far, without pauses."""
        now = self._clock()
        return max(0.0, now - self._start - self._paused - (now - self._pause_start if self._pauses else 0.0))

    @contextlib.contextmanager
    def data(self, busy: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Measures the wait for training data. Inside a pause (evaluation data) it is not counted.

        Args:
          busy: Returns whether the device still computes when the data arrive. The wait is not counted then.
        """
        start = self._clock()
        try:
            yield
        finally:
            if not self._pauses and not busy():
                self._data += self._clock() - start

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Excludes time from training: evaluation, saving, pictures, compilation. Pauses may nest."""
        if not self._pauses:
            self._pause_start = self._clock()
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if not self._pauses:
                self._paused += self._clock() - self._pause_start

    def step(self, examples: int) -> None:
        """Counts one step over a global batch of `examples` examples."""
        self._steps += 1
        self._examples += examples

    @property
    def useful_seconds(self) -> float:
        """Seconds in training steps so far, without waits for data and pauses."""
        return self._useful + max(0.0, self._seconds() - self._data)

    def report(self) -> dict[str, float]:
        """Returns the metrics since the last report and starts a new window.

        Returns:
          `step_time` (seconds per step, including waits for data), `data_wait` (seconds per step), `data_wait_share`
          (share of the step time), `examples_per_second`, and the total `useful_seconds`. Without a step, only it.
        """
        seconds = self._seconds()
        figures: dict[str, float] = {}
        if self._steps and seconds > 0:
            figures = {
                "step_time": seconds / self._steps,
                "data_wait": self._data / self._steps,
                "data_wait_share": self._data / seconds,
                "examples_per_second": self._examples / seconds,
            }
        self._useful += max(0.0, seconds - self._data)
        self._begin()
        return {**figures, "useful_seconds": self._useful}
