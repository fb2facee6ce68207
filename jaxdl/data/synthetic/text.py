"""Made-up texts that can be learnt, for tests and tiny runs; no download."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.data.random import Draws
from jaxdl.data.source import ColumnSource, text_column
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.synthetic.images import MockImages
from jaxdl.errors import UserError

_WORDS = ("the", "cat", "sat", "on", "a", "red", "mat", "and", "saw", "two", "old", "dogs")
_READ = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_WRITTEN = ("eins", "zwei", "drei", "vier", "acht", "neun", "zehn", "elf")
_GOOD = ("good", "great", "lovely", "fine")
_BAD = ("bad", "poor", "dull", "awful")
_NEITHER = ("this", "film", "is", "was", "the", "story", "and", "so")
_CAPTIONS = ("a red square", "two blue dots", "a green line", "one white star")
_SENTENCE = 6  # words of MockText that make a line


@dataclass(frozen=True)
class MockText:
    """Running text in which each word has two that may follow it, the first three times as often; no download.

    Loads as `text`, bytes, an example a text. The alphabet is that of twelve English words, space and line break.

    Attributes:
      examples: how many texts.
      characters: of each text.
      seed: of what follows what, and of the texts.
      split: other splits have other texts, by the same rules.
    """

    examples: int = 2
    characters: int = 2000
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        _check(self, examples=self.examples, characters=self.characters)

    def load(self) -> ColumnSource:
        chances = _draws(self, self.examples).uniform(self.characters)
        followers = Draws(self.seed, np.arange(len(_WORDS))).integers(0, len(_WORDS))
        texts = [self._text(row, followers.tolist()) for row in chances]
        return ColumnSource({"text": text_column(texts)}, digest_of(repr(self)))

    def _text(self, chances: np.ndarray, followers: list[int]) -> str:
        words, word, written = [], 0, 0
        for number, chance in enumerate(chances.tolist()):
            end = "\n" if number % _SENTENCE == _SENTENCE - 1 else " "
            words.append(_WORDS[word] + end)
            written += len(words[-1])
            if written >= self.characters:
                break
            # Word after word in a circle, or now and then a jump: no word is a dead end.
            word = (word + 1) % len(_WORDS) if chance < 0.75 else followers[word]
        return "".join(words)[: self.characters]


@dataclass(frozen=True)
class MockPairs:
    """Rows of words and their translation, word by word with a dictionary; no download.

    Loads as `source` and `target`, bytes.

    Attributes:
      examples: how many.
      words: a source has from one to this many.
      seed: of the sources.
      split: other splits have other sources.
    """

    examples: int = 64
    words: int = 4
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        _check(self, examples=self.examples, words=self.words)

    def load(self) -> ColumnSource:
        uniform = _draws(self, self.examples).uniform(self.words + 1)
        lengths = 1 + (uniform[:, 0] * self.words).astype(int)
        chosen = (uniform[:, 1:] * len(_READ)).astype(int)
        rows = [row[:length].tolist() for row, length in zip(chosen, lengths)]
        columns = {
            "source": text_column([" ".join(_READ[word] for word in row) for row in rows]),
            "target": text_column([" ".join(_WRITTEN[word] for word in row) for row in rows]),
        }
        return ColumnSource(columns, digest_of(repr(self)))


@dataclass(frozen=True)
class MockSentences:
    """Sentences that say by one word among others whether they are good or bad; no download.

    Loads as `text`, bytes, and `label`, int32: 0 negative, 1 positive, each as often as the other to within one.

    Attributes:
      examples: how many.
      words: a sentence has from one to this many.
      seed: of the sentences.
      split: other splits have other sentences.
    """

    examples: int = 64
    words: int = 6
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        _check(self, examples=self.examples, words=self.words)

    def load(self) -> ColumnSource:
        label = np.arange(self.examples, dtype=np.int32) % 2
        uniform = _draws(self, self.examples).uniform(self.words + 3)
        texts = [self._sentence(bool(positive), row) for positive, row in zip(label, uniform)]
        names = {"label": ("negative", "positive")}
        return ColumnSource({"text": text_column(texts), "label": label}, digest_of(repr(self)), names)

    def _sentence(self, positive: bool, uniform: np.ndarray) -> str:
        length, place, key = uniform[0], uniform[1], uniform[2]
        words = [_chosen(_NEITHER, each) for each in uniform[3 : 3 + 1 + int(length * self.words)]]
        words[int(place * len(words))] = _chosen(_GOOD if positive else _BAD, key)
        return " ".join(words)


@dataclass(frozen=True)
class MockCaptions:
    """The images of `MockImages`, with a caption for each of four classes; no download.

    Loads as `image`, uint8 [examples, height, width, 3], and `caption`, bytes.

    Attributes:
      shape: (height, width, channels).
      examples: how many.
      seed: of the images.
      split: other splits have other images of the same classes.
    """

    shape: tuple[int, int, int] = (16, 16, 3)
    examples: int = 64
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        _check(self, examples=self.examples)

    def load(self) -> ColumnSource:
        made = MockImages(self.shape, len(_CAPTIONS), self.examples, self.seed, self.split).load().columns
        captions = text_column([_CAPTIONS[label] for label in made["label"]])
        return ColumnSource({"image": made["image"], "caption": captions}, digest_of(repr(self)))


@dataclass(frozen=True)
class MockQuestions:
    """Lines of a name and a word, and a question that names one of the names; the answer is its word; no download.

    Loads as `question`, `text`, `answer`, bytes, and `start`, int32: where the answer begins in the text.

    Attributes:
      examples: how many.
      lines: of a text.
      seed: of the texts.
      split: other splits have other texts.
    """

    examples: int = 64
    lines: int = 3
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        _check(self, examples=self.examples, lines=self.lines)

    def load(self) -> ColumnSource:
        uniform = _draws(self, self.examples).uniform(2 * self.lines + 1)
        rows = [self._question(row) for row in uniform]
        question, text, answer, start = zip(*rows)
        columns = {"question": text_column(question), "text": text_column(text), "answer": text_column(answer)}
        return ColumnSource({**columns, "start": np.array(start, np.int32)}, digest_of(repr(self)))

    def _question(self, uniform: np.ndarray) -> tuple[str, str, str, int]:
        first = int(uniform[0] * len(_READ))
        names = [_READ[(first + number) % len(_READ)] for number in range(self.lines)]
        lines = [f"{name} {_chosen(_WRITTEN, each)}" for name, each in zip(names, uniform[1:])]
        asked = int(uniform[-1] * self.lines)
        name, answer = lines[asked].split()
        start = len("\n".join([*lines[:asked], ""])) + len(name) + 1
        return name, "\n".join(lines), answer, start


@dataclass(frozen=True)
class MockEntities:
    """Sentences of words, and the tag of each: names of one or two words are of one of two types; no download.

    Loads as `text`, bytes, words with a space between, and `tags`, bytes, "O", "B-good", "I-good", "B-bad" or "I-bad".

    Attributes:
      examples: how many.
      words: a sentence has from two to this many parts.
      seed: of the sentences.
      split: other splits have other sentences.
    """

    examples: int = 64
    words: int = 5
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        _check(self, examples=self.examples, words=self.words - 1)

    def load(self) -> ColumnSource:
        uniform = _draws(self, self.examples).uniform(2 * self.words + 1)
        texts, tags = zip(*[self._sentence(row) for row in uniform])
        return ColumnSource({"text": text_column(texts), "tags": text_column(tags)}, digest_of(repr(self)))

    def _sentence(self, uniform: np.ndarray) -> tuple[str, str]:
        words, tags = [], []
        for place in range(2 + int(uniform[0] * (self.words - 1))):
            kind, word = uniform[1 + 2 * place], uniform[2 + 2 * place]
            if kind < 0.5:
                words.append(_chosen(_NEITHER, word))
                tags.append("O")
                continue
            name, known = ("good", _GOOD) if kind < 0.75 else ("bad", _BAD)
            words.append(_chosen(known, word))
            tags.append(f"B-{name}")
            if word < 0.5:
                words.append(_chosen(known, 2 * word))
                tags.append(f"I-{name}")
        return " ".join(words), " ".join(tags)


@dataclass(frozen=True)
class MockEdits:
    """Sentences, and what is left of each without its words for good and for bad; no download.

    Loads as `source` and `target`, bytes, words with a space between.

    Attributes:
      examples: how many.
      words: a sentence has from two to this many.
      seed: of the sentences.
      split: other splits have other sentences.
    """

    examples: int = 64
    words: int = 6
    seed: int = 0
    split: str = "train"

    def load(self) -> ColumnSource:
        made = MockEntities(self.examples, self.words, self.seed, self.split).load().columns
        sources = [text.decode() for text in made["text"]]
        dropped = {*_GOOD, *_BAD}
        targets = [" ".join(word for word in text.split() if word not in dropped) for text in sources]
        columns = {"source": text_column(sources), "target": text_column(targets)}
        return ColumnSource(columns, digest_of(repr(self)))


def _draws(mock: Any, examples: int) -> Draws:
    split = int.from_bytes(mock.split.encode()[:6].ljust(6, b"\0"), "little")
    return Draws(mock.seed, np.arange(examples)).fold(split)


def _chosen(words: Sequence[str], uniform: float) -> str:
    return words[int(uniform * len(words))]


def _check(mock: object, **counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{type(mock).__name__}.{name}={count}: must be 1 or more")
