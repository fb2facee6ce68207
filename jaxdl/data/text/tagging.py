"""Words with a tag each, as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.source import ColumnSource, Loadable, read_texts
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.examples import Examples, Names, own_lines, tokenizer_of
from jaxdl.data.text.special_tokens import PAD, UNKNOWN
from jaxdl.data.text.tokenizers import Tokenizer, Vocabulary, check_training
from jaxdl.errors import UserError

NONE = -1  # the label of a token that is no word's first


@dataclass(frozen=True)
class Tagged:
    """Sentences whose words have a tag each, such as "B-person", "I-person" and "O" (Ramshaw and Marcus 1995).

    Loads as `tokens` int32 [examples, length], `tokens_length` int32 [examples] and `label` int32 [examples, length]:
    the tag's number at the first token of a word, -1 at the others. A sentence of more tokens loses its end.

    Attributes:
      tagged: a training corpus, whose tags in the order of the alphabet are the numbers; those that it lacks are
        refused.
      length: of the longest sentence.
      text, tags: what the corpus calls them: words and tags, with a space between.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    tagged: Loadable
    length: int
    text: str = "text"
    tags: str = "tags"

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: no such feature, no text, not a tag for each word, or a tag that training lacks.
        """
        check_training(self.tagged, "Tagged")
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        known = sorted(
            {tag for tags in read_texts(self.tagged.load(), (self.tags,))[self.tags] for tag in tags.split()}
        )
        texts = read_texts(source, (self.text, self.tags))
        made = []
        for number, (text, tags) in enumerate(zip(texts[self.text], texts[self.tags])):
            words, own = text.split(), tags.split()
            if len(words) != len(own) or not words:
                raise UserError(
                    f"example {number} has {len(words)} words and {len(own)} tags: there must be one for each"
                )
            unknown = next((tag for tag in own if tag not in known), None)
            if unknown:
                raise UserError(f"example {number} has the tag '{unknown}', which training lacks: {', '.join(known)}")
            made.append(tokens_and_tags(tokenizer, words, [known.index(tag) for tag in own]))
        columns = as_columns(made, self.length)
        fingerprint = digest_of(["Tagged", [self.length, known], source.fingerprint, tokenizer.digest])
        return ColumnSource(columns, fingerprint, {"tokens": tokenizer, "label": tuple(known)})

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Each text, and each line of the files that is not empty, as `tokens`, `tokens_length` and `label`, which is 0
        where a word begins."""
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        examples = []
        for name, line in own_lines(files, texts):
            words = line.split()
            columns = as_columns([tokens_and_tags(tokenizer, words, [0] * len(words))], self.length)
            examples.append((name, {feature: value[0] for feature, value in columns.items()}))
        return examples


def tokens_and_tags(tokenizer: Tokenizer, words: Sequence[str], tags: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """int32 [tokens] each: ids, and the tag where a word begins. A word without a token has one, <unknown>."""
    ids = [each if len(each) else np.array([UNKNOWN], np.int32) for each in tokenizer.encode_all(list(words))]
    labels = [np.array([tag] + [NONE] * (len(each) - 1), np.int32) for each, tag in zip(ids, tags)]
    return np.concatenate(ids).astype(np.int32), np.concatenate(labels)


def as_columns(made: Sequence[tuple[np.ndarray, np.ndarray]], length: int) -> dict[str, np.ndarray]:
    """What `tokens_and_tags` gives for each text, cut off or padded to `length`: `tokens`, `tokens_length`, `label`."""

    def cut(values: np.ndarray, fill: int) -> np.ndarray:
        return np.pad(values[:length], (0, max(0, length - len(values))), constant_values=fill)

    return {
        "tokens": np.stack([cut(tokens, PAD) for tokens, _ in made]),
        "tokens_length": np.array([min(len(tokens), length) for tokens, _ in made], np.int32),
        "label": np.stack([cut(label, NONE) for _, label in made]),
    }
