"""Sweeps as plain lists of dictionaries, {NAME: VALUE} a run: what a recipe's `sweep()` returns.

`product(seed=range(5), width=[32, 64])` is ten runs; one after another sweep is `+`:
`product(seed=range(5)) + [{"width": 128}]`.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

Sweep = list[dict[str, Any]]


def product(*sweeps: Iterable[Mapping[str, Any]], **values: Iterable[Any]) -> Sweep:
    """Each run of each sweep with each of the others: `product(seed=range(3), width=[32, 64])` is six runs.

    Args:
      sweeps: lists of dictionaries, whose names may not meet.
      values: the values of one argument.

    Raises:
      ValueError: two give one name.
    """
    parts = [[dict(run) for run in sweep] for sweep in sweeps]
    parts += [[{name: value} for value in each] for name, each in values.items()]
    return [_joined(runs) for runs in itertools.product(*parts)]


def zipped(**values: Iterable[Any]) -> Sweep:
    """The first values together, then the second ones: `zipped(width=[32, 64], learning_rate=[1e-2, 3e-3])`, two runs.

    Raises:
      ValueError: one has more values than another.
    """
    return [dict(zip(values, each)) for each in zip(*values.values(), strict=True)]


def _joined(runs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for run in runs:
        if twice := sorted(set(found) & set(run)):
            raise ValueError(f"'{twice[0]}' is given twice")
        found |= run
    return found
