"""Locks of files between processes."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxdl.errors import write_errors

UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # the file system has no locks


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Waits for an exclusive lock of a file, which is created, and holds it; no effect on a file system without locks.

    Raises:
      UserError: The file cannot be written.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
        yield
