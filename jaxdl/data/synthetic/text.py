"""Generated texts for tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxdl.data.random import Draws, split_draws
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
_SENTENCE = 6  # words per line of MockText


@dataclass(frozen=True)
class _Mock:
    """Generated examples of a few words each.

    Attributes:
      examples: Number of examples.
      words: Largest number of words.
      seed: Random seed.
      split: Name of the split; each has other examples.
    """

    examples: int = 64
    words: int = 6
    seed: int = 0
    split: str = "train"

    LEAST: ClassVar[int] = 1

    def __post_init__(self):
        _check(self, {"examples": 1, "words": self.LEAST})

    def _uniform(self, count: int) -> np.ndarray:
        """Draws from [0, 1), [examples, count]."""
        return split_draws(self.seed, self.split, self.examples).uniform(count)


@dataclass(frozen=True)
class MockText:
    """Running text from a Markov chain of twelve English words.

    Each word has two successors with probabilities 3:1.

    Feature: `text`, bytes, one text per example.

    Attributes:
      examples: Number of texts.
      characters: Characters per text.
      seed: Seed of the chain and the texts.
      split: Name of the split; each has other texts of the same chain.
    """

    examples: int = 2
    characters: int = 2000
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        _check(self, {"examples": 1, "characters": 1})

    def load(self) -> ColumnSource:
        chances = split_draws(self.seed, self.split, self.examples).uniform(self.characters)
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
            # The frequent successor is the next word in a circle, so the chain is irreducible.
            word = (word + 1) % len(_WORDS) if chance < 0.75 else followers[word]
        return "".join(words)[: self.characters]


@dataclass(frozen=True)
class MockPairs(_Mock):
    """Sequences of 1 to `words` words with their word-by-word translation.

    Example: `{"source": b"one four", "target": b"eins vier"}`.
    """

    words: int = 4

    def load(self) -> ColumnSource:
        uniform = self._uniform(self.words + 1)
        lengths = 1 + (uniform[:, 0] * self.words).astype(int)
        words = (uniform[:, 1:] * len(_READ)).astype(int)
        rows = [row[:length].tolist() for row, length in zip(words, lengths)]
        columns = {
            "source": text_column([" ".join(_READ[word] for word in row) for row in rows]),
            "target": text_column([" ".join(_WRITTEN[word] for word in row) for row in rows]),
        }
        return ColumnSource(columns, digest_of(repr(self)))


class MockSentences(_Mock):
    """Sentences of 1 to `words` words, one of them positive or negative.

    Example: `{"text": b"this story great", "label": 1}`; label 0 is negative, 1 positive, balanced to within one.
    """

    def load(self) -> ColumnSource:
        label = np.arange(self.examples, dtype=np.int32) % 2
        uniform = self._uniform(self.words + 3)
        texts = [self._sentence(bool(positive), row) for positive, row in zip(label, uniform)]
        names = {"label": ("negative", "positive")}
        return ColumnSource({"text": text_column(texts), "label": label}, digest_of(repr(self)), names)

    def _sentence(self, positive: bool, uniform: np.ndarray) -> str:
        length, place, key = uniform[0], uniform[1], uniform[2]
        words = [_chosen(_NEITHER, value) for value in uniform[3 : 3 + 1 + int(length * self.words)]]
        words[int(place * len(words))] = _chosen(_GOOD if positive else _BAD, key)
        return " ".join(words)


@dataclass(frozen=True)
class MockCaptions:
    """`MockImages` with one caption for each of four classes.

    Features: `image` uint8 [examples, height, width, 3] and `caption`, bytes, such as b"a red square".

    Attributes:
      shape: (height, width, channels).
      examples: Number of examples.
      seed: Random seed.
      split: Name of the split; each has other images of the same classes.
    """

    shape: tuple[int, int, int] = (16, 16, 3)
    examples: int = 64
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        _check(self, {"examples": 1})

    def load(self) -> ColumnSource:
        columns = MockImages(self.shape, len(_CAPTIONS), self.examples, self.seed, self.split).load().columns
        captions = text_column([_CAPTIONS[label] for label in columns["label"]])
        return ColumnSource({"image": columns["image"], "caption": captions}, digest_of(repr(self)))


@dataclass(frozen=True)
class MockQuestions:
    """Key-value lines and the question for the value of one key.

    Example: question b"two", text b"one vier\\ntwo elf", answer b"elf", `start` 13 (in characters).

    Attributes:
      examples: Number of examples.
      lines: Lines per text.
      seed: Random seed.
      split: Name of the split; each has other texts.
    """

    examples: int = 64
    lines: int = 3
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        _check(self, {"examples": 1, "lines": 1})

    def load(self) -> ColumnSource:
        uniform = split_draws(self.seed, self.split, self.examples).uniform(2 * self.lines + 1)
        rows = [self._question(row) for row in uniform]
        question, text, answer, start = zip(*rows)
        columns = {"question": text_column(question), "text": text_column(text), "answer": text_column(answer)}
        return ColumnSource({**columns, "start": np.array(start, np.int32)}, digest_of(repr(self)))

    def _question(self, uniform: np.ndarray) -> tuple[str, str, str, int]:
        first = int(uniform[0] * len(_READ))
        names = [_READ[(first + number) % len(_READ)] for number in range(self.lines)]
        lines = [f"{name} {_chosen(_WRITTEN, value)}" for name, value in zip(names, uniform[1:])]
        queried = int(uniform[-1] * self.lines)
        name, answer = lines[queried].split()
        start = len("\n".join([*lines[:queried], ""])) + len(name) + 1
        return name, "\n".join(lines), answer, start


@dataclass(frozen=True)
class MockEntities(_Mock):
    """Tagged sentences of 2 to `words` parts (a word, or a name of one or two words); names have two types.

    Example: `{"text": b"this great film", "tags": b"O B-good O"}`; the tags are O, B-good, I-good, B-bad and I-bad.
    """

    words: int = 5

    LEAST: ClassVar[int] = 2

    def load(self) -> ColumnSource:
        uniform = self._uniform(2 * self.words + 1)
        texts, tags = zip(*[self._sentence(row) for row in uniform])
        return ColumnSource({"text": text_column(texts), "tags": text_column(tags)}, digest_of(repr(self)))

    def _sentence(self, uniform: np.ndarray) -> tuple[str, str]:
        words, tags = [], []
        for position in range(2 + int(uniform[0] * (self.words - 1))):
            kind, word = uniform[1 + 2 * position], uniform[2 + 2 * position]
            if kind < 0.5:
                words.append(_chosen(_NEITHER, word))
                tags.append("O")
                continue
            name, vocabulary = ("good", _GOOD) if kind < 0.75 else ("bad", _BAD)
            words.append(_chosen(vocabulary, word))
            tags.append(f"B-{name}")
            if word < 0.5:
                words.append(_chosen(vocabulary, 2 * word))
                tags.append(f"I-{name}")
        return " ".join(words), " ".join(tags)


class MockEdits(_Mock):
    """Sentences of 2 to `words` parts, and the same without positive and negative words.

    Example: `{"source": b"this great film", "target": b"this film"}`.
    """

    LEAST: ClassVar[int] = 2

    def load(self) -> ColumnSource:
        entities = MockEntities(self.examples, self.words, self.seed, self.split).load().columns
        sources = [text.decode() for text in entities["text"]]
        dropped = {*_GOOD, *_BAD}
        targets = [" ".join(word for word in text.split() if word not in dropped) for text in sources]
        columns = {"source": text_column(sources), "target": text_column(targets)}
        return ColumnSource(columns, digest_of(repr(self)))


def _chosen(words: Sequence[str], uniform: float) -> str:
    return words[int(uniform * len(words))]


def _check(mock: object, minimums: Mapping[str, int]) -> None:
    for name, minimum in minimums.items():
        if (value := getattr(mock, name)) < minimum:
            raise UserError(f"{type(mock).__name__}.{name}={value} must be at least {minimum}")
