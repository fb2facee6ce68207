"""Early ends of a run: signals, after which the state is saved, and nonfinite losses or gradients."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax


class Preempted(Exception):
    """Stop by a signal after the state was saved; the exit code is 75."""


class NonFinite(Exception):
    """NaN or infinite loss or gradient, with the step, the phase and the leaves."""


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


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Handles SIGTERM and SIGINT by setting `Interrupt.received`; a second SIGINT raises KeyboardInterrupt.

    With several processes, JAX's runtime handles SIGTERM and notifies the other processes; SIGINT is forwarded as
    SIGTERM. Outside the main thread, where Python allows no handlers, signals are not handled.
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
    handled = (signal.SIGINT,) if several else (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
