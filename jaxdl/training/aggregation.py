"""Aggregation of evaluation metrics and records over batches, on the host."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def add(sums: Sequence[Mapping[str, tuple[Any, Any]]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Adds (sum, weight) pairs over batches in float64, so that results do not depend on the batch size."""
    return {
        name: tuple(np.sum([np.asarray(batch[name][part], np.float64) for batch in sums], axis=0) for part in (0, 1))
        for name in (sums[0] if sums else {})
    }


def finalize(sums: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Divides sums by weights on the host in float64: {name: (sum, weight)} to {name: float or array}.

    A weight of 0 gives NaN.
    """
    result: dict[str, Any] = {}
    for name, (total, weight) in sums.items():
        total, weight = np.asarray(total, np.float64), np.asarray(weight, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(weight == 0, np.nan, total / weight)
        result[name] = float(value) if value.ndim == 0 else value
    return result


def gather(parts: Sequence[tuple[Mapping[str, Any], np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenates per-example records in the order of their index, without duplicates and padding (index -1)."""
    index = np.concatenate([index for _, index in parts])
    _, first = np.unique(index, return_index=True)
    order = first[index[first] >= 0]
    return {name: np.concatenate([np.asarray(part[name]) for part, _ in parts])[order] for name in parts[0][0]}
