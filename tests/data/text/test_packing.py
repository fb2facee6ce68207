"""Sequence packing: completeness, and losses equal to those of unpacked training."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import random_weights

from jaxdl.data.synthetic.text import MockEdits, MockPairs, MockSentences
from jaxdl.data.text.edits import Edits
from jaxdl.data.text.packing import Packed, rows_of
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tokenizers import BPE, Characters, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.errors import UserError
from jaxdl.models.bert import Encoder, MaskedLanguageModel, TokenClassifier
from jaxdl.models.gpt import Decoder
from jaxdl.models.seq2seq import AttentionDecoder, TokenEncoder
from jaxdl.models.seq2seq import EncoderDecoder as Recurrent
from jaxdl.models.t5 import EncoderDecoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.language_modelling import LanguageModelling
from jaxdl.tasks.masked_language_modelling import MaskedLanguageModelling
from jaxdl.tasks.text_editing import TextEditing
from jaxdl.tasks.translation import Translation

KEY = jax.random.key(0)
PAIRS = Pairs(MockPairs(examples=40), Vocabulary(Characters(40), MockPairs(), ("source", "target")), 48, 40)
TEXTS = Sentences(
    MockSentences(examples=40), Vocabulary(Characters(40), MockSentences()), 60, label=None, add_special_tokens=True
)
EDITS = Edits(MockEdits(examples=40), Vocabulary(BPE(60), MockEdits(), ("source",)), 40)


def read_all(loadable):
    source = loadable.load()
    return source.read(np.arange(len(source)))


def sequences(columns, name):
    """Returns the sequences of a feature as tuples, packed or not."""
    result = []
    for number, row in enumerate(columns[name]):
        if f"{name}_length" in columns:
            result.append(tuple(row[: columns[f"{name}_length"][number]]))
        else:
            segments = columns[f"{name}_segments"][number]
            assert not row[segments == 0].any()
            result += [tuple(row[segments == segment]) for segment in range(1, segments.max() + 1)]
    return result


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 5)), max_size=40))
def test_each_example_has_a_row_with_room(lengths):
    lengths = np.array(lengths, np.int64).reshape(-1, 2)
    rows = rows_of(lengths, (7, 5))
    assert sorted(set(rows)) == list(range(len(set(rows))))
    filled = np.zeros((len(lengths), 2), np.int64)
    np.add.at(filled, rows, lengths)
    assert (filled <= (7, 5)).all()
    half_full = (filled[: len(set(rows))] / (7, 5)).max(axis=1) <= 0.5
    assert half_full.sum() <= 1, "two rows that are half empty would be one"


def test_packing_keeps_all_pairs_in_fewer_rows():
    unpacked, packed = read_all(PAIRS), read_all(Packed(PAIRS))
    assert len(packed["source"]) < 0.8 * len(unpacked["source"])
    assert packed["source"].shape[1] == 48
    assert packed["target"].shape[1] == 40
    assert sorted(zip(sequences(packed, "source"), sequences(packed, "target"))) == sorted(
        zip(sequences(unpacked, "source"), sequences(unpacked, "target"))
    )
    assert Packed(PAIRS).load().fingerprint != PAIRS.load().fingerprint


def batch_of(columns):
    rows = len(next(iter(columns.values())))
    return {**columns, "weight": np.ones(rows, np.float32), "index": np.arange(rows)}


def gradient(task, params, variables, columns):
    def total(params):
        outcome = task.phases[0].loss(params, variables, batch_of(columns), KEY, 0, {})
        return outcome.terms["cross_entropy"].sum, (outcome.terms["cross_entropy"].weight, outcome.metrics)

    return jax.jit(jax.value_and_grad(total, has_aux=True))(params)


def assert_same_loss(one, two):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), one, two)


@pytest.mark.slow
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "relative"])
def test_packed_translation_has_the_unpacked_loss_and_gradient(positions):
    shape = {"features": 16, "layers": 1, "heads": 2, "positions": positions}
    stacks = Stack(**shape), Stack(causal=True, cross=True, **shape)
    task = Translation(EncoderDecoder(40, 64, *stacks, copies=positions == "rotary"))
    unpacked, packed = read_all(PAIRS), read_all(Packed(PAIRS))
    params, variables = random_weights(task.init, batch_of(unpacked))
    jax.tree.map(np.testing.assert_array_equal, random_weights(task.init, batch_of(packed))[0], params)
    assert_same_loss(gradient(task, params, variables, unpacked), gradient(task, params, variables, packed))


@pytest.mark.slow
@pytest.mark.parametrize("choice", [{}, {"chunk": 16}, {"window": 3}])
def test_packed_language_modelling_has_the_unpacked_loss_and_gradient(choice):
    stack = Stack(16, 1, 2, causal=True, window=choice.get("window", 0))
    model = Decoder(40, 64, stack, ngrams=(2,), slots=50)
    task = LanguageModelling(model, carried=False, chunk=choice.get("chunk", 0))
    unpacked, packed = read_all(TEXTS), read_all(Packed(TEXTS))
    assert len(packed["tokens"]) < len(unpacked["tokens"])
    params, variables = random_weights(task.init, batch_of(unpacked))
    assert_same_loss(gradient(task, params, variables, unpacked), gradient(task, params, variables, packed))
    evaluate = jax.jit(task.evaluate)
    evaluated = [evaluate(params, variables, batch_of(columns), KEY).metrics for columns in (unpacked, packed)]
    assert evaluated[0]["loss"][1] == evaluated[1]["loss"][1] == sum(unpacked["tokens_length"] - 1)
    assert_same_loss(evaluated[0]["loss"], evaluated[1]["loss"])
    assert np.all(np.isfinite(jax.jit(task.causal)(params, variables, batch_of(packed))))


@pytest.mark.slow
def test_a_masked_language_model_attends_within_one_sequence():
    model = MaskedLanguageModel(Encoder(40, 64, Stack(16, 1, 2, init_std=0.3)))
    task = MaskedLanguageModelling(model)
    packed = batch_of(read_all(Packed(TEXTS)))
    params, variables = random_weights(task.init, packed)
    evaluate, predict = jax.jit(task.evaluate), jax.jit(task.predict)
    apart = evaluate(params, variables, packed, KEY).metrics["loss"]
    without_segments = {name: value for name, value in packed.items() if name != "tokens_segments"}
    mixed = evaluate(params, variables, without_segments, KEY).metrics["loss"]
    assert apart[1] == mixed[1]
    assert abs(apart[0] - mixed[0]) > 1e-3
    first_sequence = (packed["tokens_segments"] == 1) | (packed["tokens_segments"] == 0)
    single = {**packed, "tokens": np.where(first_sequence, packed["tokens"], 0)}
    guesses = [np.asarray(predict(params, variables, batch, KEY)["probability"]) for batch in (packed, single)]
    np.testing.assert_allclose(guesses[0][first_sequence], guesses[1][first_sequence], atol=1e-5)


@pytest.mark.slow
def test_packed_tagging_has_the_unpacked_loss_and_gradient():
    task = TextEditing(TokenClassifier(Encoder(60, 40, Stack(16, 1, 2, init_std=0.3)), outputs=2))
    unpacked, packed = read_all(EDITS), read_all(Packed(EDITS, ("label",), dropped=("whole",)))
    assert len(packed["tokens"]) < len(unpacked["tokens"])
    assert set(packed) == {"tokens", "tokens_segments", "label"}
    params, variables = random_weights(task.init, batch_of(unpacked))
    assert_same_loss(gradient(task, params, variables, unpacked), gradient(task, params, variables, packed))


def test_texts_of_the_command_line_are_not_packed():
    names = PAIRS.load().names
    packed_example, plain_example = Packed(PAIRS).read((), ["red"], names), PAIRS.read((), ["red"], names)
    assert packed_example[0][0] == plain_example[0][0]
    jax.tree.map(np.testing.assert_array_equal, packed_example[0][1], plain_example[0][1])


def test_examples_without_lengths_cannot_be_packed():
    vocabulary = Vocabulary(Characters(40), MockSentences())
    with pytest.raises(UserError, match=r"Packed: Sentences has label, which is not a sequence"):
        Packed(Sentences(MockSentences(), vocabulary, 60)).load()
    with pytest.raises(UserError, match=r"Packed: Windows has characters, context, tokens"):
        Packed(Windows(MockSentences(), vocabulary, 10)).load()
    with pytest.raises(UserError, match=r"Packed: Edits has no feature 'labels'; did you mean 'label'"):
        Packed(EDITS, ("labels",)).load()
    with pytest.raises(UserError, match=r"Packed: whole \[40\] is not laid out as tokens \[40, 40\]"):
        Packed(EDITS, ("label", "whole")).load()


def test_a_model_without_segment_support_is_reported():
    task = Translation(Recurrent(TokenEncoder(40, 8, 8), AttentionDecoder(40, 8, 8)))
    with pytest.raises(UserError, match="does not support packed sequences"):
        random_weights(task.init, batch_of(read_all(Packed(PAIRS))))
    task = LanguageModelling(Decoder(40, 64, Stack(16, 1, 2, causal=True)), carried=True)
    packed = batch_of(read_all(Packed(TEXTS)))
    params, variables = random_weights(task.init, packed)
    with pytest.raises(UserError, match=r"set task\.carried=False"):
        jax.eval_shape(task.phases[0].loss, params, variables, packed, KEY, 0, {})
