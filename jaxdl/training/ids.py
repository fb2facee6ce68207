"""Checks that every label, token and mask value has an output or an embedding of the model.

An id without an output trains silently: its one-hot vector is zero, or the index is clamped. `check_sources` refuses
such ids before the first step, `check_batch` when a batch passes.

Before the first step whole columns are scanned: features that are in memory, and labels of image folders, if the
transforms leave them as they are. Of other data sets, which are streamed, generated, decoded or
changed by transforms, `SAMPLED` evenly spaced examples are scanned. Every batch is checked on the host before a step
or an evaluation uses it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.data.image.transforms import apply
from jaxdl.data.random import Draws
from jaxdl.data.source import Batch, ColumnSource, ExampleSource, Source
from jaxdl.errors import UserError, warn
from jaxdl.training.sources import Sources
from jaxdl.training.task import IdRange

SAMPLED = 32  # examples of data sets whose columns are not scanned
_CHUNK_BYTES = 2**24  # of a column that is scanned at a time
_SCANNED_BYTES = 2**30  # largest column that is scanned whole


def check_batch(batch: Mapping[str, np.ndarray], ranges: Sequence[IdRange], where: str) -> None:
    """Checks the ids of one batch.

    Args:
      batch: Batch on the host. Examples of weight 0 are ignored; `index`, if any, numbers the examples.
      ranges: Valid ids, of `Task.id_ranges`. Features that the batch lacks are not checked.
      where: Name of the data, for error messages.

    Raises:
      UserError: An id is out of range, with feature, value, count, first example and the argument to change.
    """
    for valid in ranges:
        values = batch.get(valid.feature)
        if values is None or not values.size:
            continue
        if values.dtype.kind not in "biu":
            raise UserError(f"{where}: {valid.feature} has type {values.dtype}; it must have integers; convert it")
        if valid.low <= values.min() and values.max() < valid.size:
            continue
        invalid = (values < valid.low) | (values >= valid.size)
        for ignored in valid.ignored:
            invalid &= values != ignored
        if invalid.any() and (invalid := invalid & _present(batch, valid)).any():
            raise UserError(_message(batch, valid, invalid, where))


def _present(batch: Mapping[str, np.ndarray], valid: IdRange) -> np.ndarray:
    """Returns the positions of a feature that are not padding, bool of its shape."""
    name, values = valid.feature, batch[valid.feature]
    present = np.ones(values.shape, bool)
    if "weight" in batch:
        present &= (np.asarray(batch["weight"]) > 0).reshape(-1, *[1] * (values.ndim - 1))
    if f"{name}_length" in batch and values.ndim == 2:
        present &= np.arange(values.shape[1]) < np.asarray(batch[f"{name}_length"])[:, None]
    for mask in (f"{name}_segments", valid.mask):
        if mask in batch:
            present &= batch[mask] > 0
    return present


def _message(batch: Mapping[str, np.ndarray], valid: IdRange, invalid: np.ndarray, where: str) -> str:
    values, row = np.asarray(batch[valid.feature])[invalid], int(np.nonzero(invalid)[0][0])
    example = int(batch["index"][row]) if "index" in batch else row
    count = f"{len(values)} ids" if len(values) > 1 else "1 id"
    argument = valid.argument or f"the model's {valid.size} outputs"
    allowed = " and ".join([f"{valid.low} to {valid.size - 1}", *map(str, valid.ignored)])
    return (
        f"{where}: {valid.feature} has {count} out of range, the first is {values[0]} in example {example}; {argument}"
        f" allow{'s' if valid.argument else ''} {allowed}; correct the data"
        + (f" or increase {valid.argument or 'the outputs'}" if values.max() >= valid.size else "")
    )


def check_sources(sources: Sources, data: Any, ranges: Sequence[IdRange]) -> None:
    """Checks the ids of the training set and of all evaluations, and that their ids have the same meaning.

    Args:
      sources: Loaded data.
      data: `jaxdl.data.dataset.Data`, for its transforms.
      ranges: Valid ids, of `Task.id_ranges`.

    Raises:
      UserError: An id is out of range, an evaluation has a class that the training set lacks, or an id has different
        names in the training set and an evaluation.
    """
    trained = _scan(sources.train, tuple(data.augment), ranges, "training set")
    _compare_sizes(sources.train, ranges)
    for name, source in sources.evals.items():
        where = f"evaluation '{name}'"
        _check_names(sources.train, source, ranges, where)
        found = _scan(source, tuple(data.eval_transforms), ranges, where)
        for valid in ranges:
            if valid.classes and valid.feature in trained and valid.feature in found:
                _check_classes(valid, trained[valid.feature], found[valid.feature], source, where)


def _compare_sizes(train: Source, ranges: Sequence[IdRange]) -> None:
    """Warns of outputs that no class has. They train without an error, but never become likely."""
    for valid in ranges:
        names = train.names.get(valid.feature)
        if valid.classes and names and len(names) < valid.size:
            argument = valid.argument or "the number of the model's outputs"
            warn(f"{valid.feature} has {len(names)} classes and the model {valid.size} outputs; decrease {argument}?")


def _check_classes(valid: IdRange, trained: np.ndarray, found: np.ndarray, source: Source, where: str) -> None:
    """Checks that the training set has every class of an evaluation; counts are [size]."""
    absent = np.flatnonzero((found > 0) & (trained == 0))
    if len(absent):
        names = source.names.get(valid.feature, ())
        value = int(absent[0])
        named = f" ('{names[value]}')" if value < len(names) else ""
        raise UserError(
            f"{where}: {valid.feature} is {value}{named} at {int(found[value])} positions, but never in the training"
            " set, so the class cannot be learned; add training examples of it or remove it from the evaluation"
        )


def _check_names(train: Source, source: Source, ranges: Sequence[IdRange], where: str) -> None:
    for feature in {valid.feature: None for valid in ranges}:
        first, second = train.names.get(feature), source.names.get(feature)
        if not first or not second or first is second:
            continue
        for number, (name, other) in enumerate(zip(first, second)):
            if name != other:
                raise UserError(
                    f"{where}: {feature} {number} means '{other}', but '{name}' in the training set; load both with"
                    " the same classes or vocabulary"
                )


def _scan(source: Source, transforms: tuple, ranges: Sequence[IdRange], where: str) -> dict[str, np.ndarray]:
    """Checks a data set, and returns the counts [size] of the ids of each class feature that was scanned whole."""
    if not ranges or not len(source):
        return {}
    columns = scannable(source, _features(ranges))
    whole = [valid for valid in ranges if valid.feature in columns]
    if transforms or len(whole) < len(ranges):
        sample = list(_sampled(source, transforms))
        for _, batch in sample:
            check_batch(batch, ranges, where)
        whole = [valid for valid in whole if all(_unchanged(valid.feature, *pair) for pair in sample)]
    counts = {valid.feature: np.zeros(valid.size, np.int64) for valid in whole if valid.classes}
    first = np.array([0])
    chunk = max(1, _CHUNK_BYTES // max((read(first).nbytes for read in columns.values()), default=1))
    for start in range(0, len(source), chunk) if whole else ():
        index = np.arange(start, min(start + chunk, len(source)))
        batch = {name: read(index) for name, read in columns.items()} | {"index": index}
        check_batch(batch, whole, where)
        for valid in whole:
            if valid.classes:
                ids = batch[valid.feature][_present(batch, valid)]
                ids = ids[(ids >= valid.low) & (ids < valid.size)]  # without ignored ones
                counts[valid.feature] += np.bincount(ids.ravel(), minlength=valid.size)
    return counts


def _features(ranges: Sequence[IdRange]) -> list[str]:
    names = [(v.feature, f"{v.feature}_length", f"{v.feature}_segments", v.mask) for v in ranges]
    return list(dict.fromkeys(name for group in names for name in group if name))


def scannable(source: Source, features: Sequence[str]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Returns a function `(indices) -> values` of each feature that can be read whole without decoding examples."""
    if isinstance(source, ColumnSource):
        columns = {name: source.columns[name] for name in features if name in source.columns}
        return {name: column.__getitem__ for name, column in columns.items() if column.nbytes <= _SCANNED_BYTES}
    if isinstance(source, ExampleSource) and "label" in features and hasattr(source.examples, "labels_of"):
        rows = np.asarray(source.rows)
        return {"label": lambda index: source.examples.labels_of(rows[index])}
    if not source.in_memory:
        return {}
    example = source.read(np.array([0]))
    if len(source) * sum(value.nbytes for value in example.values()) > _SCANNED_BYTES // 8:
        return {}
    return {name: lambda index, name=name: source.read(index)[name] for name in features if name in example}


def _sampled(source: Source, transforms: tuple) -> Iterator[tuple[Batch, Batch]]:
    """Yields evenly spaced examples before and after the transforms, as batches of one."""
    for row in np.unique(np.linspace(0, len(source) - 1, SAMPLED).astype(np.int64)):
        index = np.array([row])
        raw = source.read(index) | {"index": index.astype(np.int32)}
        yield raw, apply(transforms, dict(raw), Draws(0, index))


def _unchanged(feature: str, raw: Batch, transformed: Batch) -> bool:
    return feature in raw and feature in transformed and np.array_equal(raw[feature], transformed[feature])
