"""Texts with labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.source import ColumnSource, Loadable, as_texts, read_columns
from jaxdl.data.text.examples import (
    Examples,
    Longer,
    Names,
    as_examples,
    check_longer,
    check_minimum,
    check_not_empty,
    kept_rows,
    own_lines,
    pad,
    text_source,
    tokenizer_of,
    with_start_and_end,
)
from jaxdl.data.text.tokenizers import Vocabulary
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Sentences:
    """Texts with a class each, or without.

    Loads as `tokens` int32 [examples, length], `tokens_length` int32 [examples] and `label`.

    Attributes:
      length: tokens of the longest text.
      feature, label: what the corpus calls them; here they are `tokens` and `label`. Without a label there is none.
      longer: a text of more tokens is left out ("drop"), loses its end ("cut") or is an error ("refuse").
      strict: as in `Windows`.
      marked: <start> comes before the text, and <end> after it, as BERT was trained.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    feature: str = "text"
    label: str | None = "label"
    longer: Longer = "cut"
    strict: bool = True
    marked: bool = False

    def __post_init__(self):
        check_minimum(self, length=(self.length, 1))
        check_longer(self, self.longer)

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: no such feature, no text, a text without a token, or one that is too long to accept.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        columns = read_columns(source, (self.feature, *([self.label] if self.label else [])))
        sequences = tokenizer.encode_all(as_texts(self.feature, columns[self.feature]))
        for number, ids in enumerate(sequences):
            if not len(ids):
                raise UserError(f"example {number} of the corpus has no token in '{self.feature}'; take it out")
        room = self.length - (2 if self.marked else 0)
        kept = kept_rows(self.feature, sequences, room, self.longer)
        check_not_empty(self, kept)
        chosen = [sequences[row][:room] for row in kept]
        made = pad(
            "tokens", [with_start_and_end(ids, self.length) for ids in chosen] if self.marked else chosen, self.length
        )
        if self.label:
            made["label"] = np.asarray(columns[self.label])[kept]
        settings = [self.length, self.feature, self.label, self.longer, *(["marked"] if self.marked else [])]
        renamed = {self.label: "label"} if self.label else None
        return text_source(self, settings, source, tokenizer, made, ("tokens",), renamed)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Each text, and each line of the files that is not empty, as `tokens` and `tokens_length`; see `own_lines`."""
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        lines = own_lines(files, texts)
        return as_examples(lines, "tokens", tokenizer, self.strict, start=self.marked, end=self.marked)
