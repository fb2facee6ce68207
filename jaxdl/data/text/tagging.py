"""Token tagging, such as named-entity recognition."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.source import ColumnSource, Loadable, read_texts
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.examples import Examples, Names, pad, shorten, tokenizer_of
from jaxdl.data.text.files import own_lines
from jaxdl.data.text.special_tokens import UNKNOWN
from jaxdl.data.text.tokenizers import Tokenizer, Vocabulary, check_training
from jaxdl.errors import UserError, nearest, warn

NONE = -1  # label of tokens that do not begin a word


@dataclass(frozen=True)
class Tagged:
    """Sentences with one tag per word (Ramshaw and Marcus 1995).

    Tags are for example "B-person", "I-person" and "O".

    Features: `tokens` int32 [examples, length]; `tokens_length` int32 [examples]; `label` int32 [examples, length], the
    tag's index at the first token of a word, -1 elsewhere. Longer sentences are truncated.

    Example: text "Ada codes" with tags "B-person O", and tokens [Ad, a, codes]: `label` is [0, -1, 1].

    With `case` also `case` int32 [examples, length], the `letter_case` of each token's word.

    Attributes:
      corpus: Texts and tags.
      vocabulary: Vocabulary of the texts.
      tagged: Training corpus. Its sorted tags are the classes; other tags are refused.
      length: Tokens of the longest sentence.
      text, tags: Names of the features in the corpus: words and tags, separated by spaces.
      case: Whether there is a feature `case`, which an uncased vocabulary does not encode.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    tagged: Loadable
    length: int
    text: str = "text"
    tags: str = "tags"
    case: bool = False

    def load(self) -> ColumnSource:
        """Tokenizes the corpus.

        Raises:
          UserError: A feature does not exist or is not text, words and tags differ in number, or a tag is unknown.
        """
        check_training(self.tagged, "Tagged")
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        classes = sorted(
            {tag for tags in read_texts(self.tagged.load(), (self.tags,))[self.tags] for tag in tags.split()}
        )
        texts = read_texts(source, (self.text, self.tags))
        rows, sentences = [], []
        for number, (text, tags) in enumerate(zip(texts[self.text], texts[self.tags])):
            words, word_tags = text.split(), tags.split()
            if len(words) != len(word_tags) or not words:
                raise UserError(
                    f"example {number} has {len(words)} words and {len(word_tags)} tags; provide one tag per word"
                )
            unknown = next((tag for tag in word_tags if tag not in classes), None)
            if unknown:
                raise UserError(
                    f"example {number} has the tag '{unknown}', which training lacks; {nearest(unknown, classes)}"
                )
            rows.append(tokens_and_tags(tokenizer, words, [classes.index(tag) for tag in word_tags]))
            sentences.append(words)
        settings = [self.length, classes, *(["case"] if self.case else [])]
        fingerprint = digest_of(["Tagged", settings, source.fingerprint, tokenizer.digest])
        return ColumnSource(self._columns(rows, sentences), fingerprint, {"tokens": tokenizer, "label": tuple(classes)})

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Reads texts and non-empty lines of files as the features of `load`.

        `label` is 0 at the first token of a word, -1 elsewhere. Longer texts are truncated, with a warning.
        """
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        examples = []
        for name, line in own_lines(files, texts):
            words = line.split()
            columns = self._columns([words_of(name, tokenizer, words, self.length)], [words])
            examples.append((name, {feature: value[0] for feature, value in columns.items()}))
        return examples

    def _columns(
        self, rows: Sequence[tuple[np.ndarray, np.ndarray]], sentences: Sequence[Sequence[str]]
    ) -> dict[str, np.ndarray]:
        columns = as_columns(rows, self.length)
        if self.case:
            columns["case"] = np.zeros_like(columns["tokens"])
            for row, ((_, label), words) in enumerate(zip(rows, sentences)):
                word = np.cumsum(label != NONE) - 1
                cases = np.array([letter_case(word) for word in words], np.int32)[word]
                columns["case"][row, : len(cases)] = cases[: self.length]
        return columns


def letter_case(word: str) -> int:
    """Returns 0 for a word without capitals, 1 for an initial, 2 for capitals only, 3 for a mixture.

    Example: "was", "Ada", "USA" and "iPhone" are 0, 1, 2 and 3.
    """
    letters = "".join(filter(str.isalpha, word))
    if letters == letters.lower():
        return 0
    return 1 if letters == letters.capitalize() else 2 if letters.isupper() else 3


def tokens_and_tags(tokenizer: Tokenizer, words: Sequence[str], tags: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids and labels, int32 [tokens]; a word without tokens becomes <unknown>."""
    ids = [
        word_ids if len(word_ids) else np.array([UNKNOWN], np.int32) for word_ids in tokenizer.encode_all(list(words))
    ]
    labels = [np.array([tag] + [NONE] * (len(word_ids) - 1), np.int32) for word_ids, tag in zip(ids, tags)]
    return np.concatenate(ids).astype(np.int32), np.concatenate(labels)


def words_of(name: str, tokenizer: Tokenizer, words: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids and labels 0 of the words of a text to predict for, int32 [tokens]; warns if it is truncated."""
    ids, labels = tokens_and_tags(tokenizer, words, [0] * len(words))
    if len(ids) > length:
        warn(
            f"'{shorten(name)}' has {len(ids)} tokens, and those after the first {length} are ignored; pass it in parts"
        )
    return ids, labels


def as_columns(rows: Sequence[tuple[np.ndarray, np.ndarray]], length: int) -> dict[str, np.ndarray]:
    """Truncates or pads tokens and labels to `tokens`, `tokens_length` and `label`."""
    columns = pad("tokens", [tokens[:length] for tokens, _ in rows], length)
    label = np.full((len(rows), length), NONE, np.int32)
    for row, (_, tags) in enumerate(rows):
        label[row, : len(tags)] = tags[:length]
    return columns | {"label": label}
