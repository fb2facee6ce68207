"""Extractive question answering: answer spans, metrics and constraints on answers."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.source import ColumnSource, text_column
from jaxdl.data.synthetic.text import MockQuestions
from jaxdl.data.text.question_answering import Spans
from jaxdl.data.text.special_tokens import END, START
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.errors import UserError
from jaxdl.tasks.question_answering import QuestionAnswering, best_span

CORPUS = MockQuestions(examples=20)
VOCABULARY = Vocabulary(BPE(70), CORPUS, ("question", "text"))


def test_answer_spans_decode_to_the_answers():
    source, corpus = Spans(CORPUS, VOCABULARY, 40).load(), CORPUS.load()
    tokenizer: Any = source.names["tokens"]
    assert len(source) == 20
    batch = source.read(np.arange(20))
    for row in range(20):
        tokens, begin = batch["tokens"][row], batch["begin"][row]
        answer = tokenizer.decode(tokens[batch["first"][row] : batch["last"][row] + 1])
        assert answer.strip() == corpus.columns["answer"][row].decode()
        assert tokenizer.decode(tokens[1 : begin - 1]).strip() == corpus.columns["question"][row].decode()
        assert (tokens[0], tokens[begin - 1], tokens[batch["tokens_length"][row] - 1]) == (START, END, END)


def test_texts_are_truncated_and_truncated_answers_dropped():
    complete = Spans(CORPUS, VOCABULARY, 40).load()
    ends = complete.columns["last"]
    length = int(np.sort(ends)[10]) + 2
    cut = Spans(CORPUS, VOCABULARY, length).load()
    assert len(cut) == int((ends + 1 < length).sum()) < 20
    assert cut.columns["tokens"].shape[1] == length
    with pytest.raises(UserError, match=r"no example of the corpus fits into Spans\(length=3\)"):
        Spans(CORPUS, VOCABULARY, 3).load()


def test_a_missing_answer_is_refused(monkeypatch):
    columns = dict(CORPUS.load().columns)
    columns["answer"] = text_column(["nonsense"] * 20)
    monkeypatch.setattr(MockQuestions, "load", lambda self: ColumnSource(columns, "x"))
    with pytest.raises(UserError, match="example 0: the answer 'nonsense' is not at character"):
        Spans(CORPUS, VOCABULARY, 40).load()


def test_questions_about_files(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one eins\ntwo zwei")
    (name, example), *others = Spans(CORPUS, VOCABULARY, 40).read([str(path)], ["two", "one"], {})
    assert len(others) == 1
    assert name == f"{path}: two"
    assert VOCABULARY.load().decode(example["tokens"][example["begin"] :]) == "one eins\ntwo zwei"
    with pytest.raises(UserError, match="question answering needs a text file, and questions"):
        Spans(CORPUS, VOCABULARY, 40).read([], ["two"], {})
    with pytest.raises(
        UserError, match=r"the question 'two two.*' has \d+ tokens, and text and question have 5 together"
    ):
        Spans(CORPUS, VOCABULARY, 8).read([str(path)], ["two two two"], {})
    path.write_text("")
    with pytest.raises(UserError, match=r"a\.txt has no text; pass a file that contains the answer"):
        Spans(CORPUS, VOCABULARY, 40).read([str(path)], ["two"], {})


def test_the_best_span_is_ordered_and_limited_in_length():
    scores = np.random.default_rng(0).normal(size=(5, 9, 2)).astype(np.float32)
    for longest in (1, 3, 9):
        first, last, score = best_span(jnp.asarray(scores), longest)
        for row in range(5):
            best = max(
                (scores[row, a, 0] + scores[row, b, 1], a, b) for a in range(9) for b in range(a, min(9, a + longest))
            )
            np.testing.assert_allclose(score[row], best[0], rtol=1e-6)
            assert (first[row], last[row]) == best[1:]
    with pytest.raises(UserError, match="longest=0"):
        QuestionAnswering(nn.Module(), longest=0)


class Fixed(nn.Module):
    """Reader with constant logits."""

    logits: Any

    def __call__(self, tokens, *, length, types, train):
        return jnp.asarray(self.logits)


def test_exact_match_f1_and_loss():
    batch = {
        "tokens": jnp.zeros((3, 6), jnp.int32),
        "tokens_length": jnp.full(3, 6),
        "begin": jnp.zeros(3, jnp.int32),
        "first": jnp.array([2, 3, 1]),
        "last": jnp.array([4, 3, 2]),
        "weight": jnp.array([1.0, 1.0, 0.0]),
    }
    chances = jnp.full((3, 6, 2), 0.02).at[0, 2, 0].set(0.9).at[0, 3, 1].set(0.9).at[1, 3].set(0.9)  # sums to 1
    task = QuestionAnswering(Fixed(jnp.log(chances)), longest=5)
    sums = task.evaluate({"reader": {}}, {}, batch, jax.random.key(0)).metrics
    figures = {name: float(total / weight) for name, (total, weight) in sums.items()}
    assert figures["exact_match"] == 0.5
    np.testing.assert_allclose(figures["f1"], (2 * 2 / 5 + 1.0) / 2, rtol=1e-6)
    np.testing.assert_allclose(figures["loss"], -(np.log(0.9 * 0.02) + 2 * np.log(0.9)) / 2, rtol=1e-5)
