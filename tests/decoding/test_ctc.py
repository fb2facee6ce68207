"""CTC decoding against the sum over all paths, and error rates."""

import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.decoding.ctc import beam_search, greedy
from jaxdl.errors import UserError
from jaxdl.metrics.transcription import error_rates


def collapse(path):
    return tuple(label for label, _ in itertools.groupby(path) if label != 0)


def by_enumeration(logs):
    """Computes the probability of every sequence, summed over its paths."""
    sums = defaultdict(float)
    for path in itertools.product(range(logs.shape[1]), repeat=len(logs)):
        sums[collapse(path)] += np.exp(sum(logs[step, label] for step, label in enumerate(path)))
    return dict(sums)


def random_logs(seed, steps, labels, sharpness=1.0):
    logits = sharpness * np.random.default_rng(seed).normal(size=(steps, labels))
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@settings(max_examples=40, deadline=None)
@given(path=st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=3, max_size=3), data=st.data())
def test_greedy_collapses_paths(path, data):
    lengths = [data.draw(st.integers(0, 7)) for _ in path]
    tokens, count = jax.jit(greedy)(jnp.array(path, jnp.int32), jnp.array(lengths, jnp.int32))
    assert tokens.dtype == count.dtype == jnp.int32
    for row, labels in enumerate(path):
        expected = collapse(labels[: lengths[row]])
        assert count[row] == len(expected)
        assert tuple(np.asarray(tokens[row])) == expected + (0,) * (7 - len(expected))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 5), labels=st.integers(2, 3))
def test_a_wide_beam_sums_over_all_paths(seed, steps, labels):
    logs = random_logs(seed, steps, labels)
    exact = by_enumeration(logs)
    transcripts = beam_search(logs, width=1000)
    assert {transcript.tokens for transcript in transcripts} == set(exact)
    for transcript in transcripts:
        np.testing.assert_allclose(transcript.log_probability, np.log(exact[transcript.tokens]), atol=1e-9)
        assert transcript.score == transcript.log_probability
    scores = [transcript.score for transcript in transcripts]
    assert scores == sorted(scores, reverse=True)


def test_a_beam_improves_on_greedy_decoding():
    logs = np.log([[0.6, 0.4], [0.6, 0.4]])  # the best path is empty, with 0.36; "1" has 0.64
    _, count = greedy(jnp.array(logs.argmax(-1))[None], jnp.array([2]))
    assert count[0] == 0
    best = beam_search(logs, width=2)[0]
    assert best.tokens == (1,)
    np.testing.assert_allclose(np.exp(best.log_probability), 0.64)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 4))
def test_certain_steps_make_any_beam_greedy(seed, width):
    path = np.random.default_rng(seed).integers(0, 4, 12)
    logs = np.log(np.where(np.eye(4)[path] > 0, 1 - 3e-6, 1e-6))
    assert beam_search(logs, width)[0].tokens == collapse(path)


def test_a_narrow_beam_respects_its_width_and_never_overestimates():
    logs = random_logs(3, 6, 3)
    exact = by_enumeration(logs)
    for width in (1, 2, 5):
        transcripts = beam_search(logs, width)
        assert len(transcripts) <= width
        assert len({transcript.tokens for transcript in transcripts}) == len(transcripts)
        assert all(np.exp(transcript.log_probability) <= exact[transcript.tokens] + 1e-12 for transcript in transcripts)


def test_a_language_model_and_a_bonus_add_to_the_score():
    logs = random_logs(5, 4, 3)
    exact = by_enumeration(logs)

    def language_model(tokens):
        """Prefers alternating labels."""
        share = np.full(3, 0.5)
        if tokens:
            share[tokens[-1]] = 0.1
        return np.log(share)

    def score(tokens):
        language_score = sum(language_model(tokens[:place])[token] for place, token in enumerate(tokens))
        return np.log(exact[tokens]) + 0.7 * language_score + 0.3 * len(tokens)

    transcripts = beam_search(logs, 1000, language_model=language_model, weight=0.7, bonus=0.3)
    assert transcripts[0].tokens == max(exact, key=score)
    for transcript in transcripts:
        np.testing.assert_allclose(transcript.score, score(transcript.tokens), atol=1e-9)
        np.testing.assert_allclose(transcript.log_probability, np.log(exact[transcript.tokens]), atol=1e-9)


def test_impossible_labels_and_empty_inputs_are_decoded():
    with np.errstate(divide="ignore"):
        logs = np.log([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    transcripts = beam_search(logs, 10)
    assert [(transcript.tokens, transcript.log_probability) for transcript in transcripts] == [((1, 1), 0.0)]
    assert beam_search(np.zeros((0, 3)), 4)[0].tokens == ()


def test_invalid_widths_and_shapes_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        beam_search(np.zeros((3, 3)), 0)
    with pytest.raises(UserError, match="shape"):
        beam_search(np.zeros(3), 2)


def edits(a, b):
    """Computes the Levenshtein distance by recursion."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, before = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


words = st.lists(st.text("ab", min_size=1, max_size=3), min_size=0, max_size=4).map(" ".join)


@settings(max_examples=50, deadline=None)
@given(pairs=st.lists(st.tuples(words, words), min_size=1, max_size=4).filter(lambda pairs: any(a for a, _ in pairs)))
def test_error_rates_are_edit_distances_over_total_length(pairs):
    references, hypotheses = ([pair[side] for pair in pairs] for side in (0, 1))
    rates = error_rates(references, hypotheses)
    character_rate = sum(edits(a, b) for a, b in pairs) / sum(len(a) for a in references)
    word_rate = sum(edits(a.split(), b.split()) for a, b in pairs) / sum(len(a.split()) for a in references)
    np.testing.assert_allclose([rates["cer"], rates["wer"]], [character_rate, word_rate])


def test_white_space_is_ignored_and_references_are_required():
    assert error_rates(["press  one\n"], [" press one"]) == {"cer": 0.0, "wer": 0.0}
    assert error_rates(["a b"], [""]) == {"cer": 1.0, "wer": 1.0}
    assert error_rates(["a"], ["b c d"])["wer"] == 3.0
    with pytest.raises(ValueError, match="1 references and 2"):
        error_rates(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="no words"):
        error_rates([" "], ["a"])
