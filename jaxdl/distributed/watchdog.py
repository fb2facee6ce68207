"""Watchdog of a process of a distributed run.

JAX's runtime often aborts a process that has lost another one, before it can print the cause or choose an exit code.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxdl.distributed.processes import LOST, WATCHED
from jaxdl.signals import handle_signals

PARENT = "JAXDL_PARENT"  # process id of the sweep or watchdog that started this process


def watch(command: Sequence[str]) -> int:
    """Runs a command and returns its exit code.

    For a process that was lost or killed the code is 75 if it has saved a checkpoint since its start, else 1, so that a
    process that always fails is not restarted forever. Signals are forwarded. If the watchdog is killed, the process
    saves its state and stops.
    """
    reading, writing = os.pipe()
    environment = {**os.environ, PARENT: str(os.getpid()), WATCHED: str(writing)}
    process = subprocess.Popen(command, env=environment, pass_fds=(writing,))
    os.close(writing)
    handle_signals(lambda *_: process.send_signal(signal.SIGTERM))  # the terminal sends SIGINT to both processes
    code = process.wait()
    os.set_blocking(reading, False)
    try:
        message = os.read(reading, 2**16).decode()
    except BlockingIOError:  # nothing was sent, and a child may hold the other end open
        message = ""
    saved = _saved(message)
    if code in (-signal.SIGABRT, LOST):
        cause = f"lost: another process of this run ended or does not respond{_stacks(message)}"
    elif code < 0:
        cause = f"killed: this process of the run received {signal.Signals(-code).name}"
    else:
        return code
    kept = "the last checkpoint is kept" if saved else "no checkpoint was saved since the start"
    print(f"{cause}; {kept}; run the same command for all processes to resume", file=sys.stderr, flush=True)
    return 75 if saved else 1


def _stacks(message: str) -> str:
    """Returns where the Python stacks of the process are, "" if it has written none; see `jaxdl.training.hangs`."""
    folder = Path(message.partition(" ")[2] or os.devnull).parent / "hangs"
    return f" (Python stacks in {folder})" if folder.is_dir() else ""


def _saved(message: str) -> bool:
    """Returns whether a checkpoint is newer than the first step; `message` is "STEP FOLDER" of the process."""
    step, _, folder = message.partition(" ")
    checkpoints = Path(folder).iterdir() if folder and Path(folder).is_dir() else ()
    return any(path.name.isdecimal() and int(path.name) > int(step) for path in checkpoints)
