"""The data of a run, loaded."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxdl.data.dataset import Data
from jaxdl.data.source import Source


class Sources(NamedTuple):
    """For training, and for every evaluation by name (`test` among them)."""

    train: Source
    evals: Mapping[str, Source]


def load_sources(data: Data) -> Sources:
    """Loads every data set that `data` names; whatever is missing is fetched and prepared first."""
    evals = {**data.evals, **({"test": data.test} if data.test is not None else {})}
    return Sources(data.train.load(), {name: dataset.load() for name, dataset in evals.items()})
