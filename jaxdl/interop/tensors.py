"""Files of the format safetensors."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxdl.errors import UserError, from_extra

FLOATING = ("float64", "float32", "float16", "bfloat16")


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray], extra: str, **metadata: str) -> None:
    """Writes a file with the mode of the process's umask; `extra` of pyproject.toml contains safetensors."""
    with from_extra(extra, f"{path.name}"):
        from safetensors.numpy import save_file

    path.touch()
    mode = path.stat().st_mode
    save_file(dict(tensors), path, metadata=metadata or None)
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
