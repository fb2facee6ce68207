"""TensorBoard event files, written without importing anything.

The usual writers import PyTorch or TensorFlow when they find it installed, which costs seconds at every start. The
format is small and frozen: a file of records (length, masked CRC-32C of the length, bytes, masked CRC-32C of the
bytes), each an `Event` protocol buffer. Every event reaches the operating system before the call returns, so a killed
run loses none.
"""

import os
import secrets
import struct
import time
from collections.abc import Mapping
from pathlib import Path

_SESSION_START = 1


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def _masked_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked_crc(length)) + data + struct.pack("<I", _masked_crc(data))


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _single(field: int, value: float) -> bytes:
    try:
        packed = struct.pack("<f", value)
    except OverflowError:  # beyond float32, which is what TensorBoard stores
        packed = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return _varint(field << 3 | 5) + packed


class EventFile:
    """One event file of its own in `folder`, opened by the first thing written to it.

    Args:
      folder: TensorBoard's log directory; several files may lie in it, read in the order of their names.
      purge_step: TensorBoard hides what earlier files hold from this step on.
    """

    def __init__(self, folder: Path, purge_step: int | None = None):
        self._folder = folder
        self._purge_step = purge_step
        self._file = None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes {tag: value} as one event; values beyond float32 become infinite."""
        summary = b"".join(
            _message(1, _message(1, tag.encode()) + _single(2, float(value))) for tag, value in values.items()
        )
        self._write(step, _message(5, summary))

    def image(self, step: int, tag: str, png: bytes, height: int, width: int) -> None:
        """Writes an RGB picture that is already encoded as PNG."""
        image = _integer(1, height) + _integer(2, width) + _integer(3, 3) + _message(4, png)
        self._write(step, _message(5, _message(1, _message(1, tag.encode()) + _message(4, image))))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, step: int, content: bytes) -> None:
        if self._file is None:
            self._open()
        assert self._file is not None
        self._file.write(_record(self._event(step, content)))

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        # Nanoseconds first, so that files of one second are read in order; the rest so that no two share a name.
        now = time.time_ns()
        name = f"events.out.tfevents.{now // 10**9}.{now}.{os.getpid()}.{secrets.token_hex(4)}"
        self._file = (self._folder / name).open("xb", buffering=0)
        self._file.write(_record(self._event(0, _message(3, b"brain.Event:2"))))
        if self._purge_step is not None:
            start = _message(7, _integer(1, _SESSION_START))
            self._file.write(_record(self._event(self._purge_step, start)))

    @staticmethod
    def _event(step: int, content: bytes) -> bytes:
        return _varint(1 << 3 | 1) + struct.pack("<d", time.time()) + _integer(2, step) + content
