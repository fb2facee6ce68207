"""Why a run stops before its end: a signal (finish the step, save, "run me again"), or numbers that are not finite."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax


class Preempted(Exception):
    """A signal stopped the run after its state was saved; `launch.py` exits with code 75."""


class NonFinite(Exception):
    """A loss or gradient was NaN or infinite. The message names the step, the phase and the leaves."""


class Interrupt:
    """What the last signal was; `received` is empty until one comes."""

    received = ""

    def stops(self, step: int) -> bool:
        """Whether the run stops after this step, alike on all processes; to be asked after every step.

        With one process: whether a signal has come. With more of them JAX's runtime waits for SIGTERM on each, and
        settles on a step that none has made yet.
        """
        if jax.process_count() == 1:
            return bool(self.received)
        from jax.experimental import multihost_utils

        stops = multihost_utils.reached_preemption_sync_point(step)
        self.received = self.received or ("SIGTERM" if stops else "")
        return stops


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turns SIGTERM and SIGINT into `Interrupt.received`; a second SIGINT stops at once, as usual.

    With several processes SIGTERM is left to JAX's runtime, which tells the others of it, and SIGINT becomes one.
    Outside the main thread, where Python takes no handlers, signals are left alone.
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
