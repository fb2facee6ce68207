"""Windows of running text for language modelling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.source import ColumnSource, Loadable, read_texts
from jaxdl.data.text.codecs import SPACE
from jaxdl.data.text.examples import Examples, Names, as_examples, check_fields, check_known, text_source, tokenizer_of
from jaxdl.data.text.files import own_texts
from jaxdl.data.text.tokenizers import Vocabulary
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Windows:
    """Windows of running text for language modelling.

    All texts of the corpus are concatenated. The targets of a window are its tokens except the first.

    Without context, each window has `length` targets and its last target is the first input of the next window; a
    remainder of fewer than `length` targets is dropped. With context, every token except the first is scored exactly
    once: all targets of the first window, the last `length` of the others. The last window is shifted back to full
    size.

    Features:
      tokens: int32 [windows, context + length + 1].
      context: int32 [windows], number of leading targets that are not scored.
      characters: float32 [windows], characters of the scored targets, for bits per character.
      words: int32 [windows, context + length + 1], word index of each token, from 0 in each window. Only with `words`.

    Example: with `length=3`, the ids 5 6 7 8 9 10 11 become `tokens` [[5, 6, 7, 8], [8, 9, 10, 11]].

    Attributes:
      corpus: Texts.
      vocabulary: Vocabulary of the texts.
      length: Scored targets per window.
      context: Preceding tokens that the model attends to.
      feature: Name of the text feature in the corpus.
      strict: Whether to refuse characters outside a vocabulary of `Characters`. Otherwise they are <unknown>.
      words: Whether to add word indices; words begin with a space or a line break.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    context: int = 0
    feature: str = "text"
    strict: bool = True
    words: bool = False

    def __post_init__(self):
        check_fields(self, length=1, context=0)

    def load(self) -> ColumnSource:
        """Tokenizes the corpus and cuts it into windows.

        Raises:
          UserError: The feature does not exist or is not text, characters are outside the vocabulary, or the corpus is
            shorter than a window.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        texts = read_texts(source, (self.feature,))[self.feature]
        check_known(self, tokenizer, texts)
        measured = tokenizer.measure_all(texts)
        tokens = np.concatenate([ids for ids, _ in measured] or [np.zeros(0, np.int32)])
        widths = np.concatenate([token_widths for _, token_widths in measured] or [np.zeros(0, np.int32)])
        last, counted = self._windows(len(tokens))
        size = self.context + self.length
        reach = np.concatenate([[0], np.cumsum(widths, dtype=np.int64)])
        columns = {
            "tokens": np.lib.stride_tricks.sliding_window_view(tokens, size + 1)[last - size],
            "context": (size - counted).astype(np.int32),
            "characters": (reach[last + 1] - reach[last + 1 - counted]).astype(np.float32),
        }
        if self.words:
            begins = np.array([text[:1] in (SPACE, " ", "\n") for text in tokenizer], np.int64)[tokens]
            numbers = np.lib.stride_tricks.sliding_window_view(np.cumsum(begins), size + 1)[last - size]
            columns["words"] = (numbers - numbers[:, :1]).astype(np.int32)
        settings = [self.length, self.context, self.feature, *(["words"] if self.words else [])]
        return text_source(self, settings, source, tokenizer, columns, ("tokens",))

    def _windows(self, tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns last token and number of scored targets per window, int64 [windows] each."""
        size = self.context + self.length
        if tokens < size + 1:
            raise UserError(
                f"the corpus has {tokens} tokens, fewer than a window of Windows(length={self.length}, "
                f"context={self.context}), {size + 1}; decrease length, or use more text"
            )
        rest = tokens - 1 - size
        windows = 1 + (-(-rest // self.length) if self.context else rest // self.length)
        last = np.minimum(size + self.length * np.arange(windows), tokens - 1)
        return last, np.diff(last, prepend=0)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Reads prompts as `tokens` and `tokens_length`: texts, and each file as one text."""
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        return as_examples(own_texts(files, texts), "tokens", tokenizer, self.strict)
