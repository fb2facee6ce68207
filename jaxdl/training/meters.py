"""Step times, exact means, and gradient norms per leaf."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any


class Meter:
    """Times the loop on the host, without waiting for the device.

    Dispatch is asynchronous, so the time of one step on the host says nothing; over the steps between two reports it is
    right, because fetching a report waits for its step. The window of a report runs from the last report (at first:
    from the construction) and leaves out what is paused: compiling, evaluation, pictures, saving.

    Args:
      useful_seconds: what a resumed run had gathered up to the step it goes on from.
      clock: seconds, monotonic.
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
        """The window's seconds so far, without the pauses."""
        now = self._clock()
        return max(0.0, now - self._start - self._paused - (now - self._pause_start if self._pauses else 0.0))

    @contextlib.contextmanager
    def data(self, busy: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Time spent here waits for training data. Inside a pause (an evaluation's data) it is not counted.

        Args:
          busy: whether the device still computes when the data are there: then nobody has waited.
        """
        start = self._clock()
        try:
            yield
        finally:
            if not self._pauses and not busy():
                self._data += self._clock() - start

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time spent here is no training: evaluation, saving, pictures, compiling. Pauses may nest."""
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
        """Counts one step over `examples` examples of the global batch."""
        self._steps += 1
        self._examples += examples

    @property
    def useful_seconds(self) -> float:
        """Seconds in training steps so far: neither waiting for data nor paused."""
        return self._useful + max(0.0, self._seconds() - self._data)

    def report(self) -> dict[str, float]:
        """The figures since the last report; a new window begins.

        Returns:
          `step_time` (seconds a step, waiting for data included), `data_wait` (seconds a step), `data_wait_share` (of
          the step time), `examples_per_second`; and `useful_seconds`, the total. Only the last where no step was made.
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


def finalize(sums: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Divides {name: (sum, weight)} on the host in float64: {name: float, or an array where the sum is one}.

    A weight of 0 gives NaN: nothing was counted.
    """
    result: dict[str, Any] = {}
    for name, (total, weight) in sums.items():
        total, weight = np.asarray(total, np.float64), np.asarray(weight, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(weight == 0, np.nan, total / weight)
        result[name] = float(value) if value.ndim == 0 else value
    return result


def leaf_names(tree: PyTree) -> list[str]:
    """The paths of a tree's leaves, in the order of `jax.tree.leaves`: "params/classifier/stem/kernel".

    Raises:
      ValueError: two leaves have one name, because a key holds a "/".
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two leaves are named '{twice}'")
    return names


def squared_norms(tree: PyTree) -> jax.Array:
    """[leaves] the sum of squares of each leaf in float32, in the order of `leaf_names`; one small array to fetch."""
    leaves = jax.tree.leaves(tree)
    return (
        jnp.stack([jnp.sum(jnp.square(jnp.abs(leaf).astype(jnp.float32))) for leaf in leaves])
        if leaves
        else jnp.zeros(0)
    )


def nonfinite_leaves(norms: Any, names: Sequence[str]) -> list[str]:
    """The names whose value in `norms` [leaves] is NaN or infinite (a sum of squares above 3e38 is infinite, too)."""
    norms = np.asarray(norms)
    if norms.shape != (len(names),):
        raise ValueError(f"{len(names)} names for norms of shape {list(norms.shape)}")
    return [name for name, finite in zip(names, np.isfinite(norms), strict=True) if not finite]
