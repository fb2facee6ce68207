"""Folders in Hugging Face format: config.json, model.safetensors and further JSON files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.errors import UserError, write_errors
from jaxdl.interop.tensors import load_tensors, save_tensors
from jaxdl.remote import local

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def write_folder(path: Path, tensors: Mapping[str, np.ndarray], files: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes model.safetensors and JSON files by name.

    Raises:
      UserError: The folder already holds a model or is not writable.
    """
    if (path / WEIGHTS).exists():
        raise UserError(f"{path} already holds a model; choose another folder, or remove {WEIGHTS}")
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (path / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        save_tensors(path / WEIGHTS, tensors, "huggingface", format="pt")


def read_folder(folder: str | Path) -> Path:
    """Returns the folder; raises UserError if it does not exist."""
    path = local(folder)
    if not path.is_dir():
        raise UserError(f"folder {path} does not exist; pass one with {CONFIG} and {WEIGHTS}")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; raises UserError if the file is missing or invalid."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; copy it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object; copy it again")
    return value


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads all tensors from one file, or from the shards in the index.

    Raises:
      UserError: A file is missing or damaged.
    """
    files = [path / WEIGHTS]
    if not files[0].is_file():
        if not (path / INDEX).is_file():
            convertible = (path / "pytorch_model.bin").is_file()
            remedy = "load pytorch_model.bin and save it with transformers" if convertible else "copy it there"
            raise UserError(f"{path} has neither {WEIGHTS} nor {INDEX}; {remedy}")
        table = read_json(path / INDEX).get("weight_map")
        if not isinstance(table, dict) or not table:
            raise UserError(f"{path / INDEX} has no weight_map; copy it again")
        files = [path / str(name) for name in sorted(set(table.values()))]
    tensors = {}
    for file in files:
        if not file.is_file():
            raise UserError(f"{path / INDEX} lists {file.name}, which does not exist; copy all shards")
        tensors |= load_tensors(file)
    return tensors
