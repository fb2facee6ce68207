"""Tokenizers and trained vocabularies.

Ids 0 to 3 are <pad>, <start>, <end> and <unknown> in every vocabulary. They never result from a text, not even from
the text "<end>".
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.dataset import origin
from jaxdl.data.source import Loadable, read_texts
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.store.pretrained import pretrained, read_tokenizer
from jaxdl.data.text.codecs import (
    INSIDE,
    SPACE,
    SUBWORD_PIECE,
    WORD_PIECE,
    Library,
    Table,
    codes_of,
    pieces_of,
)
from jaxdl.data.text.special_tokens import END, SPECIALS, UNKNOWN
from jaxdl.errors import UserError, from_extra
from jaxdl.home import data_home

UNUSED = "<unused>"  # text of ids beyond the tokens of a small corpus

_FORMAT = 1  # version of the training and the file format; part of the file name

_NOT_TRAIN = ("val", "dev", "eval", "test", "all")


class Tokenizer(Sequence[str]):
    """Tokenizer: a sequence of token texts, indexed by id.

    `len(t)` is the number of ids, and `t[id]` the text of a token, or "<unused>". It is created by `Characters`,
    `Words`, `BPE`, `Pretrained` or `from_json`.

    Example: with `Words`, `t.encode("the cat")` is [4, 7], and `t.decode([4, 7, 2])` is "the cat".
    """

    def __init__(self, codec: Table | Library, size: int):
        if size < len(SPECIALS) + len(codec.tokens):
            raise ValueError(
                f"{len(codec.tokens)} tokens and {len(SPECIALS)} special tokens exceed {size} ids; increase size"
            )
        self._codec = codec
        unused = size - len(SPECIALS) - len(codec.tokens)
        self._texts = (*SPECIALS, *codec.tokens, *[UNUSED] * unused)
        self._used = len(self._texts) - unused

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: Any) -> Any:
        return self._texts[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.json == other.json

    def __hash__(self) -> int:
        return hash(self.json)

    def __repr__(self) -> str:
        return f"<Tokenizer of {self._codec.kind}, {len(self)} ids, {self.digest[:8]}>"

    def __reduce__(self) -> Any:
        return Tokenizer.from_json, (self.json,)

    @functools.cached_property
    def json(self) -> str:
        """Serialization for `from_json`."""
        return json.dumps({"kind": self._codec.kind, "size": len(self), "codec": self._codec.state})

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of `json`, in hexadecimal."""
        return hashlib.sha256(self.json.encode()).hexdigest()

    @functools.cached_property
    def huggingface(self) -> str:
        """Content of tokenizer.json for the library `tokenizers`, which yields the same ids."""
        return json.dumps(self._codec.huggingface(), ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> Tokenizer:
        """Inverts `json`.

        Raises:
          UserError: The text is not a serialized tokenizer.
        """
        try:
            fields = json.loads(text)
            kind, size, state = fields["kind"], fields["size"], fields["codec"]
            return Tokenizer(Table(state) if kind == Table.kind else Library(kind, state), size)
        except Exception as error:  # the library raises bare Exception
            reason = " ".join(str(error).split())
            raise UserError(f"not a tokenizer of jaxdl ({reason}); train it again from its corpus") from error

    def encode(self, text: str) -> np.ndarray:
        """Encodes a text to ids, int32 [tokens], without <start> and <end>."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes texts to ids, int32 [tokens] each."""
        return [ids for ids, _ in self.measure_all(texts)]

    def measure_all(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Encodes texts to ids and characters per token, int32 [tokens] each.

        Characters between two tokens, such as spaces, belong to the second one, and trailing characters to the last
        one, so the widths sum to the length of a text with at least one token.
        """
        return self._codec.measure_all(texts)

    @functools.cached_property
    def spellings(self) -> tuple[str, ...]:
        """Text that each id adds to a decoded text, "" for special and unused ids.

        With BPE the first space of a decoded text is removed.

        Raises:
          UserError: Tokens of words, between which `decode` adds spaces.
        """
        if self._codec.kind not in (Table.kind, "bpe"):
            raise UserError(f"{self!r} does not spell its texts; use a vocabulary of Characters or BPE")
        texts = self._texts[len(SPECIALS) : self._used]
        texts = texts if self._codec.kind == Table.kind else [text.replace(SPACE, " ") for text in texts]
        return (*[""] * len(SPECIALS), *texts, *[""] * (len(self) - self._used))

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Decodes ids up to <end>, without special and unused ids.

        Raises:
          IndexError: An id is outside the vocabulary.
        """
        tokens = []
        for number in np.asarray(ids, np.int64).ravel().tolist():
            if number == END:
                break
            if not 0 <= number < len(self):
                raise IndexError(f"id {number} is outside the vocabulary of {len(self)} ids")
            if len(SPECIALS) <= number < self._used:
                tokens.append(self._texts[number])
        return self._codec.join(tokens)

    def first_unknown(self, text: str) -> int | None:
        """Returns the position of the first character without an id, or None.

        None if tokens are not characters.
        """
        foreign = self._foreign(text)
        return int(foreign[0]) if len(foreign) else None

    def unknown_characters(self, text: str) -> str:
        """Returns the characters without an id, in order; "" if tokens are not characters."""
        return "".join(text[position] for position in self._foreign(text))

    def _foreign(self, text: str) -> np.ndarray:
        if self._codec.kind != Table.kind:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.encode(text) == UNKNOWN)


@dataclass(frozen=True)
class Characters:
    """Character vocabulary of the most frequent characters in the corpus.

    Attributes:
      size: Number of ids, including the four special tokens.
    """

    size: int

    def __post_init__(self):
        _check_size(self)

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """Trains the tokenizer; raises UserError if the texts are empty."""
        letters = _frequent(_count(texts), self.size - len(SPECIALS))
        return Tokenizer(Table("".join(letters)), self.size)


@dataclass(frozen=True)
class Words:
    """Word vocabulary of the most frequent words and punctuation marks; "don't" is one word.

    `decode` restores spaces by rules, which may differ from the original text.

    Attributes:
      size: Number of ids, including the four special tokens.
      lowercase: Whether to lowercase texts.
    """

    size: int
    lowercase: bool = True

    def __post_init__(self):
        _check_size(self)

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """Trains the tokenizer; raises UserError if the texts contain no word."""
        with from_extra("text", "A tokenizer of words"):
            from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers
            from tokenizers import Tokenizer as Model

        library = Model(models.WordLevel({}, unk_token=INSIDE[UNKNOWN]))
        if self.lowercase:
            library.normalizer = normalizers.Lowercase()
        library.pre_tokenizer = pre_tokenizers.Split(Regex(WORD_PIECE), "removed", invert=True)
        trainer = trainers.WordLevelTrainer(
            vocab_size=self.size, special_tokens=list(INSIDE), show_progress=False, min_frequency=0
        )
        library.train_from_iterator(texts, trainer)
        return _finished("words", library, self.size)


@dataclass(frozen=True)
class BPE:
    """Byte-pair encoding over characters (Sennrich, Haddow and Birch, 2016, arXiv:1508.07909).

    A space belongs to the following word and is written ▁ (Kudo and Richardson, "SentencePiece", arXiv:1808.06226).
    `decode` is exact except for characters without an id and ▁ itself.

    Attributes:
      size: Number of ids: the four special tokens, the characters of the corpus (most frequent first) and subwords.
    """

    size: int

    def __post_init__(self):
        _check_size(self)

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """Trains the tokenizer; raises UserError if the texts are empty."""
        with from_extra("text", "A subword tokenizer"):
            from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers
            from tokenizers import Tokenizer as Model

        texts = [" " + text for text in texts if text]
        # The library breaks ties between rare characters at random, so the alphabet is selected here.
        counts = _count(text.replace(" ", SPACE) for text in texts)
        letters = _frequent(counts, self.size - len(SPECIALS))
        library = Model(models.BPE(unk_token=INSIDE[UNKNOWN]))
        library.normalizer = normalizers.Replace(" ", SPACE)
        library.pre_tokenizer = pre_tokenizers.Split(Regex(SUBWORD_PIECE), "isolated")
        trainer = trainers.BpeTrainer(
            vocab_size=self.size,
            special_tokens=list(INSIDE),
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            show_progress=False,
        )
        library.train_from_iterator((piece for text in texts for piece in pieces_of(text)), trainer)
        return _finished("bpe", library, self.size)


@dataclass(frozen=True)
class Pretrained:
    """Tokenizer of a pretrained model: any tokenizer.json of the library `tokenizers`.

    Its special tokens are moved to jaxdl's ids; see `jaxdl.data.store.pretrained`.

    Attributes:
      folder: Folder with tokenizer.json, or a name such as "minilm" prepared by `jaxdl data --prepare=NAME`.
    """

    folder: str

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(read_tokenizer(pretrained(self.folder)).rows)

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """Returns the tokenizer; raises UserError if the folder has none."""
        del texts
        read = read_tokenizer(pretrained(self.folder))
        size, model = len(read.rows), read.state["model"]
        vocabulary = {**read.ids, **{name: number for number, name in enumerate(INSIDE)}}
        if isinstance(model["vocab"], list):  # Unigram: the score of each token
            scores = dict(map(tuple, model["vocab"]))
            known = dict(zip(INSIDE, read.specials))
            worst = min(scores.values(), default=0.0)
            ordered = sorted(vocabulary, key=lambda token: vocabulary[token])
            model = {**model, "vocab": [[token, scores.get(known.get(token) or token, worst)] for token in ordered]}
            model |= {"unk_id": UNKNOWN}
        else:
            model = {**model, "vocab": vocabulary}
            model |= {"unk_token": INSIDE[UNKNOWN]} if model.get("unk_token") else {}
        kept = [token for token in read.state.get("added_tokens") or () if not token.get("special")]
        kept = [{**token, "id": read.ids[token["content"]]} for token in kept if token["content"] in read.ids]
        state = {**read.state, "post_processor": None, "truncation": None, "padding": None, "added_tokens": kept}
        bert = model["type"] == "WordPiece" and not kept
        return Tokenizer(Library("wordpiece" if bert else "pretrained", {**state, "model": model}), size)


def _check_size(kind: Characters | Words | BPE) -> None:
    if kind.size <= len(SPECIALS):
        raise UserError(
            f"{type(kind).__name__}.size={kind.size} must be at least {len(SPECIALS) + 1}, because the first "
            f"{len(SPECIALS)} ids are {', '.join(SPECIALS)}"
        )


def _count(texts: Iterable[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        codes, times = np.unique(codes_of(text), return_counts=True)
        counts.update(dict(zip(map(chr, codes.tolist()), times.tolist())))
    return counts


def _frequent(counts: Mapping[str, int], limit: int) -> list[str]:
    """Returns the `limit` most frequent characters, ties by code point, sorted by code point."""
    if not counts:
        raise UserError("the corpus has no text to train a vocabulary on; use another data set, split or feature")
    return sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[:limit])


def _finished(kind: str, library: Any, size: int) -> Tokenizer:
    """Returns a trained tokenizer in which no text encodes to a special token."""
    state = json.loads(library.to_str()) | {"added_tokens": []}
    tokenizer = Tokenizer(Library(kind, state), size)
    if tokenizer[len(SPECIALS)] == UNUSED:
        raise UserError("the corpus has no words to train a vocabulary on; use another data set, split or feature")
    return tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """Vocabulary trained on a corpus and cached below `data_home()/tokenizers`.

    Use the training split for training and evaluation, so that evaluation data does not influence the vocabulary.

    Attributes:
      kind: Type of tokens and size.
      corpus: Training corpus.
      features: Text features of the corpus, such as ("source", "target").
    """

    kind: Characters | Words | BPE | Pretrained
    corpus: Loadable
    features: tuple[str, ...] = ("text",)

    @property
    def size(self) -> int:
        """Number of ids."""
        return self.kind.size

    def load(self) -> Tokenizer:
        """Returns the tokenizer; trains it first if it is not cached, or if the cache is damaged.

        Raises:
          UserError: The corpus is not a training split, is empty or not text, or the cache is not writable.
        """
        check_training(self.corpus, "Vocabulary")
        source = self.corpus.load()
        key = digest_of([_FORMAT, repr(self.kind), source.fingerprint, list(self.features)])
        path = data_home() / "tokenizers" / f"{key}.json"
        tokenizer = _cached(path)
        if tokenizer is None:
            columns = read_texts(source, self.features)
            _write(path, self.kind.train(text for texts in columns.values() for text in texts))
            tokenizer = _read(path, path.stat().st_mtime_ns)
        if len(tokenizer) != self.size:
            raise UserError(f"{path} has {len(tokenizer)} ids, not {self.size}; remove it and run the command again")
        return tokenizer


def check_training(corpus: Loadable, owner: str) -> None:
    """Raises UserError if `corpus` is an evaluation split; `owner` names what is trained on it."""
    split = getattr(origin(corpus), "split", None)
    for part in split.split("+") if isinstance(split, str) else ():
        if part.strip().lower().startswith(_NOT_TRAIN):
            raise UserError(
                f"{owner} must be trained on the training split, not on '{split}'; set {owner}.corpus to it"
            )


def _write(path: Path, tokenizer: Tokenizer) -> None:
    """Writes a tokenizer atomically, so that concurrent readers never see a partial file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as file:
            json.dump({"sha256": tokenizer.digest, "tokenizer": tokenizer.json}, file)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error}); set JAXDL_DATA to a writable folder") from error


def _cached(path: Path) -> Tokenizer | None:
    """Returns a cached tokenizer; None if it is missing or damaged."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # the formats of damaged content
        print(f"warning: {path} is damaged; the vocabulary is trained again", file=sys.stderr)
        return None


@functools.lru_cache(maxsize=32)
def _read(path: Path, modified: int) -> Tokenizer:
    """Reads a tokenizer, cached per process until the file changes. Damaged content raises any exception."""
    fields = json.loads(path.read_bytes())
    text = fields["tokenizer"]
    if hashlib.sha256(text.encode()).hexdigest() != fields["sha256"]:
        raise ValueError(f"{path} does not have its SHA-256")
    return Tokenizer.from_json(text)
