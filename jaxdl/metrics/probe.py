"""Linear probe: logistic regression on frozen embeddings."""

import numpy as np


def linear_probe(bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Classifies queries by multinomial logistic regression on the bank.

    Embeddings are standardized by mean and std of the bank. Constant features are dropped.

    Args:
      bank: Embeddings [bank, features].
      labels: Their labels, int [bank].
      queries: Embeddings [queries, features].
      strength: Inverse of the L2 penalty, `C` of `sklearn.linear_model.LogisticRegression`.

    Returns:
      Predicted labels [queries].
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) == 1:
        return np.full(len(queries), labels[0])
    mean, std = bank.mean(0, dtype=np.float64), bank.std(0, dtype=np.float64)
    kept = std > 1e-6 * max(std.max(), 1e-30)
    if not kept.any():  # equal embeddings
        values, counts = np.unique(labels, return_counts=True)
        return np.full(len(queries), values[counts.argmax()])
    bank, queries = ((part[:, kept] - mean[kept]) / std[kept] for part in (bank, queries))
    return LogisticRegression(C=strength, max_iter=1000).fit(bank, labels).predict(queries)
