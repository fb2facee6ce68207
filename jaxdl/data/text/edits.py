"""Texts of which some words are dropped to make other texts, as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.builders._typescript import kept, tokens_of
from jaxdl.data.source import ColumnSource, Loadable, read_texts
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.examples import Examples, Names, own_texts, tokenizer_of
from jaxdl.data.text.tagging import as_columns, tokens_and_tags
from jaxdl.data.text.tokenizers import Vocabulary

LABELS = ("drop", "keep")


@dataclass(frozen=True)
class Edits:
    """Pairs of texts whose second one is the first one without some of its words, or nearly so.

    Loads as `tokens` int32 [examples, length], `tokens_length` int32 [examples]; `label` int32 [examples, length]: 1 at
    the first token of a word that stays, 0 of one that is dropped, -1 elsewhere; `whole` int32 [examples], 0 where
    words would have to be added, too, or where the text was cut off at `length`.

    Attributes:
      source, target: what the corpus calls them: words with a space between.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    source: str = "source"
    target: str = "target"

    def load(self) -> ColumnSource:
        """Raises UserError if there is no such feature, or no text."""
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        texts = read_texts(source, (self.source, self.target))
        made, whole = [], []
        for text, target in zip(texts[self.source], texts[self.target]):
            words, wanted = ([word for word in each.split(" ") if word] for each in (text, target))
            stays, all_of_it = kept(words, wanted)
            tokens, label = tokens_and_tags(tokenizer, words, [int(stay) for stay in stays])
            made.append((tokens, label))
            whole.append(int(all_of_it and len(tokens) <= self.length))
        return ColumnSource(
            {**as_columns(made, self.length), "whole": np.array(whole, np.int32)},
            digest_of(["Edits", self.length, source.fingerprint, tokenizer.digest]),
            {"tokens": tokenizer, "label": LABELS},
        )

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Each text, and each file as a whole, in TypeScript."""
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        examples = []
        for name, text in own_texts(files, texts):
            words = tokens_of(text)
            columns = as_columns([tokens_and_tags(tokenizer, words, [0] * len(words))], self.length)
            examples.append((name, {feature: value[0] for feature, value in columns.items()}))
        return examples
