"""Questions with texts, and where in the texts the answers stand, as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.source import ColumnSource, Loadable, read_columns, read_texts
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.examples import (
    Examples,
    Names,
    own_lines,
    read_file,
    tokenizer_of,
)
from jaxdl.data.text.special_tokens import END, PAD, START
from jaxdl.data.text.tokenizers import Vocabulary
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Spans:
    """A question, and a text of which a part is the answer.

    Loads as
      tokens: int32 [examples, length]: <start>, the question, <end>, the text, <end>, padding.
      tokens_length: int32 [examples].
      begin: int32 [examples], the place where the text begins.
      first, last: int32 [examples], the places of the answer's first and last token.

    An example whose answer does not fit into `length` is left out; of a longer text the end is cut off.

    Attributes:
      question, text: what the corpus calls them.
      start, answer: where the answer begins in the text, in characters, and what it is.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    question: str = "question"
    text: str = "text"
    start: str = "start"
    answer: str = "answer"

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: no such feature, no text, an answer that is not where it should be, or no example that fits.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        texts = read_texts(source, (self.question, self.text, self.answer))
        starts = np.asarray(read_columns(source, (self.start,))[self.start])
        asked = tokenizer.encode_all(texts[self.question])
        measured = tokenizer.measure_all(texts[self.text])
        rows = []
        for number, (question, (ids, widths)) in enumerate(zip(asked, measured)):
            answer, start = texts[self.answer][number], int(starts[number])
            if texts[self.text][number][start : start + len(answer)] != answer or not answer:
                raise UserError(f"example {number}: the answer '{answer}' is not at character {start} of its text")
            ends = np.cumsum(widths)
            first, last = np.searchsorted(ends, [start, start + len(answer) - 1], side="right")
            begin = len(question) + 2
            if begin + last + 1 < self.length:
                rows.append((_joined(question, ids, self.length), begin, begin + int(first), begin + int(last)))
        if not rows:
            raise UserError(f"no example of the corpus fits into Spans(length={self.length}); raise it")
        tokens, begins, firsts, lasts = zip(*rows)
        lengths = np.array([len(each) for each in tokens], np.int32)
        columns = {
            "tokens": np.stack([np.pad(each, (0, self.length - len(each)), constant_values=PAD) for each in tokens]),
            "tokens_length": lengths,
            "begin": np.array(begins, np.int32),
            "first": np.array(firsts, np.int32),
            "last": np.array(lasts, np.int32),
        }
        settings = [self.length, self.question, self.text, self.start, self.answer]
        fingerprint = digest_of(["Spans", settings, source.fingerprint, tokenizer.digest])
        return ColumnSource(columns, fingerprint, {"tokens": tokenizer})

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Each of the questions `texts` about each of the files.

        Raises:
          UserError: there are no files, or no questions.
        """
        if not files or not texts:
            raise UserError("give a text file, and questions about it with --text='...?'")
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        examples = []
        for file in files:
            ids = tokenizer.encode(read_file(file))
            for name, question in own_lines((), texts):
                tokens = _joined(tokenizer.encode(question), ids, self.length)
                begin = len(tokenizer.encode(question)) + 2
                example = {
                    "tokens": np.pad(tokens, (0, self.length - len(tokens)), constant_values=PAD),
                    "tokens_length": np.int32(len(tokens)),
                    "begin": np.int32(begin),
                }
                examples.append((f"{file}: {name}", example))
        return examples


def _joined(question: np.ndarray, text: np.ndarray, length: int) -> np.ndarray:
    """int32, at most `length`: <start>, question, <end>, text, <end>."""
    room = max(0, length - len(question) - 3)
    return np.concatenate([[START], question, [END], text[:room], [END]]).astype(np.int32)[:length]
