"""Loaded data of a run."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxdl.data.dataset import Data, evaluations
from jaxdl.data.labels import align
from jaxdl.data.source import Source
from jaxdl.data.text.tokenizers import Tokenizer
from jaxdl.errors import UserError, is_utf8


class Sources(NamedTuple):
    """Sources of training data and of every evaluation by name, including `test`."""

    train: Source
    evals: Mapping[str, Source]


def load_sources(data: Data) -> Sources:
    """Loads every data set of `data`; missing ones are downloaded and prepared first.

    Evaluation data have the class numbers of training.

    Raises:
      UserError: A class name is not valid UTF-8, so that no picture and no JSON file can contain it.
    """
    train = data.train.load()
    loaded = {name: dataset.load() for name, dataset in evaluations(data).items()}
    for role, source in {"train": train, **loaded}.items():
        for names in source.names.values():
            if not isinstance(names, Tokenizer) and (bad := [name for name in names if not is_utf8(name)]):
                raise UserError(f"{role} has the class {bad[0]!r}, which is not valid UTF-8; rename it")
    return Sources(train, {name: align(source, train.names, name) for name, source in loaded.items()})
