"""Token classification: entities and their scores, labels of first tokens, errors."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.source import ColumnSource, text_column
from jaxdl.data.synthetic.text import MockEntities
from jaxdl.data.text.tagging import NONE, Tagged
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.errors import UserError
from jaxdl.metrics.entities import entities, entity_scores

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


def test_sentences_on_the_command_line():
    (name, example), *_ = Tagged(CORPUS, VOCABULARY, CORPUS, 12).read((), ["this good film"], {})
    assert name == "this good film"
    assert (example["label"] >= 0).sum() == 3
