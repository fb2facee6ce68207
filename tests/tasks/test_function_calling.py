"""Function calling: outputs within the grammar, metrics of calls."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from jaxdl.data.text.tokenizers import Characters
from jaxdl.decoding.grammar import Grammar, json_calls
from jaxdl.errors import UserError
from jaxdl.metrics.calls import call_match, valid_calls
from jaxdl.models.rnn import GRU
from jaxdl.models.seq2seq import AttentionDecoder, EncoderDecoder, TokenEncoder
from jaxdl.tasks.function_calling import FunctionCalling

KEY = jax.random.key(0)
PATTERN = json_calls({"call": {"name": '"[a-z]+"'}, "wait": {"minutes": r"[1-9]\d?"}})
CALLS = ['{"function":"call","name":"ann"}', '{"function":"wait","minutes":12}']


class Vocabulary:
    """Characters of the calls."""

    def load(self):
        return Characters(40).train(CALLS)


TASK = FunctionCalling(
    EncoderDecoder(
        TokenEncoder(vocabulary=40, features=4, embedding=4, cell=GRU),
        AttentionDecoder(vocabulary=40, features=4, embedding=4, layers=1, cell=GRU),
    ),
    grammar=Grammar(PATTERN, Vocabulary()),
    max_length=40,
)


def make_batch():
    tokenizer = Vocabulary().load()
    target = np.zeros((2, 40), np.int32)
    lengths = []
    for row, call in enumerate(CALLS):
        ids = [1, *tokenizer.encode(call), 2]
        target[row, : len(ids)] = ids
        lengths.append(len(ids))
    return {
        "source": target[:, 1:9],
        "source_length": np.array([8, 8]),
        "target": target,
        "target_length": np.array(lengths),
        "weight": np.ones(2, np.float32),
        "index": np.arange(2),
    }


def scores(task):
    batch = make_batch()
    params, variables = task.init(KEY, batch)
    evaluation = task.evaluate(params, variables, batch, KEY)
    records = {name: np.asarray(value) for name, value in evaluation.records.items()}
    return task.score(records, {}, {"target": Vocabulary().load()})


def test_an_untrained_model_outputs_valid_calls():
    batch = make_batch()
    params, variables = TASK.init(KEY, batch)
    outputs = TASK.predict(params, variables, batch, KEY)
    for tokens in np.asarray(outputs["tokens"]):
        assert re.fullmatch(PATTERN, Vocabulary().load().decode(tokens))
    assert scores(TASK)["valid"] == 1


def test_without_the_constraint_an_untrained_model_does_not():
    free = dataclasses.replace(TASK, constrained=False)
    assert scores(free)["valid"] == 0
    assert scores(free)["call_match"] == 0


def test_the_beam_is_constrained_too():
    assert scores(dataclasses.replace(TASK, beam=3))["valid"] == 1


def test_a_maximum_length_below_the_shortest_call_is_refused():
    with pytest.raises(UserError, match="max_length=10 is shorter than the shortest text of the grammar"):
        scores(dataclasses.replace(TASK, max_length=10))


def test_calls_are_compared_as_json_values():
    references = ['{"a":1,"b":"x"}', '{"a":1}', '{"a":1}', '{"a":1}', '{"a":"1"}']
    hypotheses = ['{"b": "x", "a": 1}', '{"a":2}', '{"a":1', "", '{"a":1}']
    assert call_match(hypotheses, references) == pytest.approx(0.2)
    with pytest.raises(UserError, match="0 texts"):
        call_match([], [])


def test_valid_calls_match_the_grammar_as_a_whole_and_parse():
    texts = [*CALLS, CALLS[0] + " ", '{"function":"wait","minutes":0}', '{"function":"sing"}']
    assert valid_calls(texts, PATTERN) == pytest.approx(0.4)
    assert valid_calls(["{", "{}"], r".+") == pytest.approx(0.5)


def test_the_picture_and_the_row_of_predict_show_the_call():
    batch = make_batch()
    names = {"source": Vocabulary().load(), "target": Vocabulary().load()}
    example = {name: value[0] for name, value in batch.items()}
    outputs = {"tokens": batch["target"][0, 1:], "length": batch["target_length"][0] - 1, "score": np.float32(-0.5)}
    assert TASK.presentation.readable(example, outputs, names) == {"call": CALLS[0], "score": -0.5}
