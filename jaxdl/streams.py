"""Standard streams whose reader or terminal may end before the command."""

import contextlib
import io
import os
import sys
from typing import Any, TextIO


def open_streams() -> None:
    """Opens closed standard streams on the null device, so that a run's files do not take their descriptors."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = lasting(sys.stderr or os.fdopen(2, "w"))


def lasting(stream: TextIO, warning: str = "") -> TextIO:
    """Returns a stream to the same file that drops its text once the file cannot be written.

    Its reader may end, or the terminal close, long before a run does.

    Args:
      stream: Standard output or standard error.
      warning: Line that is printed to standard error then, with the reason.
    """
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(stream, warning)), stream.encoding, stream.errors, line_buffering=True
    )


class _Lasting(io.FileIO):
    def __init__(self, stream: TextIO, warning: str):
        super().__init__(stream.fileno(), "w", closefd=False)
        self._stream = stream  # which closes the file when it is deleted
        self._warning = warning

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if self._warning:
                write_line(f"warning: {self._warning}: {error.strerror}")
            return len(data)


def write_line(text: str) -> None:
    """Writes a line to standard error past its buffer, which a signal or a progress bar may have interrupted."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())


def console(file: TextIO) -> Any:
    """Returns a rich Console for a stream; in a notebook one of plain lines, without a cell of output for each."""
    from rich.console import Console

    made = Console(file=file, highlight=False)
    if made.is_jupyter:
        return Console(file=file, highlight=False, force_jupyter=False, force_terminal=False)
    return made
