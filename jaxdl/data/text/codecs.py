"""How the tokenizers of `jaxdl.data.text.tokenizers` take texts apart: by a table, or by the library `tokenizers`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.data.text.special_tokens import SPECIALS, UNKNOWN
from jaxdl.errors import from_extra

# The specials' names inside the library. No token that a text can become has a space in it, so none is one of these.
INSIDE = tuple(f"special {number}" for number in range(len(SPECIALS)))

SPACE = "▁"

SUBWORD_PIECE = rf"{SPACE}?\w+|{SPACE}?[^\w\s{SPACE}]+|\s|{SPACE}"

WORD_PIECE = r"\w+(?:['’]\w+)*|[^\w\s]"

_CHUNK = 1 << 14  # characters that are given to the library in one piece


class Table:
    """A character a token, looked up in an array by code point."""

    kind = "characters"

    def __init__(self, letters: str):
        self.state = letters
        self.tokens = tuple(letters)
        codes = codes_of(letters)
        # One entry more than the highest character known: all beyond it are looked up there.
        self._ids = np.full(int(codes.max(initial=0)) + 2, UNKNOWN, np.int32)
        self._ids[codes] = np.arange(len(codes), dtype=np.int32) + len(SPECIALS)

    def measure_all(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        found = [self._ids[np.minimum(codes_of(text), len(self._ids) - 1)] for text in texts]
        return [(ids, np.ones(len(ids), np.int32)) for ids in found]

    def join(self, tokens: Sequence[str]) -> str:
        return "".join(tokens)

    def huggingface(self) -> dict[str, Any]:
        """The same as a tokenizer of the library `tokenizers`."""
        with from_extra("text", "A tokenizer"):
            from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

        numbered = {token: number for number, token in enumerate((*SPECIALS, *self.tokens))}
        library = Tokenizer(models.WordLevel(numbered, unk_token=SPECIALS[UNKNOWN]))
        library.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        library.decoder = decoders.Fuse()
        return _with_specials(json.loads(library.to_str()))


class Library:
    """Words or parts of words, by the library `tokenizers`."""

    def __init__(self, kind: str, state: Mapping[str, Any]):
        with from_extra("text", "A tokenizer of words or word parts"):
            import tokenizers

        if kind not in ("words", "bpe", "wordpiece"):
            raise ValueError(f"there are no tokenizers of kind '{kind}'")
        self.kind, self.state = kind, state
        self._library = tokenizers.Tokenizer.from_str(json.dumps(state))
        numbered = sorted(self._library.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
        self.tokens = tuple(token for token, _ in numbered[len(SPECIALS) :])
        # Characters of each id of BPE, where a token is part of the text as it is; <unknown> stands for one.
        self._widths = np.array([1] * len(SPECIALS) + [len(token) for token in self.tokens], np.int32)

    def measure_all(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `Tokenizer.measure_all`; long texts go to the library line by line, which changes no token."""
        if self.kind != "bpe":
            return [self._words(text) for text in texts]
        # Parts of words begin with their space; the first word is given one, too, so that it is like the others.
        pieces = [pieces_of(" " + text) if text else [] for text in texts]
        flat = [piece for each in pieces for piece in each]
        encoded = iter(self._library.encode_batch_fast(flat, add_special_tokens=False))
        result = []
        for each in pieces:
            ids = np.array([number for _ in each for number in next(encoded).ids], np.int32)
            widths = self._widths[ids]
            widths[:1] -= 1  # the space that was put there
            result.append((ids, widths))
        return result

    def _words(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        ids: list[int] = []
        ends: list[int] = []
        start = 0
        pieces = pieces_of(text)
        for piece, found in zip(pieces, self._library.encode_batch(pieces, add_special_tokens=False)):
            ids += found.ids
            ends += [start + end for _, end in found.offsets]
            start += len(piece)
        if ends:
            ends[-1] = len(text)
        return np.array(ids, np.int32), np.diff(np.array(ends, np.int32), prepend=np.int32(0))

    def huggingface(self) -> dict[str, Any]:
        """The same as a tokenizer of the library `tokenizers`, whose specials have our names."""
        state = json.loads(json.dumps(self.state))
        model = state["model"]
        for inside, name in zip(INSIDE, SPECIALS):
            model["vocab"][name] = model["vocab"].pop(inside)
        model["unk_token"] = SPECIALS[UNKNOWN]
        if self.kind == "bpe":  # the space that is put before a text
            steps = [{"type": "Prepend", "prepend": " "}, state["normalizer"]]
            state["normalizer"] = {"type": "Sequence", "normalizers": steps}
            space = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
            strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
            state["decoder"] = {"type": "Sequence", "decoders": [space, {"type": "Fuse"}, strip]}
        return _with_specials(state)

    def join(self, tokens: Sequence[str]) -> str:
        if self.kind == "bpe":
            return "".join(tokens).replace(SPACE, " ").removeprefix(" ")
        together = " ".join(tokens)
        together = together.replace(" ##", "") if self.kind == "wordpiece" else together
        text = re.sub(r" ([.,:;!?%)\]}])", r"\1", together)
        return re.sub(r"([(\[{]) ", r"\1", text)


def _with_specials(state: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer's state in which our four specials are known as such."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": number, "content": name, **flags} for number, name in enumerate(SPECIALS)]
    return {**state, "added_tokens": added}


def codes_of(text: str) -> np.ndarray:
    """uint32 [characters]: code points."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def pieces_of(text: str) -> list[str]:
    """A long text cut after line breaks, which no token crosses; a short one as it is."""
    if len(text) <= _CHUNK:
        return [text]
    pieces, start = [], 0
    while start < len(text):
        stop = text.find("\n", start + _CHUNK) + 1 or len(text)
        pieces.append(text[start:stop])
        start = stop
    return pieces
