"""The process beside each process of a distributed run: it starts it, and says what has become of it.

It is needed because a process that has lost the others is often aborted by JAX's runtime, or cannot close its files.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxdl.distributed.processes import LOST, WATCHED

PARENT = "JAXDL_PARENT"  # the process id of the sweep or watchdog that started this process


def watch(command: Sequence[str]) -> int:
    """Runs a command to its end and gives the exit code: its own, or for a process that was lost or killed 75 if it has
    saved its state since it was started, else 1. So one that only ever fails is not started again for ever.

    Signals are passed on; should this process be killed, the other one saves its state and stops.
    """
    reading, writing = os.pipe()
    environment = {**os.environ, PARENT: str(os.getpid()), WATCHED: str(writing)}
    process = subprocess.Popen(command, env=environment, pass_fds=(writing,))
    os.close(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        # The terminal sends SIGINT to both processes already.
        signal.signal(number, lambda *_: process.send_signal(signal.SIGTERM))
    code = process.wait()
    os.set_blocking(reading, False)
    try:
        saved = _saved(os.read(reading, 2**16).decode())
    except BlockingIOError:  # it told nothing, and what it has started may still hold the other end
        saved = False
    if code in (-signal.SIGABRT, LOST):
        said = "lost: another process of this run is gone or does not answer"
    elif code < 0:
        said = f"killed: this process of the run got {signal.Signals(-code).name}"
    else:
        return code
    kept = "what was saved last is kept" if saved else "nothing was saved since it was started"
    print(f"{said}; {kept}: run the same command, for all processes, to go on", file=sys.stderr, flush=True)
    return 75 if saved else 1


def _saved(told: str) -> bool:
    """Whether there is a checkpoint of a later step than the process began with, by what it told when it began."""
    step, _, folder = told.partition(" ")
    found = Path(folder).iterdir() if folder and Path(folder).is_dir() else ()
    return any(each.name.isdecimal() and int(each.name) > int(step) for each in found)
