"""Source and target texts for sequence-to-sequence models."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxdl.data.source import ColumnSource, Loadable, read_texts
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
from jaxdl.data.text.files import own_lines
from jaxdl.data.text.tokenizers import Vocabulary


@dataclass(frozen=True)
class Pairs:
    """Source and target token ids for sequence-to-sequence models, with a shared vocabulary.

    Features: `source` int32 [examples, source_length], ending with <end>; `target` int32 [examples, target_length],
    between <start> and <end>; their lengths `source_length` and `target_length`, int32 [examples].

    Example: with word tokens and lengths 4 and 5, "good day" and "guten Tag" become `source` [good, day, <end>, <pad>]
    and `target` [<start>, guten, tag, <end>, <pad>], of lengths 3 and 4.

    Attributes:
      corpus: Pairs of texts.
      vocabulary: Shared vocabulary.
      source_length, target_length: Tokens of the longest sequences, including <start> and <end>.
      overflow: Treatment of pairs with a longer side: "drop" removes them, "truncate" cuts the text, "refuse" raises.
        Pairs with an empty side are removed, or refused.
      source, target: Names of the features in the corpus.
      strict: As in `Windows`.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    source_length: int
    target_length: int
    overflow: Overflow = "drop"
    source: str = "source"
    target: str = "target"
    strict: bool = True

    def __post_init__(self):
        check_fields(self, source_length=2, target_length=3)

    def load(self) -> ColumnSource:
        """Tokenizes the corpus.

        Raises:
          UserError: A feature does not exist or is not text, a pair is refused, or no pair fits.
        """
        corpus, tokenizer = self.corpus.load(), self.vocabulary.load()
        texts = read_texts(corpus, (self.source, self.target))
        for side in texts.values():
            check_known(self, tokenizer, side)
        source, target = (tokenizer.encode_all(texts[name]) for name in (self.source, self.target))
        kept = kept_rows(
            self, (self.source, source, self.source_length - 1), (self.target, target, self.target_length - 2)
        )
        sources = [enclosed(source[row], self.source_length, start=False, end=True) for row in kept]
        targets = [enclosed(target[row], self.target_length, start=True, end=True) for row in kept]
        columns = pad("source", sources, self.source_length) | pad("target", targets, self.target_length)
        settings = [self.source_length, self.target_length, overflow_key(self.overflow), self.source, self.target]
        return text_source(self, settings, corpus, tokenizer, columns, ("source", "target"))

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Reads texts and non-empty lines of files as `source` and `source_length`; see `own_lines`."""
        tokenizer = tokenizer_of(names, "source", self.vocabulary)
        length = self.source_length if self.overflow == "truncate" else None
        return as_examples(own_lines(files, texts), "source", tokenizer, self.strict, end=True, length=length)
