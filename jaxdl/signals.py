"""Signals that stop a command."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from jaxdl.streams import write_line

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PRUNING = signal.SIGUSR1  # from a search to the training of a trial; SLURM and submitit use SIGUSR2
_AGAIN = 0.05  # seconds until a handler is called again


def handled() -> list[signal.Signals]:
    """Returns the signals that stop a command, without those that are ignored, such as SIGHUP under nohup."""
    return [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]


def handle_signals(handle: Callable[[int, FrameType | None], Any]) -> None:
    """Installs a handler for the signals that stop a command, and unblocks them."""
    for number in handled():
        signal.signal(number, handle)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # blocked by `restart`


def stop_at_once(number: int, frame: FrameType | None = None) -> None:
    """Ends a command that has not begun, for example while Python imports JAX."""
    write_line(f"stopped: {signal.Signals(number).name}; run the same command again")
    os._exit(75)


def interrupt(number: int, frame: FrameType | None = None) -> None:
    """Raises KeyboardInterrupt with the name of the signal; a second signal ends the process at once."""
    for other in handled():
        signal.signal(other, signal.SIG_DFL)
    raise_from(interrupt, number, KeyboardInterrupt(signal.Signals(number).name))


def raise_from(handle: Callable[[int, FrameType | None], Any], number: int, error: BaseException) -> NoReturn:
    """Raises an exception from a signal's handler.

    Python ignores exceptions in some callbacks, such as those of the garbage collector. Then the handler is called once
    more, after the callback.
    """
    before = sys.unraisablehook

    def hook(ignored: Any) -> None:
        if ignored.exc_value is error:
            sys.unraisablehook = before
            signal.signal(number, handle)
            threading.Timer(_AGAIN, os.kill, (os.getpid(), number)).start()
        else:
            before(ignored)

    sys.unraisablehook = hook
    raise error


def restart(program: str, arguments: list[str]) -> None:
    """Replaces this process by another Python program; signals wait until it calls `handle_signals`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    os.execv(program, arguments)


@contextmanager
def kept(kind: type[BaseException]) -> Iterator[None]:
    """Raises an exception of a signal's handler again if it has led to another one, as in `threading.Thread.start`."""
    try:
        yield
    except Exception as error:
        cause = error.__context__
        while cause is not None and not isinstance(cause, kind):
            cause = cause.__context__
        if cause is None:
            raise
        raise cause from None
