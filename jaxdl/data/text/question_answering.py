"""Extractive question answering: tokenized questions and contexts with answer spans."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.source import ColumnSource, Loadable, read_columns, read_texts
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.examples import Examples, Names, pad, tokenizer_of
from jaxdl.data.text.files import own_lines, read_file
from jaxdl.data.text.special_tokens import END, START
from jaxdl.data.text.tokenizers import Vocabulary
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Spans:
    """Question and context tokens with the span of the answer.

    Features:
      tokens: int32 [examples, length], <start> question <end> context <end> <pad> ..
      tokens_length: int32 [examples].
      begin: int32 [examples], first position of the context.
      first, last: int32 [examples], first and last position of the answer.

    Contexts are truncated to fit; examples whose answer does not fit are dropped.

    Example: question "who ?", context "the cat sat", answer "cat", one token per word: `tokens` is
    [<start>, who, ?, <end>, the, cat, sat, <end>], `begin` 4, `first` 5, `last` 5.

    Attributes:
      corpus: Questions, contexts and answers.
      vocabulary: Vocabulary of both texts.
      length: Tokens of the longest example.
      question, text: Names of the features in the corpus.
      start, answer: Names of the answer's first character in the text, and of the answer.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    question: str = "question"
    text: str = "text"
    start: str = "start"
    answer: str = "answer"

    def load(self) -> ColumnSource:
        """Tokenizes the corpus.

        Raises:
          UserError: A feature does not exist or is not text, an answer is not at its position, or no example fits.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        texts = read_texts(source, (self.question, self.text, self.answer))
        starts = np.asarray(read_columns(source, (self.start,))[self.start])
        questions = tokenizer.encode_all(texts[self.question])
        measured = tokenizer.measure_all(texts[self.text])
        rows = []
        for number, (question, (ids, widths)) in enumerate(zip(questions, measured)):
            answer, start = texts[self.answer][number], int(starts[number])
            if texts[self.text][number][start : start + len(answer)] != answer or not answer:
                raise UserError(
                    f"example {number}: the answer '{answer}' is not at character {start} of its text; correct 'start'"
                )
            ends = np.cumsum(widths)
            first, last = np.searchsorted(ends, [start, start + len(answer) - 1], side="right")
            begin = len(question) + 2
            if begin + last + 1 < self.length:
                rows.append((_joined(question, ids, self.length), begin, begin + int(first), begin + int(last)))
        if not rows:
            raise UserError(f"no example of the corpus fits into Spans(length={self.length}); increase it")
        tokens, begins, firsts, lasts = zip(*rows)
        columns = pad("tokens", tokens, self.length) | {
            "begin": np.array(begins, np.int32),
            "first": np.array(firsts, np.int32),
            "last": np.array(lasts, np.int32),
        }
        settings = [self.length, self.question, self.text, self.start, self.answer]
        fingerprint = digest_of(["Spans", settings, source.fingerprint, tokenizer.digest])
        return ColumnSource(columns, fingerprint, {"tokens": tokenizer})

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Combines every question in `texts` with every file.

        Raises:
          UserError: Files or questions are missing, a file is empty, or a question leaves no room for the text.
        """
        if not files or not texts:
            raise UserError("question answering needs a text file, and questions with --text='...?'; pass both")
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        examples = []
        for file in files:
            ids = tokenizer.encode(read_file(file))
            if not len(ids):
                raise UserError(f"{file} has no text; pass a file that contains the answer")
            for name, question in own_lines((), texts):
                question_ids = tokenizer.encode(question)
                if len(question_ids) + 3 >= self.length:
                    raise UserError(
                        f"the question '{question[:60]}' has {len(question_ids)} tokens, and text and question have"
                        f" {self.length - 3} together; shorten it"
                    )
                columns = pad("tokens", [_joined(question_ids, ids, self.length)], self.length)
                example = {feature: value[0] for feature, value in columns.items()}
                examples.append((f"{file}: {name}", example | {"begin": np.int32(len(question_ids) + 2)}))
        return examples


def _joined(question: np.ndarray, text: np.ndarray, length: int) -> np.ndarray:
    """Concatenates <start> question <end> text <end>, int32, truncated to `length`."""
    room = max(0, length - len(question) - 3)
    return np.concatenate([[START], question, [END], text[:room], [END]]).astype(np.int32)[:length]
