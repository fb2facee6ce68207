"""Lock of a run folder, `.lock`, held by the process that trains in it."""

import contextlib
import errno
import fcntl
import logging
import os
import re
import socket
import time
import weakref
from pathlib import Path

from jaxdl.errors import UserError, write_errors
from jaxdl.flock import UNSUPPORTED

# Environment variable of the runs of a sweep. If a second sweep trains a run at the same time, the run waits for it.
WAIT = "JAXDL_WAIT_FOR_LOCK"


class Lock:
    """Exclusive lock of a folder: of `.lock` and, as that file may be deleted, of the folder itself.

    On a file system without locks, it warns; `check` still detects a second process.

    Raises:
      UserError: Another process holds the lock, or `.lock` cannot be written.
    """

    def __init__(self, folder: Path, name: str = ""):
        """
        Args:
          folder: Folder.
          name: Name of the run in messages. "": the folder.
        """
        self._folder, self._path = name or folder, folder / ".lock"
        self._content = f"process {os.getpid()} on {socket.gethostname()}\n".encode()
        with write_errors(self._path):
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._files = [self._file, os.open(folder, os.O_RDONLY | os.O_CLOEXEC)]
        try:
            for file in self._files:
                self._acquire(file)
        except BaseException:
            self._close()
            raise
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, self._content, 0)
        _LOCKS.add(self)

    def check(self) -> None:
        """Raises UserError if the folder was moved or deleted, or if another process has taken it over."""
        try:
            intact = self._path.read_bytes() == self._content
        except (FileNotFoundError, NotADirectoryError):
            intact = False
        if not intact:
            raise UserError(
                f"'{self._folder}' or its .lock was moved, deleted or replaced during training; run the same command"
                " again to resume"
            )

    def release(self) -> None:
        """Releases the lock. A second call has no effect."""
        if self._files:
            with contextlib.suppress(OSError):  # the content only informs readers: the descriptors hold the lock
                if os.pread(self._file, len(self._content) + 1, 0) == self._content:
                    os.ftruncate(self._file, 0)
            self._close()

    def _acquire(self, file: int) -> None:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    self._refuse_or_wait()
                elif file != self._file:
                    return  # some file systems, such as NFS, lock no folders
                elif error.errno in UNSUPPORTED:
                    message = "%s: this file system has no locks; ensure that only one process trains in this folder"
                    logging.getLogger(__name__).warning(message, self._folder)
                    return
                else:
                    raise UserError(f"cannot lock {self._path}: {error.strerror}") from error

    def _refuse_or_wait(self) -> None:
        if WAIT not in os.environ:
            holder = os.pread(self._file, 200, 0).decode(errors="replace").strip() or "another process"
            raise UserError(f"{holder} trains in {self._folder}; wait for it, stop it, or use another folder") from None
        time.sleep(0.5)

    def _close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files = []


# Locks that this process holds. A forked child shares them: a data worker that outlives a killed run would keep the
# folder locked. The parent's descriptor keeps the lock.
_LOCKS: "weakref.WeakSet[Lock]" = weakref.WeakSet()
os.register_at_fork(after_in_child=lambda: [lock._close() for lock in list(_LOCKS)])


def is_locked(folder: Path) -> bool | None:
    """Returns whether the process in `.lock` is running, without locking; None if it is on another host."""
    path = folder / ".lock"
    holder = re.match(r"process (\d+) on (\S+)", path.read_text(errors="replace")) if path.is_file() else None
    if holder is None:
        return False
    if holder[2] != socket.gethostname():
        return None
    try:
        os.kill(int(holder[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
