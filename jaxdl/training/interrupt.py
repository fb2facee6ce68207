"""Why a run stops before its end: a signal (finish the step, save, "run me again"), or numbers that are not finite."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Preempted(Exception):
    """A signal stopped the run after its state was saved; `launch.py` exits with code 75."""


class NonFinite(Exception):
    """A loss or gradient was NaN or infinite. The message names the step, the phase and the leaves."""


class Interrupt:
    """What the last signal was; `received` is empty until one comes."""

    received = ""


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turns SIGTERM and SIGINT into `Interrupt.received`; a second SIGINT stops at once, as usual.

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

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
