"""Codecs behind the tokenizers: a character table, and models of the library `tokenizers`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.data.text.special_tokens import SPECIALS, UNKNOWN
from jaxdl.errors import from_extra

# Names of the special tokens inside the library. They contain a space, which no token of a text does.
INSIDE = tuple(f"special {number}" for number in range(len(SPECIALS)))

SPACE = "▁"

SUBWORD_PIECE = rf"{SPACE}?\w+|{SPACE}?[^\w\s{SPACE}]+|\s|{SPACE}"

WORD_PIECE = r"\w+(?:['’]\w+)*|[^\w\s]"

# Spaces that `decode` removes: before closing and after opening punctuation.
_SPACES = (r" (?=[.,:;!?%)\]}])", r"(?<=[(\[{]) ")

_CHUNK = 1 << 14  # characters per call of the library


class Table:
    """Character tokenizer as an array indexed by code point."""

    kind = "characters"

    def __init__(self, letters: str):
        self.state = letters
        self.tokens = tuple(letters)
        codes = codes_of(letters)
        # The last entry serves all code points above the highest known one.
        self._ids = np.full(int(codes.max(initial=0)) + 2, UNKNOWN, np.int32)
        self._ids[codes] = np.arange(len(codes), dtype=np.int32) + len(SPECIALS)

    def measure_all(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        encoded = [self._ids[np.minimum(codes_of(text), len(self._ids) - 1)] for text in texts]
        return [(ids, np.ones(len(ids), np.int32)) for ids in encoded]

    def join(self, tokens: Sequence[str]) -> str:
        return "".join(tokens)

    def huggingface(self) -> dict[str, Any]:
        """Returns the equivalent tokenizer of the library `tokenizers`."""
        with from_extra("text", "A tokenizer"):
            from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

        numbered = {token: number for number, token in enumerate((*SPECIALS, *self.tokens))}
        library = Tokenizer(models.WordLevel(numbered, unk_token=SPECIALS[UNKNOWN]))
        library.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        library.decoder = decoders.Fuse()
        return _with_specials(json.loads(library.to_str()))


class Library:
    """Word, BPE, WordPiece or other pretrained tokenizer of the library `tokenizers`."""

    def __init__(self, kind: str, state: Mapping[str, Any]):
        with from_extra("text", "A tokenizer of words or word parts"):
            import tokenizers

        if kind not in ("words", "bpe", "wordpiece", "pretrained"):
            raise ValueError(f"unknown tokenizer kind '{kind}'; use words, bpe, wordpiece or pretrained")
        self.kind, self.state = kind, state
        self._library = tokenizers.Tokenizer.from_str(json.dumps(state))
        numbered = sorted(self._library.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
        self.tokens = tuple(token for token, _ in numbered[len(SPECIALS) :])
        # Characters per BPE id. BPE tokens are substrings of the text; <unknown> stands for one character.
        self._widths = np.array([1] * len(SPECIALS) + [len(token) for token in self.tokens], np.int32)

    def measure_all(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `Tokenizer.measure_all`.

        Long texts are encoded line by line, which yields the same tokens.
        """
        if self.kind != "bpe":
            return [self._words(text) for text in texts]
        # Subwords begin with their space; a space before the first word makes it equal to the others.
        pieces = [pieces_of(" " + text) if text else [] for text in texts]
        flat = [piece for parts in pieces for piece in parts]
        encoded = iter(self._library.encode_batch_fast(flat, add_special_tokens=False))
        result = []
        for parts in pieces:
            ids = np.array([number for _ in parts for number in next(encoded).ids], np.int32)
            widths = self._widths[ids]
            widths[:1] -= 1  # the added space
            result.append((ids, widths))
        return result

    def _words(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        ids: list[int] = []
        ends: list[int] = []
        start = 0
        pieces = [text] if self.kind == "pretrained" else pieces_of(text)  # which may add a space to each
        for piece, encoding in zip(pieces, self._library.encode_batch(pieces, add_special_tokens=False)):
            ids += encoding.ids
            ends += [start + end for _, end in encoding.offsets]
            start += len(piece)
        if ends:
            ends[-1] = len(text)
        return np.array(ids, np.int32), np.diff(np.array(ends, np.int32), prepend=np.int32(0))

    def huggingface(self) -> dict[str, Any]:
        """Returns the equivalent tokenizer of the library `tokenizers`, with jaxdl's special tokens."""
        state = json.loads(json.dumps(self.state))
        model = state["model"]
        if isinstance(model["vocab"], list):
            model["vocab"][: len(SPECIALS)] = [[name, entry[1]] for name, entry in zip(SPECIALS, model["vocab"])]
        else:
            for inside, name in zip(INSIDE, SPECIALS):
                model["vocab"][name] = model["vocab"].pop(inside)
            model["unk_token"] = SPECIALS[UNKNOWN] if model.get("unk_token") else None
        if self.kind == "pretrained":
            return _with_specials(state)
        if self.kind == "bpe":  # the space added before a text
            steps = [{"type": "Prepend", "prepend": " "}, state["normalizer"]]
            state["normalizer"] = {"type": "Sequence", "normalizers": steps}
            space = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
            strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
            state["decoder"] = {"type": "Sequence", "decoders": [space, {"type": "Fuse"}, strip]}
        else:  # the rules of `join`
            words = {"type": "WordPiece", "prefix": "##", "cleanup": False}
            rules = [{"type": "Replace", "pattern": {"Regex": rule}, "content": ""} for rule in _SPACES]
            state["decoder"] = {"type": "Sequence", "decoders": [words, {"type": "Fuse"}, *rules]}
        return _with_specials(state)

    def join(self, tokens: Sequence[str]) -> str:
        if self.kind == "pretrained":
            decoder = self._library.decoder
            return " ".join(tokens) if decoder is None else decoder.decode(list(tokens))
        if self.kind == "bpe":
            return "".join(tokens).replace(SPACE, " ").removeprefix(" ")
        together = " ".join(tokens)
        together = together.replace(" ##", "") if self.kind == "wordpiece" else together
        for rule in _SPACES:
            together = re.sub(rule, "", together)
        return together


def _with_specials(state: dict[str, Any]) -> dict[str, Any]:
    """Returns a tokenizer state in which the four special tokens are registered, before other added tokens."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": number, "content": name, **flags} for number, name in enumerate(SPECIALS)]
    return {**state, "added_tokens": [*added, *state.get("added_tokens", ())]}


def codes_of(text: str) -> np.ndarray:
    """Returns the code points of a text, uint32 [characters]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def pieces_of(text: str) -> list[str]:
    """Splits a long text after line breaks, which no token crosses; keeps a short text whole."""
    if len(text) <= _CHUNK:
        return [text]
    pieces, start = [], 0
    while start < len(text):
        stop = text.find("\n", start + _CHUNK) + 1 or len(text)
        pieces.append(text[start:stop])
        start = stop
    return pieces
