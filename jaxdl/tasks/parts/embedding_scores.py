"""Scores of embeddings against a bank of examples: classification with few labels, and retrieval.

Arguments are the queries' embeddings float [queries, features] and labels int [queries], and those of the bank.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts.arguments import check_ranges


class EmbeddingScore(Protocol):
    """Metrics of queries against a bank."""

    @property
    def shown(self) -> int:
        """Neighbours of a query in the pictures of an evaluation. 0: no such picture."""
        ...

    def __call__(
        self, queries: np.ndarray, labels: np.ndarray, bank: np.ndarray, bank_labels: np.ndarray
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class FewLabels:
    """Accuracy of classifiers on embeddings that use the labels of n examples of the bank.

    Metrics: `probe_<n>`, of a linear probe, and `knn_<n>`, of k-NN; means over consecutive blocks of n examples of the
    bank, whose order must be random. Values of n above the size of the bank are skipped.

    Attributes:
      labels: Values of n.
      blocks: Largest number of blocks. The bank may have fewer.
      neighbours: k of k-NN, at most n.
      temperature: See `jaxdl.metrics.neighbours.vote`.
      strength: See `jaxdl.metrics.probe.linear_probe`.
    """

    labels: Sequence[int] = (10, 100, 1000, 10000)
    blocks: int = 5
    neighbours: int = 20
    temperature: float = 0.07
    strength: float = 1.0

    def __post_init__(self):
        check_ranges(self, blocks="[1, inf)", neighbours="[1, inf)", temperature="(0, inf)", strength="(0, inf)")
        if not self.labels or min(self.labels) < 1:
            raise UserError(f"labels={tuple(self.labels)} must be numbers of at least 1")

    @property
    def shown(self) -> int:
        return 0

    def __call__(
        self, queries: np.ndarray, labels: np.ndarray, bank: np.ndarray, bank_labels: np.ndarray
    ) -> dict[str, Any]:
        from jaxdl.metrics.neighbours import nearest_neighbours, vote
        from jaxdl.metrics.probe import linear_probe

        metrics = {}
        for count in self.labels:
            accuracies = []
            for block in range(min(self.blocks, len(bank) // count)):
                rows = slice(block * count, (block + 1) * count)
                known = bank_labels[rows]
                probed = linear_probe(bank[rows], known, queries, self.strength)
                indices, similarities = nearest_neighbours(queries, bank[rows], min(self.neighbours, count))
                voted, _ = vote(known[indices], similarities, self.temperature)
                accuracies.append([np.mean(probed == labels), np.mean(voted == labels)])
            if accuracies:
                means = np.mean(accuracies, axis=0)
                metrics |= {f"probe_{count}": float(means[0]), f"knn_{count}": float(means[1])}
        return metrics


@dataclass(frozen=True)
class Retrieval:
    """Recall of the bank's examples with the label of a query, by cosine similarity.

    Metrics: `recall_at_<k>`, see `jaxdl.metrics.neighbours.recall_at`. Values of k above the size of the bank are
    skipped.

    Attributes:
      ranks: Values of k.
      shown: Neighbours of a query in the pictures of an evaluation, for which it keeps all images. 0: no such picture.
    """

    ranks: Sequence[int] = (1, 5)
    shown: int = 5

    def __post_init__(self):
        check_ranges(self, shown="[0, inf)")
        if not self.ranks or min(self.ranks) < 1:
            raise UserError(f"ranks={tuple(self.ranks)} must be numbers of at least 1")

    def __call__(
        self, queries: np.ndarray, labels: np.ndarray, bank: np.ndarray, bank_labels: np.ndarray
    ) -> dict[str, Any]:
        from jaxdl.metrics.neighbours import recall_at

        ranks = [rank for rank in self.ranks if rank <= len(bank)]
        return {f"recall_at_{rank}": recall_at(queries, labels, bank, bank_labels, rank) for rank in ranks}
