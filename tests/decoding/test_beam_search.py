"""Greedy and beam search against brute force over a random Markov model."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.text.special_tokens import END, PAD, START, UNKNOWN
from jaxdl.decoding.beam_search import beam, greedy, spread
from jaxdl.errors import UserError

FORBIDDEN = (PAD, START, UNKNOWN)
VOCABULARY, LENGTH = 7, 4


def logits_of(seed, batch=3, vocabulary=VOCABULARY):
    """Returns logits [batch, step, last token, next token]: a Markov model per example."""
    random = np.random.default_rng(seed)
    return random.normal(0, 2, (batch, LENGTH, vocabulary, vocabulary)).astype(np.float32)


def markov(carry, token):
    """Markov model with its table as the carry, so that mixed-up examples change the result."""
    table, position = carry
    rows = jnp.arange(len(token))
    return table[rows, position, token], (table, position + 1)


def start_of(table):
    return table, np.zeros(len(table), np.int32)


def run_greedy(table):
    return compiled_greedy()(start_of(table))


def run_beam(table, width, alpha=0.6, every=False):
    return compiled_beam(width, alpha, every)(start_of(table))


@functools.cache
def compiled_greedy():
    return jax.jit(lambda carry: greedy(markov, carry, START, END, LENGTH, forbidden=FORBIDDEN))


@functools.cache
def compiled_beam(width, alpha, every):
    return jax.jit(
        lambda carry: beam(markov, carry, START, END, LENGTH, width, alpha, forbidden=FORBIDDEN, every=every)
    )


def log_softmax(logits):
    logits = logits.astype(np.float64)
    return (
        logits
        - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - logits.max(-1, keepdims=True)
    )


def log_probability(table, tokens):
    last, total = START, 0.0
    for position, token in enumerate(tokens):
        total += log_softmax(table[position, last])[token]
        last = token
    return total


def all_sequences(vocabulary=VOCABULARY, length=LENGTH):
    """Returns complete and truncated sequences."""
    free = [token for token in range(vocabulary) if token not in (*FORBIDDEN, END)]
    complete = [(*body, END) for n in range(length) for body in itertools.product(free, repeat=n)]
    return complete, list(itertools.product(free, repeat=length))


def rank(table, tokens, alpha):
    return log_probability(table, tokens) / ((5 + len(tokens)) / 6) ** alpha


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_wide_beam_is_exhaustive_search(alpha):
    table = logits_of(0)
    complete, cut = all_sequences()
    result = jax.device_get(run_beam(table, len(complete) + len(cut), alpha, every=True))
    for example in range(len(table)):
        best = sorted(complete, key=lambda tokens: -rank(table[example], tokens, alpha))
        worse = sorted(cut, key=lambda tokens: -rank(table[example], tokens, alpha))
        for number, tokens in enumerate([*best, *worse]):
            assert tuple(result.tokens[example, number, : len(tokens)]) == tokens
            assert not np.any(result.tokens[example, number, len(tokens) :])
            assert result.length[example, number] == len(tokens)
            np.testing.assert_allclose(
                result.score[example, number], log_probability(table[example], tokens), rtol=1e-5, atol=1e-5
            )


def test_the_best_sequence_is_returned_and_empty_beams_are_last():
    table = logits_of(1)
    complete, cut = all_sequences()
    total = len(complete) + len(cut)
    best, every = jax.device_get((run_beam(table, total + 5), run_beam(table, total + 5, every=True)))
    jax.tree.map(lambda best_beam, all_beams: np.testing.assert_array_equal(best_beam, all_beams[:, 0]), best, every)
    assert np.all(np.isfinite(every.score[:, :total]))
    assert np.all(every.score[:, total:] == -np.inf)
    assert not np.any(every.tokens[:, total:])
    assert not np.any(every.length[:, total:])


def reference_beam(table, width, alpha):
    """Computes beam search for one example in plain Python; sorted, the best first."""
    alive, complete = [()], []
    for _ in range(LENGTH):
        longer = [(*tokens, token) for tokens in alive for token in range(VOCABULARY) if token not in FORBIDDEN]
        longer.sort(key=lambda tokens: -log_probability(table, tokens))
        complete += [tokens for tokens in longer[:width] if tokens[-1] == END]
        complete = sorted(complete, key=lambda tokens: -rank(table, tokens, alpha))[:width]
        alive = [tokens for tokens in longer if tokens[-1] != END][:width] if len(complete) < width else []
    return (complete + sorted(alive, key=lambda tokens: -rank(table, tokens, alpha)))[:width]


@given(seed=st.integers(0, 10_000), width=st.sampled_from([2, 3]))
@settings(max_examples=15, deadline=None)
def test_a_narrow_beam_matches_the_reference(seed, width):
    table = logits_of(seed)
    table[..., END] += 1.0  # so that sequences of all lengths compete
    result = run_beam(table, width, every=True)
    for example in range(len(table)):
        expected = reference_beam(table[example], width, 0.6)
        sequences = [
            tuple(row[:n].tolist()) for row, n in zip(np.asarray(result.tokens[example]), result.length[example])
        ]
        assert sequences == expected


@given(seed=st.integers(0, 10_000), alpha=st.sampled_from([0.0, 0.6, 3.0]))
@settings(max_examples=25, deadline=None)
def test_a_beam_of_width_one_is_greedy_search(seed, alpha):
    table = logits_of(seed)
    greedy_result, beam_result = run_greedy(table), run_beam(table, 1, alpha)
    np.testing.assert_array_equal(greedy_result.tokens, beam_result.tokens)
    np.testing.assert_array_equal(greedy_result.length, beam_result.length)
    np.testing.assert_allclose(greedy_result.score, beam_result.score, rtol=1e-6)


@given(seed=st.integers(0, 10_000), width=st.sampled_from([0, 2, 3]))
@settings(max_examples=25, deadline=None)
def test_scores_are_log_probabilities_of_the_sequences(seed, width):
    table = logits_of(seed)
    result = run_beam(table, width) if width else run_greedy(table)
    for example, (tokens, length, score) in enumerate(zip(*map(np.asarray, result))):
        assert not set(FORBIDDEN) & set(tokens[:length].tolist())
        assert not np.any(tokens[length:])
        assert length == LENGTH or tokens[length - 1] == END
        assert END not in tokens[: length - 1]
        np.testing.assert_allclose(score, log_probability(table[example], tokens[:length]), rtol=1e-5, atol=1e-5)


@given(seed=st.integers(0, 10_000), width=st.sampled_from([0, 3]))
@settings(max_examples=15, deadline=None)
def test_examples_are_independent(seed, width):
    table = logits_of(seed)
    search = (lambda table: run_beam(table, width, every=True)) if width else run_greedy
    together, reordered, repeated = (jax.device_get(search(table[rows])) for rows in ([0, 1, 2], [2, 1, 0], [2, 2, 2]))
    for expected, back, single in zip(together, reordered, repeated):
        np.testing.assert_allclose(expected, back[::-1], rtol=1e-6)
        np.testing.assert_allclose(expected[[2, 2, 2]], single, rtol=1e-6)


def test_greedy_search_selects_the_best_token_of_each_step():
    table = logits_of(3)
    result = jax.device_get(run_greedy(table))
    for example in range(3):
        last, expected = START, []
        for position in range(LENGTH):
            last = max((t for t in range(VOCABULARY) if t not in FORBIDDEN), key=table[example, position, last].item)
            expected.append(last)
            if last == END:
                break
        assert result.tokens[example, : result.length[example]].tolist() == expected


def test_beam_search_improves_on_greedy_search():
    """The more probable first token leads to improbable continuations."""
    table = np.full((1, LENGTH, VOCABULARY, VOCABULARY), -20.0, np.float32)
    table[0, 0, START, [4, 5]] = np.log([0.6, 0.4])
    table[0, 1, 4, [2, 4, 5, 6]] = np.log(0.25)
    table[0, 1, 5, END] = 0.0
    assert run_greedy(table).tokens[0].tolist()[0] == 4
    result = run_beam(table, 2, 0.0)
    assert result.tokens[0].tolist() == [5, END, PAD, PAD]
    np.testing.assert_allclose(result.score, np.log(0.4), rtol=1e-4)


def test_a_larger_length_penalty_gives_longer_sequences():
    short, long = (float(run_beam(logits_of(5, batch=32), 40, alpha).length.mean()) for alpha in (0.0, 3.0))
    assert short < long


def test_truncated_sequences_rank_after_complete_ones():
    table = np.zeros((1, LENGTH, VOCABULARY, VOCABULARY), np.float32)
    table[..., END] = -6.0
    result = jax.device_get(run_beam(table, 200, every=True))
    ended = np.asarray([END in tokens for tokens in np.asarray(result.tokens[0])])
    complete, cut = all_sequences()
    assert ended[: len(complete)].all()
    assert not ended[len(complete) :].any()
    assert (np.asarray(result.length[0])[len(complete) : len(complete) + len(cut)] == LENGTH).all()


def test_search_stops_when_all_sequences_have_ended():
    steps = []

    def ends(carry, token):
        jax.debug.callback(lambda: steps.append(1))
        return jnp.zeros((len(token), VOCABULARY)).at[:, END].set(50.0), carry

    carry = jnp.zeros(3)
    assert greedy(ends, carry, START, END, 100).length.tolist() == [1, 1, 1]
    jax.effects_barrier()
    assert len(steps) == 1
    assert beam(ends, carry, START, END, 100, 1).length.tolist() == [1, 1, 1]
    jax.effects_barrier()
    assert len(steps) == 2


def test_a_cache_is_reordered_with_its_beam():
    """Model of the whole prefix, as a Transformer, with a position shared by all beams."""
    weights = np.random.default_rng(0).normal(0, 1.5, (LENGTH, VOCABULARY, VOCABULARY)).astype(np.float32)

    def step(carry, token):
        cache = carry["cache"].at[:, carry["position"]].set(token)
        visible = jnp.arange(LENGTH) <= carry["position"]
        logits = jnp.sum(jnp.where(visible[:, None], jnp.asarray(weights)[jnp.arange(LENGTH), cache], 0.0), axis=1)
        return logits, {"cache": cache, "position": carry["position"] + 1}

    carry = {"cache": jnp.zeros((2, LENGTH), jnp.int32), "position": jnp.zeros((), jnp.int32)}
    result = jax.jit(lambda: beam(step, carry, START, END, LENGTH, 6, every=True, forbidden=FORBIDDEN))()
    np.testing.assert_array_equal(result.tokens[0], result.tokens[1])
    assert len({tuple(tokens) for tokens in np.asarray(result.tokens[0]).tolist()}) == 6
    for tokens, length, score in zip(result.tokens[0], result.length[0], result.score[0]):
        prefix, total = [START, *np.asarray(tokens)[: length - 1]], 0.0
        for position in range(int(length)):
            logits = sum(weights[place, token] for place, token in enumerate(prefix[: position + 1]))
            total += log_softmax(logits)[tokens[position]]
        np.testing.assert_allclose(score, total, rtol=1e-5)


def test_examples_may_have_different_start_tokens():
    table = logits_of(2)
    begin = jnp.array([4, 5, 6])
    result = jax.jit(lambda carry: greedy(markov, carry, begin, END, LENGTH, forbidden=FORBIDDEN))(start_of(table))
    moved = table.copy()
    moved[:, 0, START] = table[np.arange(3), 0, np.asarray(begin)]
    np.testing.assert_array_equal(result.tokens, run_greedy(moved).tokens)
    wide = jax.jit(lambda carry: beam(markov, carry, begin, END, LENGTH, 3, forbidden=FORBIDDEN))(start_of(table))
    np.testing.assert_array_equal(wide.tokens, run_beam(moved, 3).tokens)


def test_a_nan_model_gives_nan_scores():
    table = logits_of(0)
    table[1] = np.nan
    for result in (run_greedy(table), run_beam(table, 3)):
        assert np.isnan(result.score[1])
        assert np.isfinite(result.score[0])


def test_spread_repeats_each_example():
    tree = spread({"a": jnp.arange(3), "b": jnp.float32(1)}, 2)
    assert tree["a"].tolist() == [0, 0, 1, 1, 2, 2]
    assert tree["b"].shape == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: greedy(markov, c, START, END, 0), "max_length=0"),
        (lambda c: greedy(markov, c, START, END, 3, forbidden=(END,)), "contains the end token 2"),
        (lambda c: beam(markov, c, START, END, 3, 0), "width=0"),
        (lambda c: beam(markov, c, START, END, 3, 2, -1.0), "length_penalty=-1.0"),
        (lambda c: greedy(markov, {}, START, END, 3), "the carry is empty"),
    ],
)
def test_invalid_arguments_are_refused(call, message):
    with pytest.raises(UserError, match=message):
        call(start_of(logits_of(0)))
