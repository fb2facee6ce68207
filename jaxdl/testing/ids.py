"""Law 12: an id without an output of the model is refused before the first step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.data.pipeline import Batches
from jaxdl.data.source import Batch, Source
from jaxdl.errors import UserError
from jaxdl.training.ids import check_sources
from jaxdl.training.task import IdRange

_DECLARED = ("tokens", "source", "target")  # features that every task with tokens must declare


@dataclass(frozen=True)
class _Changed:
    """Source in which one value of the last example's `feature` is another one."""

    source: Source
    feature: str
    value: int
    fingerprint: str = "changed"
    in_memory: bool = True

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        return self.source.names

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: np.ndarray) -> Batch:
        batch = self.source.read(indices)
        if self.feature in batch:
            values = batch[self.feature].astype(np.int32)
            values[np.flatnonzero(np.asarray(indices) == len(self) - 1)] = self.value
            batch[self.feature] = values
        return batch


def law_ids(bench: Any) -> None:
    """Law 12: an id without an output is refused before the first step, and the message names its feature."""
    program, data = bench.program(), bench.experiment.data
    check_sources(bench.sources, data, program.id_ranges)
    declared = {valid.feature for valid in program.id_ranges}
    for name in undeclared(bench):
        raise AssertionError(f"the task reads '{name}', but does not declare its ids")
    assert declared
    batch = Batches(bench.sources.train, data, program.experiment.seed, rows=program.rows).at(0)
    raw = bench.sources.train.read(np.array([0]))
    for valid in program.id_ranges:
        for value in {valid.size, valid.low - 1} - set(valid.ignored):
            if valid.feature in raw:
                changed = _Changed(bench.sources.train, valid.feature, value)
                _refused(valid, value, check_sources, bench.sources._replace(train=changed), data, program.id_ranges)
            values = batch[valid.feature].astype(np.int32)
            values[-1] = value
            _refused(valid, value, program.place, {**batch, valid.feature: values})


def undeclared(bench: Any) -> list[str]:
    """Returns integer features of the training batches whose ids the task should declare, but does not."""
    program = bench.program()
    declared = {valid.feature for valid in program.id_ranges}
    return [
        name
        for name, spec in program.batch_shape.items()
        if name in _DECLARED and name not in declared and np.issubdtype(spec.dtype, np.integer)
    ]


def _refused(valid: IdRange, value: int, check: Any, *arguments: Any) -> None:
    message = ""
    try:
        check(*arguments)
    except UserError as error:
        message = str(error)
    allowed = f"{valid.feature} allows {valid.low} to {valid.size - 1}"
    assert message, f"{valid.feature}={value} is accepted, but {allowed}"
    assert valid.feature in message, f"the message does not name {valid.feature}: {message}"
    assert str(value) in message, f"the message does not contain {value}: {message}"
