"""Nearest neighbours, k-NN, recall and linear probe against scikit-learn and closed forms."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from jaxdl.errors import UserError
from jaxdl.metrics.neighbours import nearest_neighbours, recall_at, vote
from jaxdl.metrics.probe import linear_probe

RANDOM = np.random.default_rng(0)
BANK, QUERIES = RANDOM.normal(size=(60, 7)), RANDOM.normal(size=(2300, 7))
LABELS = RANDOM.integers(0, 4, 60)


def test_neighbours_are_those_of_scikit_learn():
    distances, expected = NearestNeighbors(n_neighbors=5, metric="cosine").fit(BANK).kneighbors(QUERIES)
    indices, similarities = nearest_neighbours(QUERIES, BANK, 5)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(similarities, 1 - distances, atol=1e-6)


def test_a_vote_without_weights_is_the_majority():
    indices, similarities = nearest_neighbours(QUERIES, BANK, 7)
    predicted, _ = vote(LABELS[indices], similarities, temperature=1e9)
    peer = KNeighborsClassifier(7, metric="cosine").fit(BANK, LABELS).predict(QUERIES)
    np.testing.assert_array_equal(predicted, peer)


def test_votes_are_weighted_by_similarity():
    labels, similarities = np.array([[2, 5, 5]]), np.log([[3.0, 1.0, 1.0]])
    predicted, share = vote(labels, similarities, temperature=1.0)
    assert predicted.tolist() == [2]
    assert share[0] == pytest.approx(0.6)
    assert vote(labels, similarities, temperature=100.0)[0].tolist() == [5]


def test_recall_counts_queries_with_a_relevant_example_among_the_nearest():
    bank, queries = np.eye(4), np.array([[1.0, 0.5, 0.1, 0], [0, 0.2, 0.3, 1.0]])
    labels = np.array([10, 11, 12, 13])
    values = [recall_at(queries, np.array([11, 13]), bank, labels, rank) for rank in (1, 2, 4)]
    assert values == [0.5, 1.0, 1.0]


def test_neighbours_that_do_not_exist_and_values_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="61 neighbours"):
        nearest_neighbours(QUERIES, BANK, 61)
    with pytest.raises(UserError, match="of the bank is not finite"):
        nearest_neighbours(QUERIES, np.full((2, 7), np.nan), 1)


def test_the_probe_learns_a_linear_rule_at_any_scale_of_a_feature():
    """A feature that is 1000 times larger, or constant, changes nothing, because features are standardized."""
    rule = lambda x: (x[:, 0] + x[:, 1] > 0).astype(int) * 3  # noqa: E731
    bank = RANDOM.normal(size=(400, 7))
    predicted = linear_probe(bank, rule(bank), QUERIES, strength=10.0)
    assert np.mean(predicted == rule(QUERIES)) > 0.95
    scaled = [np.concatenate([x * ([1000.0] + [1.0] * 6), np.ones((len(x), 1))], axis=1) for x in (bank, QUERIES)]
    np.testing.assert_array_equal(linear_probe(scaled[0], rule(bank), scaled[1], strength=10.0), predicted)


def test_a_probe_of_one_class_or_of_equal_embeddings_predicts_the_most_frequent():
    assert set(linear_probe(BANK, np.full(60, 3), QUERIES)) == {3}
    assert set(linear_probe(np.ones((3, 2)), np.array([1, 2, 2]), np.ones((4, 2)))) == {2}
