"""Log of what libraries report from background threads, background.log in the run folder."""

import contextlib
import logging
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxdl.errors import WriteError

NAME = "background.log"
_LOGGERS = ("absl", "asyncio")  # of Orbax and TensorStore
_REPORT_SECONDS = 2.0


class _File(logging.FileHandler):
    """File that is created at the first message; a message that cannot be written is dropped."""

    def __init__(self, path: Path):
        super().__init__(path, delay=True)
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # the file cannot be opened, as in `handleError`
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drops the message: the disk is full, which the command itself reports."""

    def close(self) -> None:
        with contextlib.suppress(OSError):  # as in `handleError`
            super().close()


@contextmanager
def background_log(folder: Path) -> Iterator[None]:
    """Writes errors and warnings of background threads to `background.log` instead of standard error.

    The command reports the failure of a save itself, in one line; this file has the libraries' tracebacks.

    Args:
      folder: Run folder.
    """
    handler = _File(folder / NAME)
    logger = logging.getLogger("jaxdl.background")

    def log(kind: Any, error: BaseException | None, trace: Any, source: str) -> None:
        text = "".join(traceback.format_exception(kind, error, trace)).rstrip()
        logger.error("%s\n%s", source, text)

    def thread_hook(args: threading.ExceptHookArgs) -> None:
        log(args.exc_type, args.exc_value, args.exc_traceback, f"thread {getattr(args.thread, 'name', '?')}")

    def unraisable_hook(args: Any) -> None:
        log(args.exc_type, args.exc_value, args.exc_traceback, f"{args.err_msg or 'ignored in'} {args.object!r}")

    def warning_hook(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        main = threading.current_thread() is threading.main_thread()
        if main and "was never awaited" not in str(message):  # of a thread that failed
            show(message, category, *place, **options)
        else:
            logger.warning("%s: %s", category.__name__, message)

    loggers = [logger, *map(logging.getLogger, _LOGGERS)]
    before = [(one, one.handlers, one.propagate) for one in loggers]
    hooks = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = thread_hook, unraisable_hook
    show, warnings.showwarning = warnings.showwarning, warning_hook
    for one in loggers:
        one.handlers, one.propagate = [handler], False
    running = set(threading.enumerate())
    try:
        yield
    except WriteError:
        # Other threads of a failed save report their failures a moment later. `join` of Orbax's raises these.
        late = {thread for thread in threading.enumerate() if not thread.daemon} - running
        deadline = time.monotonic() + _REPORT_SECONDS
        while any(thread.is_alive() for thread in late) and time.monotonic() < deadline:
            time.sleep(0.01)
        raise
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        warnings.showwarning = show
        for one, handlers, propagate in before:
            one.handlers, one.propagate = handlers, propagate
        handler.close()
