"""TensorBoard event files.

The format is written here, since tensorboardX imports PyTorch where it is installed: 1.1 s of every start. An event
file is a sequence of records, as in TFRecord files. A record is a protocol buffer of the message `Event`; the fields
have the numbers of event.proto and summary.proto of TensorBoard.
"""

import ctypes
import functools
import secrets
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO


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
        self._file: BinaryIO | None = None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes {tag: value}."""
        self._write(step, [_bytes(1, tag.encode()) + _float(2, value) for tag, value in values.items()])

    def image(self, step: int, tag: str, png: bytes, height: int, width: int) -> None:
        """Writes a picture, the content of a PNG file with three channels."""
        image = _integer(1, height) + _integer(2, width) + _integer(3, 3) + _bytes(4, png)
        self._write(step, [_bytes(1, tag.encode()) + _bytes(4, image)])

    def hyperparameters(self, values: Mapping[str, bool | int | float | str]) -> None:
        """Writes {name: value} for TensorBoard's HParams plugin, which compares the scalars of runs by them."""
        entries = [_bytes(1, name.encode()) + _bytes(2, _value(value)) for name, value in values.items()]
        start = b"".join(_bytes(1, entry) for entry in entries) + _double(5, time.time())
        self._write(0, [_hparams("_hparams_/session_start_info", _bytes(3, start))])

    def finished(self, step: int) -> None:
        """Marks the run as finished for the HParams plugin."""
        end = _integer(1, 1) + _double(2, time.time())  # STATUS_SUCCESS
        self._write(step, [_hparams("_hparams_/session_end_info", _bytes(4, end))])

    def close(self) -> None:
        """Closes the file. A second call has no effect."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _write(self, step: int, values: list[bytes]) -> None:
        file = self._file = self._file or self._open()
        file.write(_event(_integer(2, step) + _bytes(5, b"".join(_bytes(1, value) for value in values))))
        file.flush()

    def _open(self) -> BinaryIO:
        self._folder.mkdir(exist_ok=True)
        # The clock may be set back, so a number orders the files. Two writers may have the same number.
        number = len(list(self._folder.iterdir()))
        name = f"events.p{number:06}.out.tfevents.{int(time.time())}.{socket.gethostname()}.{secrets.token_hex(4)}"
        file = (self._folder / name).open("xb")
        file.write(_event(_bytes(3, b"brain.Event:2")))
        if self._purge_step is not None:
            start = _integer(1, 1)  # SessionLog.START
            file.write(_event(_integer(2, self._purge_step) + _bytes(7, start)))
        return file


def _event(fields: bytes) -> bytes:
    """Returns the record of an event: its length, contents and checksums."""
    event = b"\x09" + struct.pack("<d", time.time()) + fields  # field 1: wall time
    length = struct.pack("<Q", len(event))
    return length + _checksum(length) + event + _checksum(event)


def _hparams(tag: str, info: bytes) -> bytes:
    """Returns the summary of plugin data of HParams, which is in the metadata of an empty tensor."""
    plugin = _bytes(1, b"hparams") + _bytes(2, info)
    tensor = _integer(1, 1) + _bytes(2, _bytes(2, _integer(1, 0)))  # DT_FLOAT [0]
    return _bytes(1, tag.encode()) + _bytes(9, _bytes(1, plugin)) + _bytes(8, tensor)


def _value(value: bool | int | float | str) -> bytes:
    """Returns a value as a google.protobuf.Value."""
    if isinstance(value, str):
        return _bytes(3, value.encode())
    return _integer(4, int(value)) if isinstance(value, bool) else _double(2, float(value))


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + bytes(ctypes.c_float(value))  # infinite beyond float32


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Returns a natural number in base 128, lowest digit first; every byte but the last has its high bit set."""
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _checksum(data: bytes) -> bytes:
    """Returns the masked CRC-32C of TFRecord files."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@functools.cache
def _crc_table() -> list[int]:
    """Returns the remainder of each byte by the Castagnoli polynomial."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table
