"""Lock of a run folder, `.lock`, held by the process that trains in it."""

import contextlib
import errno
import fcntl
import logging
import os
import re
import socket
import weakref
from pathlib import Path

from jaxdl.errors import UserError, write_errors

_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class Lock:
    """Exclusive lock of a folder. On a file system without locks, it warns and locks nothing.

    Raises:
      UserError: Another process holds the lock, or `.lock` cannot be written.
    """

    def __init__(self, folder: Path):
        path = folder / ".lock"
        with write_errors(path):
            self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 200, 0).decode(errors="replace").strip() or "another process"
            self._close()
            if error.errno in _UNSUPPORTED:
                message = "%s: this file system has no locks; ensure that only one process trains in this folder"
                logging.getLogger(__name__).warning(message, folder)
                return
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"cannot lock {path}: {error.strerror}") from error
            raise UserError(f"{holder} trains in {folder}; wait for it, stop it, or use another folder") from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        _LOCKS.add(self)

    def release(self) -> None:
        """Releases the lock. A second call has no effect."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # the content only informs readers: the descriptor holds the lock
                os.ftruncate(self._file, 0)
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


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
