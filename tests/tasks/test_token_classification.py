"""Token classification: entities and their scores, labels of first tokens, errors."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.source import ColumnSource, text_column
from jaxdl.data.synthetic.text import MockEntities
from jaxdl.data.text.tagging import NONE, Tagged, letter_case
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.errors import UserError
from jaxdl.metrics.entities import entities, entity_scores
from jaxdl.tasks.token_classification import TokenClassification

CORPUS = MockEntities(examples=20)
VOCABULARY = Vocabulary(BPE(60), CORPUS)


def test_entities_follow_from_tags():
    assert entities(["O", "B-a", "I-a", "O", "B-b"]) == {(1, 3, "a"), (4, 5, "b")}
    assert entities(["I-a", "I-a", "B-a", "I-b"]) == {(0, 2, "a"), (2, 3, "a"), (3, 4, "b")}
    assert entities([]) == set()


@given(st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"]), max_size=12))
def test_entities_are_disjoint_and_cover_all_tags(tags):
    spans = sorted(entities(tags))
    places = [place for start, end, _ in spans for place in range(start, end)]
    assert places == [place for place, tag in enumerate(tags) if tag != "O"]
    assert all(tags[start].endswith(kind) for start, _, kind in spans)
    assert entity_scores([tags], [tags])["f1"] == (1.0 if spans else 0.0)


def test_an_entity_is_correct_if_span_and_type_match():
    true = [["B-a", "I-a", "O", "B-b"], ["O", "B-a"]]
    predicted = [["B-a", "I-a", "O", "B-a"], ["O", "O"]]
    scores = entity_scores(predicted, true)
    np.testing.assert_allclose([scores[name] for name in ("precision", "recall", "f1")], [1 / 2, 1 / 3, 2 / 5])


def test_the_first_token_of_a_word_has_its_tag():
    source, corpus = Tagged(CORPUS, VOCABULARY, CORPUS, 40).load(), CORPUS.load()
    batch, names = source.read(np.arange(20)), source.names
    tokenizer: Any = names["tokens"]
    for row in range(20):
        label, length = batch["label"][row], batch["tokens_length"][row]
        tags = corpus.columns["tags"][row].decode().split()
        assert [names["label"][number] for number in label[label >= 0]] == tags
        assert np.all(label[length:] == NONE)
        text = tokenizer.decode(batch["tokens"][row][:length])
        assert text.split() == corpus.columns["text"][row].decode().split()
    short = Tagged(CORPUS, VOCABULARY, CORPUS, 4).load()
    np.testing.assert_array_equal(short.columns["label"], batch["label"][:, :4])


def test_missing_tags_are_refused(monkeypatch):
    def set_corpus(text, tags):
        columns = {"text": text_column([text]), "tags": text_column([tags])}
        monkeypatch.setattr(MockEntities, "load", lambda self: ColumnSource(columns, "x"))

    vocabulary = VOCABULARY.load()
    monkeypatch.setattr(Vocabulary, "load", lambda self: vocabulary)
    set_corpus("two words", "O")
    with pytest.raises(UserError, match="example 0 has 2 words and 1 tags"):
        Tagged(CORPUS, VOCABULARY, CORPUS, 9).load()


def test_the_letter_case_of_a_word_is_a_feature_of_its_tokens(monkeypatch):
    assert [letter_case(word) for word in ("was", "#2", "Ada", "@Ada", "I", "USA", "U.S.", "iPhone")] == [
        *(0, 0, 1, 1, 1, 2, 2, 3)
    ]
    columns = {"text": text_column(["good GREAT film"]), "tags": text_column(["O O O"])}
    vocabulary = VOCABULARY.load()
    monkeypatch.setattr(Vocabulary, "load", lambda self: vocabulary)
    monkeypatch.setattr(MockEntities, "load", lambda self: ColumnSource(columns, "x"))
    tagged, plain = (Tagged(CORPUS, VOCABULARY, CORPUS, 30, case=case) for case in (True, False))
    source = tagged.load()
    case, label = source.columns["case"][0], source.columns["label"][0]
    assert case[label >= 0].tolist() == [0, 2, 0]
    start, end = np.flatnonzero(label >= 0)[1:]
    assert end - start > 1
    assert set(case[start:end]) == {2}
    ((_, example),) = tagged.read((), ["good GREAT film"], {})
    np.testing.assert_array_equal(example["case"], case)
    assert source.fingerprint != plain.load().fingerprint
    assert "case" not in plain.load().columns


def test_predictions_are_valid_sequences_of_tags():
    tags, batch = ("B-a", "I-a", "O"), {"label": np.array([[0, -1, 0, 0]])}
    logits = np.array([[[0.0, 2.0, 1.0], [9.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 3.0, 0.0]]], np.float32)
    batch |= {"tokens": np.zeros((1, 4), np.int32), "index": np.zeros(1), "weight": np.ones(1), "logits": logits}

    class Fixed(nn.Module):
        @nn.compact
        def __call__(self, tokens, *, length, train):
            return self.param("logits", lambda key: logits)

    for names, expected in (((), [1, -1, 1, 1]), (tags, [0, -1, 1, 1])):
        task = TokenClassification(Fixed(), tags=names)
        params, variables = task.init(jax.random.key(0), batch)
        outputs = task.predict(params, variables, batch, jax.random.key(0))
        records = task.evaluate(params, variables, batch, jax.random.key(0)).records
        assert outputs["label"][0].tolist() == expected
        words = batch["label"][0] >= 0
        np.testing.assert_array_equal(records["predicted"][0][words], outputs["label"][0][words])
        first = float(jax.nn.softmax(logits[0, 0])[expected[0]])
        assert float(outputs["probability"][0, 0]) == pytest.approx(first)
    records = {"label": np.array([[0, 1]]), "predicted": np.array([[0, 1]])}
    with pytest.raises(
        UserError, match=r"task.tags=\('B-a', 'I-a', 'O'\) differ from the data's labels \('B-b', 'O'\)"
    ):
        task.score(records, {}, {"label": ("B-b", "O")})
    with pytest.raises(UserError, match="has no 'O'"):
        TokenClassification(Fixed(), tags=("B-a", "I-a"))


def test_sentences_on_the_command_line():
    (name, example), *_ = Tagged(CORPUS, VOCABULARY, CORPUS, 12).read((), ["this good film"], {})
    assert name == "this good film"
    assert (example["label"] >= 0).sum() == 3


def test_a_truncated_sentence_is_a_warning(capsys):
    tagged = Tagged(CORPUS, VOCABULARY, CORPUS, 12)
    tagged.read((), ["good film"], {})
    assert capsys.readouterr().err == ""
    tagged.read((), ["good film " * 9], {})
    assert "tokens, and those after the first 12 are ignored; pass it in parts" in capsys.readouterr().err
