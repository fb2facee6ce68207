"""Folders of pretrained Transformers in Hugging Face's format, and where their special tokens go.

Ids 0 to 3 are <pad>, <start>, <end> and <unknown> here, for every vocabulary. BERT's are elsewhere: each trades places
with what stands at ours, in the tokenizer and in the table of vectors alike.
"""

import json
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError
from jaxdl.home import data_home

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
