"""TensorBoard event files, with the record format and protocol buffers of tensorboardX."""

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class EventFile:
    """TensorBoard event file, created at the first write.

    Every call writes to disk before it returns, in the calling thread: a killed run loses no event, and a full disk is
    an OSError of the call.

    Args:
      folder: Log directory. TensorBoard reads its event files in the order of their names.
      purge_step: Step from which TensorBoard hides the events of earlier files. None: it hides none.
    """

    def __init__(self, folder: Path, purge_step: int | None = None):
        self._folder = folder
        self._purge_step = purge_step
        self._writer: Any = None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes {tag: value}."""
        from tensorboardX.proto.summary_pb2 import Summary  # type: ignore

        self._write(step, Summary(value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]))

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Writes a picture, uint8 [height, width, 3]."""
        from tensorboardX import summary

        self._write(step, summary.image(tag, image, dataformats="HWC"))

    def close(self) -> None:
        """Closes the file. A second call has no effect."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _write(self, step: int, summary: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event  # type: ignore

        writer = self._open()
        writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        writer.flush()

    def _open(self) -> Any:
        if self._writer is None:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore

            self._folder.mkdir(exist_ok=True)
            # The clock may be set back, so a number orders the files. Two writers may have the same number.
            number = len(list(self._folder.iterdir()))
            self._writer = EventsWriter(str(self._folder / f"events.p{number:06}"), f".{secrets.token_hex(4)}")
            if self._purge_step is not None:
                session = SessionLog(status=SessionLog.START)
                self._writer.write_event(Event(wall_time=time.time(), step=self._purge_step, session_log=session))
        return self._writer
