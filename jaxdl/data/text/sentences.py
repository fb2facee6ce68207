"""Token ids of single texts with optional labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.formats.text_files import own_rows
from jaxdl.data.source import ColumnSource, Loadable, as_texts, read_columns
from jaxdl.data.text.examples import (
    Examples,
    Names,
    Overflow,
    as_examples,
    check_fields,
    check_known,
    enclosed,
    kept_rows,
    overflow_key,
    pad,
    text_source,
    tokenizer_of,
)
from jaxdl.data.text.tokenizers import Vocabulary
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Sentences:
    """Texts with optional class labels.

    Features: `tokens` int32 [examples, length], `tokens_length` int32 [examples] and `label` int32 [examples].

    Example: with word tokens, `length=4` and `add_special_tokens=True`, "fine film" becomes `tokens`
    [<start>, fine, film, <end>] and `tokens_length` 4.

    Attributes:
      corpus: Texts.
      vocabulary: Vocabulary of the texts.
      length: Tokens of the longest text.
      feature, label: Names of the features in the corpus. `label=None` loads no label.
      overflow: Treatment of longer texts: "drop" removes them, "truncate" cuts them, "refuse" raises.
      strict: As in `Windows`.
      add_special_tokens: Whether to enclose the text in <start> and <end>, as in BERT.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    feature: str = "text"
    label: str | None = "label"
    overflow: Overflow = "truncate"
    strict: bool = True
    add_special_tokens: bool = False

    def __post_init__(self):
        check_fields(self, length=1)

    def load(self) -> ColumnSource:
        """Tokenizes the corpus.

        Raises:
          UserError: A feature does not exist, a value is not text, a text is empty, or one is refused.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        loaded = read_columns(source, (self.feature, *([self.label] if self.label else [])))
        texts = as_texts(self.feature, loaded[self.feature])
        check_known(self, tokenizer, texts)
        sequences = tokenizer.encode_all(texts)
        for number, ids in enumerate(sequences):
            if not len(ids):
                raise UserError(f"example {number} of the corpus has no tokens in '{self.feature}'; remove it")
        room = self.length - (2 if self.add_special_tokens else 0)
        kept = kept_rows(self, (self.feature, sequences, room))
        special = {"start": self.add_special_tokens, "end": self.add_special_tokens}
        columns = pad("tokens", [enclosed(sequences[row], self.length, **special) for row in kept], self.length)
        if self.label:
            columns["label"] = np.asarray(loaded[self.label])[kept]
        settings = [self.length, self.feature, self.label, overflow_key(self.overflow)]
        settings += ["marked"] if self.add_special_tokens else []  # the former name, which fingerprints keep
        renamed = {self.label: "label"} if self.label else None
        return text_source(self, settings, source, tokenizer, columns, ("tokens",), renamed)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Reads texts, a column of tables and lines of other files as `tokens` and `tokens_length`; see `own_rows`."""
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        length = self.length if self.overflow == "truncate" else None
        return as_examples(
            own_rows(files, texts, self.feature),
            "tokens",
            tokenizer,
            self.strict,
            start=self.add_special_tokens,
            end=self.add_special_tokens,
            length=length,
        )
