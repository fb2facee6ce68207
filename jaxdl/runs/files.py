"""Files that a crash at any moment leaves whole, and JSON that every parser reads."""

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.errors import UserError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader, or a crash at any moment, sees the old content or the new, never a part."""
    data = content.encode() if isinstance(content, str) else content
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with telling(path):
        try:
            with open(part, "wb") as file:
                file.write(data)
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


def to_json(value: Any, indent: int | None = 2) -> str:
    """JSON that strict parsers read: NaN and infinities become null, numpy and jax arrays become lists."""
    return json.dumps(_strict(value), indent=indent, allow_nan=False, ensure_ascii=False)


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turns what the operating system refuses into one line for the user."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space and run again" if full else "give a folder that can be written"
        raise UserError(f"cannot write {path}: {error.strerror}; {advice}") from error


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
