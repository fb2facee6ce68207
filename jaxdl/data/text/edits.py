"""Text compression by deletion: token-level keep and drop labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.builders._typescript import kept, tokens_of
from jaxdl.data.source import ColumnSource, Loadable, read_texts
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.examples import Examples, Names, tokenizer_of
from jaxdl.data.text.files import own_texts
from jaxdl.data.text.tagging import as_columns, tokens_and_tags, words_of
from jaxdl.data.text.tokenizers import Vocabulary

LABELS = ("drop", "keep")


@dataclass(frozen=True)
class Edits:
    """Pairs of texts whose target is (nearly) the source with some words deleted.

    Features: `tokens` int32 [examples, length]; `tokens_length` int32 [examples]; `label` int32 [examples, length], 1
    (keep) or 0 (drop) at the first token of a word, -1 elsewhere; `whole` int32 [examples], 0 if the target also needs
    insertions or the source was truncated.

    Example: source "the old cat", target "the cat", one token per word: `label` is [1, 0, 1].

    Attributes:
      corpus: Pairs of texts.
      vocabulary: Vocabulary of the source.
      length: Tokens of the longest text.
      source, target: Names of the features in the corpus; words separated by spaces.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    source: str = "source"
    target: str = "target"

    def load(self) -> ColumnSource:
        """Tokenizes the corpus; raises UserError if a feature does not exist or is not text."""
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        texts = read_texts(source, (self.source, self.target))
        rows, whole = [], []
        for text, target in zip(texts[self.source], texts[self.target]):
            words, wanted = ([word for word in side.split(" ") if word] for side in (text, target))
            stays, deletion_only = kept(words, wanted)
            tokens, label = tokens_and_tags(tokenizer, words, [int(stay) for stay in stays])
            rows.append((tokens, label))
            whole.append(int(deletion_only and len(tokens) <= self.length))
        return ColumnSource(
            {**as_columns(rows, self.length), "whole": np.array(whole, np.int32)},
            digest_of(["Edits", self.length, source.fingerprint, tokenizer.digest]),
            {"tokens": tokenizer, "label": LABELS},
        )

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Reads texts, and each file as one text, in TypeScript. Longer texts are truncated, with a warning."""
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        examples = []
        for name, text in own_texts(files, texts):
            words = tokens_of(text)
            columns = as_columns([words_of(name, tokenizer, words, self.length)], self.length)
            examples.append((name, {feature: value[0] for feature, value in columns.items()}))
        return examples
