"""TensorBoard event files, through tensorboardX."""

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class EventFile:
    """TensorBoard event file, created at the first write.

    Every call flushes to the operating system before it returns, so a killed run loses no event.

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
        for tag, value in values.items():
            self._open().add_scalar(tag, value, step)
        self._open().flush()

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Writes a picture, uint8 [height, width, 3]."""
        self._open().add_image(tag, image, step, dataformats="HWC")
        self._open().flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            from tensorboardX import SummaryWriter

            # Two writers within one second would have the same file name; nanoseconds keep them distinct and ordered.
            suffix = f".{time.time_ns()}.{os.getpid()}.{secrets.token_hex(4)}"
            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_step, filename_suffix=suffix)
        return self._writer
