"""Tokenizers: text as numbers and back, and the vocabularies they are trained to.

Every tokenizer has the same four ids first: 0 <pad>, 1 <start>, 2 <end>, 3 <unknown>. No text is ever read as one of
them, not even the text "<end>".
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
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
from jaxdl.data.store.pretrained import SPECIALS as OF_BERT
from jaxdl.data.store.pretrained import pretrained, read_tokenizer, trades
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

UNUSED = "<unused>"  # stands for the ids of a vocabulary that its corpus could not fill

_FORMAT = 1  # of the files on disk; a change of how tokenizers are trained is a new one

_NOT_TRAIN = ("val", "dev", "eval", "test", "all")


class Tokenizer(Sequence[str]):
    """What the numbers of a token feature mean.

    A sequence of the tokens' texts: `len(t)` ids, all of them below it, and `t[id]` for the text of one, "<unused>"
    where the corpus had fewer tokens than there are ids. Made by `Characters`, `Words`, `BPE` or `Pretrained`, or from
    `json`.
    """

    def __init__(self, codec: Table | Library, size: int):
        if size < len(SPECIALS) + len(codec.tokens):
            raise ValueError(f"{len(codec.tokens)} tokens and {len(SPECIALS)} specials do not fit into {size} ids")
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
        """All of it as text, for `from_json`."""
        return json.dumps({"kind": self._codec.kind, "size": len(self), "codec": self._codec.state})

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of `json`, in hexadecimal."""
        return hashlib.sha256(self.json.encode()).hexdigest()

    @functools.cached_property
    def huggingface(self) -> str:
        """It as tokenizer.json of the library `tokenizers`: texts get the same ids there."""
        return json.dumps(self._codec.huggingface(), ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> Tokenizer:
        """The inverse of `json`.

        Raises:
          UserError: it is not what `json` gives.
        """
        try:
            fields = json.loads(text)
            kind, size, state = fields["kind"], fields["size"], fields["codec"]
            return Tokenizer(Table(state) if kind == Table.kind else Library(kind, state), size)
        except Exception as error:  # the library raises bare Exception
            reason = " ".join(str(error).split())
            raise UserError(f"this is no tokenizer of jaxdl ({reason}); make it again from its corpus") from error

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, int32 [tokens], without <start> or <end>."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, int32 [tokens]."""
        return [ids for ids, _ in self.measure_all(texts)]

    def measure_all(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each text its ids, int32 [tokens], and how many characters each stands for, int32 [tokens].

        Characters between two tokens, such as the spaces between words, go to the second one, those after the last
        token to the last one: the numbers add up to the length of the text, if it has a token at all.
        """
        return self._codec.measure_all(texts)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids: up to <end> if there is one, without specials and unused ids.

        Raises:
          IndexError: an id that is not below `len(self)`.
        """
        tokens = []
        for number in np.asarray(ids, np.int64).ravel().tolist():
            if number == END:
                break
            if not 0 <= number < len(self):
                raise IndexError(f"there is no id {number}: the tokenizer has {len(self)}")
            if len(SPECIALS) <= number < self._used:
                tokens.append(self._texts[number])
        return self._codec.join(tokens)

    def first_foreign(self, text: str) -> int | None:
        """Where the first character stands that has no id; None if all have one, or tokens are more than characters."""
        if self._codec.kind != Table.kind:
            return None
        foreign = np.flatnonzero(self.encode(text) == UNKNOWN)
        return int(foreign[0]) if len(foreign) else None


@dataclass(frozen=True)
class Characters:
    """A character a token, the most frequent ones of the corpus.

    Attributes:
      size: how many ids, the four specials among them.
    """

    size: int

    def __post_init__(self):
        _check_size(self)

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """Raises UserError if there is no character in `texts`."""
        letters = _frequent(_count(texts), self.size - len(SPECIALS))
        return Tokenizer(Table("".join(letters)), self.size)


@dataclass(frozen=True)
class Words:
    """A word or punctuation mark a token, the most frequent ones of the corpus; "don't" is one word.

    `decode` puts spaces between words and none before a comma: not always what the text had.

    Attributes:
      size: how many ids, the four specials among them.
      lowercase: do not tell capitals from small letters.
    """

    size: int
    lowercase: bool = True

    def __post_init__(self):
        _check_size(self)

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """Raises UserError if there is no word in `texts`."""
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
    """Parts of words, by byte pair encoding over characters (Sennrich, Haddow and Birch, 2016, arXiv:1508.07909).

    A space belongs to the word after it and is written ▁ (Kudo and Richardson, "SentencePiece", arXiv:1808.06226).
    `decode` gives back the text as it was, but for characters without an id and ▁ itself.

    Attributes:
      size: how many ids: the four specials, all characters of the corpus (the most frequent, if there are more than
        ids), and the most frequent parts of words.
    """

    size: int

    def __post_init__(self):
        _check_size(self)

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """Raises UserError if there is no character in `texts`."""
        with from_extra("text", "A subword tokenizer"):
            from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers
            from tokenizers import Tokenizer as Model

        texts = [" " + text for text in texts if text]
        # The library breaks ties among rare characters by chance, so they are chosen here.
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
    """The tokenizer of a pretrained BERT: WordPiece (Wu et al. 2016, arXiv:1609.08144). Nothing is trained.

    Its special tokens are moved to our ids; see `jaxdl.data.store.pretrained`.

    Attributes:
      folder: with tokenizer.json, or a name such as "minilm" that `launch.py data --prepare=NAME` made.
    """

    folder: str

    @property
    def size(self) -> int:
        """How many ids there are."""
        return len(read_tokenizer(pretrained(self.folder))["model"]["vocab"])

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer; raises UserError if the folder has none, or one of another kind."""
        del texts
        state = read_tokenizer(pretrained(self.folder))
        moved = trades(state["model"]["vocab"])
        vocabulary = {token: moved.get(number, number) for token, number in state["model"]["vocab"].items()}
        for inside, name in zip(INSIDE, OF_BERT):
            vocabulary[inside] = vocabulary.pop(name)
        model = {**state["model"], "vocab": vocabulary, "unk_token": INSIDE[UNKNOWN]}
        plain = {"post_processor": None, "truncation": None, "padding": None, "added_tokens": []}
        return Tokenizer(Library("wordpiece", {**state, **plain, "model": model}), len(vocabulary))


def _check_size(kind: Characters | Words | BPE) -> None:
    if kind.size <= len(SPECIALS):
        raise UserError(
            f"{type(kind).__name__}.size={kind.size}: must be {len(SPECIALS) + 1} or more, as the first "
            f"{len(SPECIALS)} ids are {', '.join(SPECIALS)}"
        )


def _count(texts: Iterable[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        codes, times = np.unique(codes_of(text), return_counts=True)
        counts.update(dict(zip(map(chr, codes.tolist()), times.tolist())))
    return counts


def _frequent(counts: Mapping[str, int], limit: int) -> list[str]:
    """The `limit` most frequent characters, of equals the first by code point; in the order of code points."""
    if not counts:
        raise UserError("the corpus has no text to make a vocabulary of; name another data set, split or feature")
    return sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[:limit])


def _finished(kind: str, library: Any, size: int) -> Tokenizer:
    """A tokenizer of a trained library; what a text says is never taken for a special."""
    state = json.loads(library.to_str()) | {"added_tokens": []}
    tokenizer = Tokenizer(Library(kind, state), size)
    if tokenizer[len(SPECIALS)] == UNUSED:
        raise UserError("the corpus has no word to make a vocabulary of; name another data set, split or feature")
    return tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer that a corpus gives.

    It is trained once and kept below `data_home()/tokenizers`. Name the training split, the same for training and
    evaluation: what a model is scored on must not shape its vocabulary.

    Attributes:
      kind: what the tokens are, and how many.
      corpus: what to train on.
      features: those of the corpus that are text, such as ("source", "target").
    """

    kind: Characters | Words | BPE | Pretrained
    corpus: Loadable
    features: tuple[str, ...] = ("text",)

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self.kind.size

    def load(self) -> Tokenizer:
        """The tokenizer, trained now if it has not been before.

        Raises:
          UserError: the corpus is no training split, is empty or no text, or the file is damaged or cannot be written.
        """
        check_training(self.corpus, "Vocabulary")
        source = self.corpus.load()
        key = digest_of([_FORMAT, repr(self.kind), source.fingerprint, list(self.features)])
        path = data_home() / "tokenizers" / f"{key}.json"
        if not path.exists():
            columns = read_texts(source, self.features)
            _write(path, self.kind.train(text for texts in columns.values() for text in texts))
        tokenizer = _read(path, path.stat().st_mtime_ns)
        if len(tokenizer) != self.size:
            raise UserError(f"{path} has {len(tokenizer)} ids, not {self.size}; remove it and repeat the command")
        return tokenizer


def check_training(corpus: Loadable, what: str) -> None:
    """Raises UserError if `corpus` names a split for evaluation; `what` is made of it, for the message."""
    split = getattr(origin(corpus), "split", None)
    for part in split.split("+") if isinstance(split, str) else ():
        if part.strip().lower().startswith(_NOT_TRAIN):
            raise UserError(f"{what} is made of the training split alone, not of '{split}': set {what}.corpus to it")


def _write(path: Path, tokenizer: Tokenizer) -> None:
    """Atomically, so that whoever reads at the same time finds all of it or nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as file:
            json.dump({"sha256": tokenizer.digest, "tokenizer": tokenizer.json}, file)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error}); name a folder for data in JAXDL_DATA") from error


@functools.lru_cache(maxsize=32)
def _read(path: Path, modified: int) -> Tokenizer:
    """A tokenizer from its file, once a process for as long as the file does not change."""
    try:
        fields = json.loads(path.read_text())
        text, expected = fields["tokenizer"], fields["sha256"]
    except (ValueError, KeyError, TypeError):
        text, expected = "", None
    if hashlib.sha256(text.encode()).hexdigest() != expected:
        raise UserError(f"{path} is damaged; remove it and repeat the command")
    return Tokenizer.from_json(text)
