"""Token sampling: filters against numpy, frequencies against probabilities, independence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.decoding.beam_search import greedy
from jaxdl.decoding.sampling import keep_top_k, keep_top_p, occurring, penalize_repetition, sample
from jaxdl.errors import UserError

VOCABULARY, LENGTH, START, END = 6, 5, 1, 2


def markov(carry, token):
    """Returns a table of logits [batch, last, next] per example."""
    return carry[jnp.arange(len(token)), token], carry


def tables(batch=4, seed=0):
    random = np.random.default_rng(seed)
    return jnp.asarray(random.normal(0, 1.5, (batch, VOCABULARY, VOCABULARY)), jnp.float32)


def keys(batch, seed=0):
    return jax.random.split(jax.random.key(seed), batch)


def draw(table, length=LENGTH, seed=0, key=None, **arguments):
    key = keys(len(table), seed) if key is None else key
    return jax.jit(lambda table, key: sample(markov, table, table[:, START], key, length, **arguments))(table, key)


def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


# Multiples of 1/64: distinct values stay distinct, and no value is small enough to be flushed to zero.
rows = st.lists(st.integers(-320, 320), min_size=VOCABULARY, max_size=VOCABULARY, unique=True).map(
    lambda numbers: np.array(numbers, np.float32) / 64
)


@given(logits=rows, k=st.integers(0, VOCABULARY + 2))
@settings(max_examples=40, deadline=None)
def test_top_k_keeps_the_k_largest_logits(logits, k):
    filtered = np.asarray(keep_top_k(logits[None], k))[0]
    inside = np.isin(np.arange(VOCABULARY), np.argsort(-logits)[: k or VOCABULARY])
    np.testing.assert_array_equal(filtered, np.where(inside, logits, -np.inf))


@given(logits=rows, p=st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_top_p_keeps_the_smallest_set_of_that_probability(logits, p):
    order = np.argsort(-logits)
    shares = softmax(logits.astype(np.float64))[order]
    if np.any(np.abs(np.cumsum(shares) - p) < 1e-5):
        return  # too close for float32
    needed = int(np.searchsorted(np.cumsum(shares), p)) + 1
    filtered = np.asarray(keep_top_p(jnp.asarray(logits)[None], p))[0]
    np.testing.assert_array_equal(filtered, np.where(np.isin(np.arange(VOCABULARY), order[:needed]), logits, -np.inf))


def test_top_p_of_known_probabilities():
    logits = jnp.log(jnp.array([[0.1, 0.5, 0.25, 0.15], [0.97, 0.01, 0.01, 0.01]]))
    for p, counts in ((0.4, (1, 1)), (0.6, (2, 1)), (0.8, (3, 1)), (0.95, (4, 1)), (1e-9, (1, 1)), (1.0, (4, 4))):
        assert np.isfinite(keep_top_p(logits, p)).sum(-1).tolist() == list(counts)


@given(logits=rows, previous=st.lists(st.booleans(), min_size=VOCABULARY, max_size=VOCABULARY), penalty=st.floats(1, 3))
@settings(max_examples=40, deadline=None)
def test_the_repetition_penalty_lowers_the_logits_of_previous_tokens(logits, previous, penalty):
    penalized = np.asarray(penalize_repetition(jnp.asarray(logits)[None], jnp.array([previous]), penalty))[0]
    expected = [
        (value / penalty if value > 0 else value * penalty) if hit else value for value, hit in zip(logits, previous)
    ]
    np.testing.assert_allclose(penalized, expected, rtol=1e-6)
    assert np.all(penalized <= logits)


def test_occurring_tokens_are_those_within_the_length():
    occurs = occurring(jnp.array([[4, 5, 5], [3, 0, 1]]), jnp.array([2, 1]), VOCABULARY)
    assert [np.flatnonzero(row).tolist() for row in occurs] == [[4, 5], [3]]


def test_temperature_zero_is_greedy_search():
    table = tables()
    sample = draw(table, temperature=0.0, end=END, forbidden=(0, 3))
    expected = greedy(markov, table, START, END, LENGTH, forbidden=(0, 3))
    np.testing.assert_array_equal(sample.tokens, expected.tokens)
    np.testing.assert_array_equal(sample.length, expected.length)
    np.testing.assert_allclose(sample.score, expected.score, rtol=1e-5)


def test_top_k_one_and_tiny_top_p_are_greedy_search():
    table = tables()
    np.testing.assert_array_equal(draw(table, top_k=1).tokens, draw(table, temperature=0.0).tokens)
    np.testing.assert_array_equal(draw(table, top_p=1e-6).tokens, draw(table, temperature=0.0).tokens)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, lambda logits: softmax(logits)),
        ({"temperature": 0.5}, lambda logits: softmax(2 * logits)),
        ({"forbidden": (0, 4)}, lambda logits: softmax(np.where(np.isin(np.arange(6), (0, 4)), -np.inf, logits))),
        ({"top_k": 2, "temperature": 2.0}, lambda logits: softmax(np.asarray(keep_top_k(logits[None] / 2, 2))[0])),
        ({"temperature": 2.0, "top_p": 0.6}, lambda logits: softmax(np.asarray(keep_top_p(logits[None] / 2, 0.6))[0])),
    ],
)
def test_token_frequencies_match_probabilities(arguments, expected):
    count = 20_000
    logits = np.asarray(tables(1)[0, START])
    table = jnp.broadcast_to(tables(1), (count, VOCABULARY, VOCABULARY))
    tokens = np.asarray(draw(table, length=1, **arguments).tokens)[:, 0]
    share = np.asarray(expected(logits))
    frequencies = np.bincount(tokens, minlength=VOCABULARY) / count
    # Five standard errors.
    assert np.all(np.abs(frequencies - share) <= 5 * np.sqrt(share * (1 - share) / count))


def test_steps_draw_independently():
    tokens = np.asarray(draw(jnp.zeros((2_000, VOCABULARY, VOCABULARY)), length=2).tokens)
    assert abs(np.mean(tokens[:, 0] == tokens[:, 1]) - 1 / VOCABULARY) < 0.05


def test_scores_are_log_probabilities_of_the_model():
    table = tables(8)
    sample = draw(table, end=END, temperature=1.7, top_k=4, repetition_penalty=1.3)
    for example, (tokens, length, score) in enumerate(zip(*map(np.asarray, sample))):
        last, total = START, 0.0
        for token in tokens[:length]:
            total += np.log(softmax(np.asarray(table[example, last], np.float64))[token])
            last = token
        np.testing.assert_allclose(score, total, rtol=1e-5)
        assert length == LENGTH or tokens[length - 1] == END
        assert not np.any(tokens[length:])


def test_a_sample_does_not_depend_on_batch_or_length():
    table, key = tables(5), keys(5)
    sample = draw(table, key=key)
    part = draw(table[3:4], key=key[3:4])
    np.testing.assert_array_equal(sample.tokens[3:4], part.tokens)
    np.testing.assert_array_equal(draw(table, key=key, length=2).tokens, sample.tokens[:, :2])
    assert np.any(np.asarray(draw(table, seed=1).tokens) != np.asarray(sample.tokens))


def test_samples_without_an_end_token_have_the_maximum_length():
    sample = draw(tables(), length=7)
    assert sample.tokens.shape == (4, 7)
    assert sample.length.tolist() == [7] * 4


def test_a_high_penalty_prevents_repetition():
    table = jnp.abs(tables(8)) + 0.1
    sample = np.asarray(draw(table, length=VOCABULARY - 1, temperature=0.0, repetition_penalty=1e6).tokens)
    assert all(len(set(row)) == VOCABULARY - 1 for row in sample.tolist())
    occurs = occurring(jnp.full((8, 1), 4), jnp.ones(8, jnp.int32), VOCABULARY)
    sample = draw(table, length=VOCABULARY - 1, temperature=0.0, repetition_penalty=1e6, seen=occurs)
    assert 4 not in np.asarray(sample.tokens)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"top_k": -1}, "top_k=-1"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty=0.0"),
        ({"length": 0}, "max_length=0"),
        ({"end": END, "forbidden": (END,)}, "contains the end token"),
        ({"key": jax.random.split(jax.random.key(0), 3)}, "keys has shape"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        draw(tables(), **arguments)
