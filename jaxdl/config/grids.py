"""Sweeps for a recipe's `sweep()`: lists of dictionaries, {NAME: VALUE} for each run.

`product(seed=range(5), width=[32, 64])` has ten runs. Sweeps are concatenated by `+`:
`product(seed=range(5)) + [{"width": 128}]`. Paths: `product(**{"task.model.width": [32, 64]})`.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

Sweep = list[dict[str, Any]]


def product(*sweeps: Iterable[Mapping[str, Any]], **values: Iterable[Any]) -> Sweep:
    """Returns the Cartesian product of sweeps and values.

    Args:
      sweeps: Lists of dictionaries with distinct names.
      values: Values by name.

    Raises:
      ValueError: A name occurs twice.
    """
    parts = [[dict(run) for run in sweep] for sweep in sweeps]
    parts += [[{name: value} for value in options] for name, options in values.items()]
    return [_joined(runs) for runs in itertools.product(*parts)]


def zipped(**values: Iterable[Any]) -> Sweep:
    """Returns one run per position of the values.

    `zipped(width=[32, 64], length=[10, 20])` has two runs.

    Raises:
      ValueError: The numbers of values differ.
    """
    return [dict(zip(values, row)) for row in zip(*values.values(), strict=True)]


def _joined(runs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for run in runs:
        if duplicates := sorted(set(joined) & set(run)):
            raise ValueError(f"'{duplicates[0]}' is given twice")
        joined |= run
    return joined
