"""TensorBoard event files, through tensorboardX."""

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class EventFile:
    """One event file of its own in `folder`, opened by the first thing written to it.

    Every call reaches the operating system before it returns, so a killed run loses no event.

    Args:
      folder: TensorBoard's log directory; several files may lie in it, read in the order of their names.
      purge_step: TensorBoard hides what earlier files hold from this step on.
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

            # Two writers of one second would have the same file name; nanoseconds keep them apart and in order.
            suffix = f".{time.time_ns()}.{os.getpid()}.{secrets.token_hex(4)}"
            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_step, filename_suffix=suffix)
        return self._writer
