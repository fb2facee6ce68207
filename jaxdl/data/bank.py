"""Evaluation of queries against a bank: examples of training for k-NN and linear probes, or a gallery of retrieval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.dataset import Data, evaluations, origin, with_split
from jaxdl.data.labels import align
from jaxdl.data.source import Batch, JoinedSource, Loadable, Source, skipped_files
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError


@dataclass(frozen=True)
class WithBank:
    """Queries, followed by the bank that an evaluation compares them with.

    Features: those of the queries, and `bank` int32 [examples], 1 for examples of the bank, 0 for queries.

    Example: `WithBank(Dataset("digits", "test"), Dataset("digits", "train"))` for k-NN against the training set.

    Attributes:
      corpus: Queries.
      bank: Examples that the queries are compared with. Classes are matched by name.
    """

    corpus: Loadable
    bank: Loadable

    def load(self) -> "BankSource":
        """Opens queries and bank.

        Raises:
          UserError: The bank is empty, or lacks a feature or has another shape of it.
        """
        queries = self.corpus.load()
        bank = align(self.bank.load(), queries.names, "bank")
        if not len(bank) or not len(queries):
            raise UserError(f"WithBank has {len(queries)} queries and {len(bank)} examples in its bank; both need some")
        specs = [
            {name: value.shape[1:] for name, value in part.read(np.array([0])).items()} for part in (queries, bank)
        ]
        for name, shape in specs[0].items():
            if specs[1].get(name) != shape:
                other = f"the shape {list(specs[1][name])}" if name in specs[1] else f"only {', '.join(specs[1])}"
                raise UserError(f"'{name}' has the shape {list(shape)} in the queries, but the bank has {other}")
        fingerprint = digest_of([queries.fingerprint, bank.fingerprint, "bank"])
        return BankSource(JoinedSource((queries, bank), fingerprint), tuple(specs[0]))


@dataclass(frozen=True)
class BankSource:
    """Examples of `WithBank`.

    Attributes:
      joined: Queries and bank.
      features: Features of the queries.
    """

    joined: JoinedSource
    features: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        return self.joined.fingerprint

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        return self.joined.names

    @property
    def in_memory(self) -> bool:
        return self.joined.in_memory

    @property
    def skipped(self) -> tuple[str, ...]:
        return skipped_files(self.joined)

    def __len__(self) -> int:
        return len(self.joined)

    def read(self, indices: np.ndarray) -> Batch:
        queries: Source = self.joined.parts[0]
        batch = self.joined.read(indices)
        bank = (np.asarray(indices) >= len(queries)).astype(np.int32)
        return {name: batch[name] for name in self.features} | {"bank": bank}


def bank_of(data: Data) -> Loadable:
    """Returns the bank of the first evaluation that has one; without any, the training data."""
    banks = (evaluation.bank for evaluation in evaluations(data).values() if isinstance(evaluation, WithBank))
    return next(banks, data.train)


def training_queries(data: Data, split: str | None = None) -> Loadable:
    """Returns training data to evaluate, with the bank of the first evaluation that has one.

    Args:
      data: Data settings of a recipe.
      split: Split of the training data. None: the one of training.
    """
    queries = split or getattr(origin(data.train), "split", None)
    with_banks = [evaluation for evaluation in evaluations(data).values() if isinstance(evaluation, WithBank)]
    if with_banks and queries is not None:
        return with_split(with_banks[0], queries)
    return with_split(data.train, split) if split else data.train
