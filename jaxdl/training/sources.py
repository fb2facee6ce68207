"""Loaded data of a run."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxdl.data.dataset import Data, evaluations
from jaxdl.data.labels import align
from jaxdl.data.source import Source


class Sources(NamedTuple):
    """Sources of training data and of every evaluation by name, including `test`."""

    train: Source
    evals: Mapping[str, Source]


def load_sources(data: Data) -> Sources:
    """Loads every data set of `data`; missing ones are downloaded and prepared first.

    Evaluation data have the class numbers of training.
    """
    train = data.train.load()
    loaded = {name: dataset.load() for name, dataset in evaluations(data).items()}
    return Sources(train, {name: align(source, train.names, name) for name, source in loaded.items()})
