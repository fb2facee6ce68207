"""Nearest neighbours by cosine similarity, k-NN classification and recall of retrieval.

Embeddings are float [examples, features]; labels int [examples].
"""

import numpy as np

from jaxdl.errors import UserError

_CHUNK = 1000  # queries compared at once


def nearest_neighbours(queries: np.ndarray, bank: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the bank examples with the greatest cosine similarity.

    Args:
      queries: [queries, features].
      bank: [bank, features].
      count: Number of neighbours, at most that of the bank.

    Returns:
      Indices in the bank int [queries, count], the nearest first, and similarities float32 of the same shape.

    Raises:
      UserError: `count` exceeds the bank, or an embedding is not finite.
    """
    if not 1 <= count <= len(bank):
        raise UserError(f"{count} neighbours are not available in a bank of {len(bank)}; use a number from 1 to that")
    queries, bank = _unit("queries", queries), _unit("bank", bank)
    indices = np.empty((len(queries), count), np.int64)
    similarities = np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), _CHUNK):
        rows = slice(start, start + _CHUNK)
        cosine = queries[rows] @ bank.T
        nearest = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        nearest.sort(axis=1)  # equal similarities by index
        order = np.argsort(-np.take_along_axis(cosine, nearest, 1), axis=1, kind="stable")
        indices[rows] = np.take_along_axis(nearest, order, 1)
        similarities[rows] = np.take_along_axis(cosine, indices[rows], 1)
    return indices, similarities


def vote(labels: np.ndarray, similarities: np.ndarray, temperature: float = 0.07) -> tuple[np.ndarray, np.ndarray]:
    """Classifies by the labels of neighbours, weighted by exp(similarity / temperature) (arXiv:1805.01978).

    Args:
      labels: Labels of the neighbours, int [queries, count].
      similarities: [queries, count].
      temperature: Temperature of the weights.

    Returns:
      Labels int [queries], the smallest of equal ones, and their shares of the weights [queries].
    """
    weights = np.exp((similarities - similarities.max(axis=1, keepdims=True)) / temperature)
    classes = np.unique(labels)
    shares = np.stack([(weights * (labels == label)).sum(1) for label in classes], axis=1) / weights.sum(1)[:, None]
    best = shares.argmax(1)
    return classes[best], shares[np.arange(len(best)), best]


def recall_at(queries: np.ndarray, relevant: np.ndarray, bank: np.ndarray, labels: np.ndarray, rank: int) -> float:
    """Computes recall@k: the share of queries with an example of their label among the k nearest of the bank.

    Args:
      queries, bank: Embeddings.
      relevant: Labels of the queries.
      labels: Labels of the bank.
      rank: k.
    """
    indices, _ = nearest_neighbours(queries, bank, rank)
    return float((labels[indices] == relevant[:, None]).any(1).mean())


def _unit(name: str, embeddings: np.ndarray) -> np.ndarray:
    embeddings = np.asarray(embeddings, np.float32)
    if not np.all(np.isfinite(embeddings)):
        raise UserError(f"an embedding of the {name} is not finite; lower the learning rate or check the images")
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
