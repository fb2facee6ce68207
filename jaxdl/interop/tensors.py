"""Files of the format safetensors."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxdl.errors import UserError, from_extra, write_errors

FLOATING = ("float64", "float32", "float16", "bfloat16")


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray], extra: str, **metadata: str) -> None:
    """Writes a file with the mode of the process's umask; `extra` of pyproject.toml contains safetensors.

    Raises:
      WriteError: The disk is full, or the folder is not writable.
    """
    with from_extra(extra, f"{path.name}"):
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

    with write_errors(path):
        path.touch()
        mode = path.stat().st_mode
        try:
            save_file(dict(tensors), path, metadata=metadata or None)
        except SafetensorError as error:
            code = re.search(r"\(os error (\d+)\)", str(error))  # the library reports errors of writing as text
            if code is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
        path.chmod(mode)  # safetensors creates files that only their owner can read


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads a file.

    Raises:
      UserError: The file is damaged.
    """
    with from_extra("huggingface", "The Hugging Face format"):
        from safetensors.numpy import load_file

    try:
        return load_file(path)
    except Exception as error:  # the library's error type is compiled; any error means a damaged file
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}; copy it again") from error
