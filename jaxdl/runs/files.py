"""Atomic files, images and strict JSON."""

import io
import json
import math
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.errors import UserError, write_errors


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader, or a crash at any moment, leaves the old or the new content, never a part."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")  # the name of the file may have the greatest length
    with write_errors(path):
        try:
            with open(part, "wb") as file:
                file.write(utf8(content))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def utf8(content: str | bytes) -> bytes:
    r"""Encodes text; undecodable bytes of a file name, surrogates in Python, become "\udcXX" as in JSON."""
    return content.encode(errors="backslashreplace") if isinstance(content, str) else content


def leads_outside(path: Path, folder: Path) -> bool:
    """Returns whether a file or folder in a run folder is a symbolic link to a place outside of it."""
    # Unlike Path.resolve, realpath raises nothing for a link to itself.
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


_HEAD = 4096  # bytes that contain a mark


def check_output(path: Path, *marks: bytes) -> None:
    """Refuses to replace a file that jaxdl did not write.

    Args:
      path: File to write, named by the user.
      marks: Bytes in the first 4 KB of the files that the command writes; one is enough.

    Raises:
      UserError: The file exists, is not empty and has no mark.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it")
    if not path.is_file():
        return
    with write_errors(path), path.open("rb") as file:
        head = file.read(_HEAD)
    if head and not any(mark in head for mark in marks):
        raise UserError(f"{path} exists and was not written by this command; remove it or name another file")


def write_output(path: Path, content: str | bytes, *marks: bytes) -> None:
    """Writes a file named by the user, see `check_output`; a device or pipe is written to.

    Raises:
      UserError: The file exists and jaxdl did not write it, or it cannot be written.
    """
    check_output(path, *marks)
    if path.exists() and not path.is_file():  # which `write_atomically` would replace
        with write_errors(path):
            path.write_bytes(utf8(content))
        return
    write_atomically(path, content)


def write_png(path: Path, array: np.ndarray, command: str = "") -> Path:
    """Writes a PNG of uint8 [height, width, 3], or of integers [height, width] with 8 or, if needed, 16 bits.

    Args:
      path: File.
      array: Pixels.
      command: Command that writes to a path named by the user, such as "curves"; only its own pictures are replaced.
    """
    from PIL import Image, PngImagePlugin

    if array.ndim == 2:
        array = array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)
    buffer = io.BytesIO()
    text = PngImagePlugin.PngInfo()
    if command:
        text.add_text("Software", f"jaxdl {command}")
        check_output(path, f"Software\0jaxdl {command}".encode())
    Image.fromarray(array).save(buffer, "png", pnginfo=text)
    write_atomically(path, buffer.getvalue())
    return path


def write_gif(path: Path, frames: np.ndarray, least: int = 112, command: str = "") -> Path:
    """Writes a looping GIF with five frames per second; the last frame stays for two seconds.

    Args:
      path: File.
      frames: uint8 [n, height, width, 1 or 3].
      least: Pixels. Frames with a shorter longer side are enlarged by a whole factor, without interpolation.
      command: As for `write_png`.
    """
    from PIL import Image

    scale = -(-least // max(frames.shape[1:3]))
    large = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    images = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in large]
    buffer = io.BytesIO()
    waits = [200] * (len(images) - 1) + [2000]
    options = {"duration": waits, "loop": 0, "comment": f"jaxdl {command}".encode()}
    images[0].save(buffer, "gif", save_all=True, append_images=images[1:], **options)
    if command:
        check_output(path, f"jaxdl {command}".encode())
    write_atomically(path, buffer.getvalue())
    return path


def stems(files: Sequence[Path]) -> list[str]:
    """Returns a distinct stem for each file; files of the same name in different folders get a number."""
    found: list[str] = []
    for file in files:
        stem = name = re.sub(r"[^\w.-]", "_", file.stem)
        count = 1
        while name in found:
            count += 1
            name = f"{stem}_{count}"
        found.append(name)
    return found


def to_json(value: Any, indent: int | None = 2) -> str:
    """Serializes to strict JSON: NaN and infinities become null, numpy and jax arrays become lists."""
    return json.dumps(_strict(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _strict(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "dtype"):
        array = np.asarray(value)
        return _strict((array if array.dtype.kind in "biufUS" else array.astype(np.float64)).tolist())
    return value
