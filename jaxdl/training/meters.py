"""Throughput of the training loop, and the activities on which a run spends its time.

The activities are annotations in traces of JAX's profiler.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

from jax.profiler import TraceAnnotation

# Metrics of a row that depend on the clock or on the device, and so differ between two runs with the same result.
CLOCKED = frozenset(
    (
        *("step_time", "data_wait", "data_wait_share", "examples_per_second", "tokens_per_second", "useful_seconds"),
        *("mfu", "compile_time", "device_memory", "device_memory_peak"),
    )
)


class Meter:
    """Measures the throughput of the loop on the host, without waiting for the device.

    Dispatch is asynchronous, so the host time of a single step is meaningless. Over the steps between two reports it is
    correct, because fetching a report waits for its step. The window of a report starts at the previous report (or the
    construction) and excludes pauses: start-up, compilation, evaluation, pictures, saving.

    Args:
      spent: Seconds by activity of a resumed run, see `spent`.
      clock: Monotonic clock, seconds.
    """

    def __init__(self, spent: Mapping[str, float] | None = None, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._spent = dict(spent or {})
        self._pauses = 0
        self._activity, self._activity_start = "", 0.0
        self._active: tuple[float, float | None] = (0.0, self._clock())  # replaced as a whole, for other threads
        self._begin()

    def _begin(self) -> None:
        self._start = self._pause_start = self._clock()
        self._data = self._paused = 0.0
        self._steps = self._examples = self._tokens = 0

    def _seconds(self) -> float:
        """Returns the seconds of the window so far, without pauses."""
        now = self._clock()
        return max(0.0, now - self._start - self._paused - (now - self._pause_start if self._pauses else 0.0))

    def add(self, spent: Mapping[str, float]) -> None:
        """Adds seconds by activity that were measured elsewhere, such as those of earlier attempts."""
        for activity, seconds in spent.items():
            self._spent[activity] = self._spent.get(activity, 0.0) + seconds

    @contextlib.contextmanager
    def data(self, busy: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Measures the wait for training data. Inside a pause (evaluation data) it is not counted.

        Args:
          busy: Returns whether the device still computes when the data arrive. The wait is not counted then.
        """
        start = self._clock()
        try:
            with TraceAnnotation("data"):
                yield
        finally:
            if not self._pauses and not busy():
                self._data += self._clock() - start

    @contextlib.contextmanager
    def pause(self, activity: str) -> Iterator[None]:
        """Excludes time from training and counts it for an activity. Pauses may nest; the outermost counts."""
        if not self._pauses:
            self._activity = activity
            now = self._pause_start = self._activity_start = self._clock()
            seconds, since = self._active
            self._active = (seconds if since is None else seconds + now - since, None)
        self._pauses += 1
        try:
            with TraceAnnotation(activity):
                yield
        finally:
            self._pauses -= 1
            if not self._pauses:
                now = self._clock()
                self._active = (self._active[0], now)
                self._paused += now - self._pause_start
                self.add({self._activity: now - self._activity_start})

    def active_seconds(self) -> float:
        """Returns the seconds outside pauses since the construction; any thread may call it."""
        seconds, since = self._active
        return seconds if since is None else seconds + self._clock() - since

    def step(self, examples: int, tokens: int = 0) -> None:
        """Counts one step over a global batch of `examples` examples with `tokens` tokens."""
        self._steps += 1
        self._examples += examples
        self._tokens += tokens

    @property
    def useful_seconds(self) -> float:
        """Seconds in training steps so far, without waits for data and pauses."""
        return self._spent.get("step", 0.0) + max(0.0, self._seconds() - self._data)

    @property
    def spent(self) -> dict[str, float]:
        """Seconds by activity so far: "step" (the useful ones), "data", and the names of pauses."""
        spent = {**self._spent, "step": self.useful_seconds, "data": self._spent.get("data", 0.0) + self._data}
        if self._pauses:
            spent[self._activity] = spent.get(self._activity, 0.0) + self._clock() - self._activity_start
        return spent

    def report(self) -> dict[str, float]:
        """Returns the metrics since the last report and starts a new window.

        Returns:
          `step_time` (seconds per step, including waits for data), `data_wait` (seconds per step), `data_wait_share`
          (share of the step time), `examples_per_second`, `tokens_per_second` if the batches have tokens, and the total
          `useful_seconds`. Without a step, only the last.
        """
        seconds = self._seconds()
        figures: dict[str, float] = {}
        if self._steps and seconds > 0:
            figures = {
                "step_time": seconds / self._steps,
                "data_wait": self._data / self._steps,
                "data_wait_share": self._data / seconds,
                "examples_per_second": self._examples / seconds,
                **({"tokens_per_second": self._tokens / seconds} if self._tokens else {}),
            }
        self.add({"step": max(0.0, seconds - self._data), "data": self._data})
        self._begin()
        return {**figures, "useful_seconds": self._spent["step"]}
