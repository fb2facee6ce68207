"""Signals that end a run, after which the state is saved."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

from jaxdl.errors import Preempted, Pruned
from jaxdl.signals import PRUNING, handled, kept, raise_from


class Interrupt:
    """Received signal; `received` is its name, "" before."""

    received = ""

    def stops(self, step: int) -> bool:
        """Returns whether the run stops after this step, the same on all processes; called after every step.

        With several processes, JAX's runtime handles SIGTERM and agrees on a step that no process has reached.
        """
        if jax.process_count() == 1:
            return bool(self.received)
        from jax.experimental import multihost_utils

        stops = multihost_utils.reached_preemption_sync_point(step)
        self.received = self.received or ("SIGTERM" if stops else "")
        return stops

    def exception(self, step: int) -> Preempted:
        """Returns the exception that ends the run after the state of this step was saved."""
        kind = Pruned if self.received == PRUNING.name else Preempted
        return kind(f"{self.received} after step {step}; saved; run the same command to resume")


@contextmanager
def interruptible(*others: signal.Signals) -> Iterator[Interrupt]:
    """Handles SIGTERM, SIGHUP and SIGINT by setting `Interrupt.received`; a second SIGINT raises KeyboardInterrupt.

    A SIGHUP that is ignored, as under nohup, stays ignored. With several processes, JAX's runtime handles SIGTERM and
    notifies the other processes; SIGHUP and SIGINT are forwarded as SIGTERM. Outside the main thread, where Python
    allows no handlers, signals are not handled.

    Args:
      others: More signals to handle in the same way.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def handle(number, frame):
        if interrupt.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        interrupt.received = signal.Signals(number).name
        if several:
            os.kill(os.getpid(), signal.SIGTERM)

    several = jax.process_count() > 1
    with _handler(handle, [*_signals(several), *others]):
        yield interrupt


@contextmanager
def preparing() -> Iterator[None]:
    """Ends the preparation of a run at a signal: raises Preempted, because there is nothing to save."""

    def handle(number, frame):
        name = signal.Signals(number).name
        stop = Preempted(f"{name} before the first step; nothing to save yet; run the same command again")
        raise_from(handle, number, stop)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with kept(Preempted), _handler(handle, _signals(jax.process_count() > 1)):
        yield


def _signals(several: bool) -> list[signal.Signals]:
    """Returns the signals that stop a run and that Python handles."""
    return [number for number in handled() if not (several and number == signal.SIGTERM)]


@contextmanager
def _handler(handle: Callable[[int, Any], None], numbers: Iterable[int]) -> Iterator[None]:
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
