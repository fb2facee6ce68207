"""Windows of running text for language modelling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.source import ColumnSource, Loadable, read_texts
from jaxdl.data.text.codecs import SPACE
from jaxdl.data.text.examples import Examples, Names, as_examples, check_minimum, own_texts, text_source, tokenizer_of
from jaxdl.data.text.tokenizers import Vocabulary
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Windows:
    """Running text, cut into windows: what a language model learns from and is scored on.

    All texts of the corpus are laid end to end. The targets of a window are its tokens but the first.

    Without context each window has `length` targets, and its last target is the first input of the next window; what
    is left at the end, fewer than `length` targets, is dropped. With context each token of the corpus but the very
    first is a target that counts exactly once over all windows: in the first window all of them count, in the others
    the last `length`, and the last window goes back as far as it must to be of full size.

    Loads as
      tokens: int32 [windows, context + length + 1].
      context: int32 [windows], how many of the leading targets do not count.
      characters: float32 [windows], how many characters the targets that count stand for.
      words: int32 [windows, context + length + 1], only if asked for: the number of the word that a token belongs to,
        from 0 on in each window.

    Attributes:
      length: how many targets of a window count.
      context: how many tokens before them a model sees.
      feature: the corpus's text.
      strict: `read` refuses characters that a vocabulary of `Characters` does not have; else they are <unknown>.
      words: number the words, which begin with a space or a line break.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    context: int = 0
    feature: str = "text"
    strict: bool = True
    words: bool = False

    def __post_init__(self):
        check_minimum(self, length=(self.length, 1), context=(self.context, 0))

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: the corpus has no such feature, is no text, or is too short for one window.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        texts = read_texts(source, (self.feature,))[self.feature]
        measured = tokenizer.measure_all(texts)
        tokens = np.concatenate([ids for ids, _ in measured] or [np.zeros(0, np.int32)])
        widths = np.concatenate([each for _, each in measured] or [np.zeros(0, np.int32)])
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
        """For each window where its last token stands, and how many of its targets count; int64 [windows] each."""
        size = self.context + self.length
        if tokens < size + 1:
            raise UserError(
                f"the corpus has {tokens} tokens, a window of Windows(length={self.length}, context={self.context}) "
                f"{size + 1}; make it smaller, or take more text"
            )
        rest = tokens - 1 - size
        windows = 1 + (-(-rest // self.length) if self.context else rest // self.length)
        last = np.minimum(size + self.length * np.arange(windows), tokens - 1)
        return last, np.diff(last, prepend=0)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Prompts: each text, and each file as a whole, as `tokens` and `tokens_length`; see `own_texts`."""
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        return as_examples(own_texts(files, texts), "tokens", tokenizer, self.strict)
