"""Loaded data of a run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from jaxdl.data.dataset import Data, evaluations
from jaxdl.data.labels import align
from jaxdl.data.pipeline import Batches, MemberBatches
from jaxdl.data.source import Source
from jaxdl.data.text.tokenizers import Tokenizer
from jaxdl.errors import UserError, is_utf8

if TYPE_CHECKING:
    from jaxdl.config.experiment import Experiment


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


def training_batches(
    train: Source, experiment: "Experiment", rows: slice | None = None, offset: int = 0
) -> Batches | MemberBatches:
    """Returns the training batches of an experiment, stacked over the members of an ensemble.

    Args:
      train: Training examples, `Sources.train`.
      experiment: Experiment with its data settings and seeds.
      rows: Batch rows that this process produces, see `Batches`.
      offset: Position of row 0 of step 0, see `Batches`.
    """
    seeds = zip(experiment.seeds_of("order"), experiment.seeds_of("augment"))
    members = [Batches(train, experiment.data, order, rows, offset, augment) for order, augment in seeds]
    return members[0] if experiment.ensemble is None else MemberBatches(members)
