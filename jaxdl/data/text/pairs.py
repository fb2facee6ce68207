"""Source and target texts for sequence-to-sequence models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.source import ColumnSource, Loadable, read_texts
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
    with_end,
    with_start_and_end,
)
from jaxdl.data.text.tokenizers import Vocabulary


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts: what to read and what to write, as in translation. Both have the same vocabulary.

    Loads as `source` int32 [examples, source_length], which ends with <end>, `target` int32 [examples, target_length],
    which begins with <start> and ends with <end>, and their lengths, `source_length` and `target_length`.

    Attributes:
      source_length, target_length: of the longest sequences, with <start> and <end>.
      longer: what to do with a pair with a longer one: leave it out ("drop"), cut the text's end off ("cut"), or stop
        ("refuse"). A pair without a token on one side is left out, too, or refused.
      source, target: what the corpus calls them.
      strict: as in `Windows`.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    source_length: int
    target_length: int
    longer: Longer = "drop"
    source: str = "source"
    target: str = "target"
    strict: bool = True

    def __post_init__(self):
        check_minimum(self, source_length=(self.source_length, 2), target_length=(self.target_length, 3))
        check_longer(self, self.longer)

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: no such feature, no text, an example that is refused, or none is left.
        """
        corpus, tokenizer = self.corpus.load(), self.vocabulary.load()
        texts = read_texts(corpus, (self.source, self.target))
        source, target = (tokenizer.encode_all(texts[name]) for name in (self.source, self.target))
        kept = np.intersect1d(
            kept_rows(self.source, source, self.source_length - 1, self.longer),
            kept_rows(self.target, target, self.target_length - 2, self.longer),
        )
        check_not_empty(self, kept)
        columns = pad("source", [with_end(source[row], self.source_length) for row in kept], self.source_length)
        columns |= pad(
            "target", [with_start_and_end(target[row], self.target_length) for row in kept], self.target_length
        )
        settings = [self.source_length, self.target_length, self.longer, self.source, self.target]
        return text_source(self, settings, corpus, tokenizer, columns, ("source", "target"))

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Each text, and each line of the files that is not empty, as `source` and `source_length`; see `own_lines`."""
        tokenizer = tokenizer_of(names, "source", self.vocabulary)
        return as_examples(own_lines(files, texts), "source", tokenizer, self.strict, end=True)
