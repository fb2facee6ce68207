"""Loaded data of a run."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxdl.data.dataset import Data
from jaxdl.data.source import Source


class Sources(NamedTuple):
    """Sources of training data and of every evaluation by name, including `test`."""

    train: Source
    evals: Mapping[str, Source]


def load_sources(data: Data) -> Sources:
    """Loads every data set of `data`; missing ones are downloaded and prepared first."""
    evals = {**data.evals, **({"test": data.test} if data.test is not None else {})}
    return Sources(data.train.load(), {name: dataset.load() for name, dataset in evals.items()})
