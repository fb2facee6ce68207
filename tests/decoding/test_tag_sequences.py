"""Decoding of tag sequences."""

import itertools

import numpy as np
import pytest

from jaxdl.decoding.tag_sequences import bio_transitions, viterbi

TAGS = ("B-a", "B-b", "I-a", "I-b", "O")
OUTSIDE = TAGS.index("O")


def test_an_inside_tag_follows_its_own_type_only():
    allowed = bio_transitions(TAGS)
    assert {TAGS[before] for before in np.flatnonzero(allowed[:, TAGS.index("I-a")])} == {"B-a", "I-a"}
    assert allowed[:, [TAGS.index(tag) for tag in ("B-a", "B-b", "O")]].all()


@pytest.mark.parametrize("valid", [(1, 1, 1, 1), (1, 0, 1, 1), (0, 1, 1, 0), (0, 0, 0, 0)])
def test_the_best_sequence_is_that_of_a_full_search(valid):
    allowed, scores = bio_transitions(TAGS), np.random.default_rng(0).normal(size=(8, 4, len(TAGS)))
    steps = np.flatnonzero(valid)
    sequences = viterbi(scores, np.broadcast_to(np.array(valid, bool), (8, 4)), allowed, OUTSIDE)

    def total(row, labels):
        pairs = zip((OUTSIDE, *labels), labels)
        return sum(row[steps, labels]) if all(allowed[pair] for pair in pairs) else -np.inf

    for row, labels in zip(scores, np.asarray(sequences)[:, steps]):
        best = max(itertools.product(range(len(TAGS)), repeat=len(steps)), key=lambda labels: total(row, list(labels)))
        assert tuple(labels) == best


def test_without_constraints_every_label_is_the_most_probable_one():
    scores = np.random.default_rng(0).normal(size=(3, 6, 5))
    labels = viterbi(scores, np.ones((3, 6), bool), np.ones((5, 5), bool), 0)
    np.testing.assert_array_equal(labels, scores.argmax(-1))
