"""Claims of workers on the trials of a study, as files in a folder that machines share."""

import os
import re
import socket
import time
from pathlib import Path

from jaxdl.errors import write_errors
from jaxdl.runs.files import write_atomically

_PERIOD = 10.0  # seconds between renewals of a claim
# Age in seconds of an abandoned claim. An NFS client may see a renewal up to a minute late.
STALE = 180.0


class Claims:
    """Claims of one worker. It renews them; one that was not renewed for `STALE` seconds is abandoned.

    A claim of a process on the same host is abandoned when the process has ended, and a worker with a name recognizes
    its claims after its cluster has started it again. Callers hold a lock between `is_free` and `take`.

    Args:
      folder: Folder of the claims.
      worker: Name of the worker. None: this process on this host.
    """

    def __init__(self, folder: Path, worker: str | None = None):
        self._folder, self._name = folder, worker
        self._holder = worker or f"process {os.getpid()} on {socket.gethostname()}"
        self._held: set[int] = set()
        self._renewed = time.monotonic()

    def is_free(self, number: int) -> bool:
        """Returns whether neither this worker nor another one is at a trial."""
        if number in self._held:
            return False
        path = self._folder / str(number)
        try:
            holder = path.read_text()
            renewed = path.stat().st_mtime
        except FileNotFoundError:
            return True
        return holder == self._name or _ended(holder) or self._clock() - renewed > STALE

    def take(self, number: int) -> None:
        """Claims a trial."""
        with write_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / str(number), self._holder)
        self._held.add(number)

    def renew(self) -> None:
        """Renews all claims of this worker, at most every ten seconds."""
        if time.monotonic() - self._renewed > _PERIOD:
            self._renewed = time.monotonic()
            for number in filter(self._holds, self._held):
                (self._folder / str(number)).touch()

    def drop(self, number: int) -> None:
        """Gives up a claim of this worker."""
        if self._holds(number):
            (self._folder / str(number)).unlink(missing_ok=True)
        self._held.discard(number)

    def close(self) -> None:
        """Gives up all claims, so that other workers resume the trials at once."""
        for number in list(self._held):
            self.drop(number)

    def _holds(self, number: int) -> bool:
        """Returns whether no other worker has taken the trial over, as after this process was suspended."""
        try:
            return (self._folder / str(number)).read_text() == self._holder
        except FileNotFoundError:
            return False

    def _clock(self) -> float:
        """Returns the time of the folder's file system, which may differ from that of this machine."""
        probe = self._folder / "clock"
        with write_errors(probe):
            probe.touch()
            return probe.stat().st_mtime


def _ended(holder: str) -> bool:
    """Returns whether a holder was a process of this host that has ended."""
    match = re.fullmatch(r"process (\d+) on (\S+)", holder)
    if match is None or match[2] != socket.gethostname():
        return False
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
