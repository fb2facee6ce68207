"""Batches as a pure function of (seed, step), without iterator state.

Row r of step s has position `offset + s * batch_size + r`. It determines the example (every epoch is an independent
permutation) and the random numbers of its transforms. A run therefore resumes at any step, on any number of processes,
without repeating or skipping an example.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.data.image.transforms import Transform, apply
from jaxdl.data.random import Draws, shuffled, streams
from jaxdl.data.source import Batch, Source, concatenate, read_pictures

if TYPE_CHECKING:
    from jaxdl.data.dataset import Data

_AUGMENT, _PARTNER, _PARTNER_AUGMENT, _MIX = range(4)
_PREFETCH = 2  # batches ready ahead

Numbered = Generator[tuple[int, Any], None, None]  # (step, batch); close it when done


@dataclass(frozen=True)
class Batches:
    """Training batches of a run.

    A batch has the transformed numeric features of the source and
      weight: float32 [batch], 1.
      index: int32 [batch], position of the example in the source.
      first: float32 [batch], 1 where a stream begins. Only with `data.order="streams"`.
      mix_label, mix_weight: int32 [batch] and float32 [batch]. Only with `data.mix`.

    Attributes:
      source: Training examples, `data.train.load()`.
      data: Batch size, transforms, threads and processes.
      seed: Seed of the order and the transforms.
      rows: Batch rows that this process produces. None produces all.
      offset: Position of row 0 of step 0. Not 0 after a resume with another batch size.
      augment: Seed of the transforms. None: `seed`.
    """

    source: Source
    data: Data
    seed: int
    rows: slice | None = None
    offset: int = 0
    augment: int | None = None

    def at(self, step: int) -> Batch:
        """Returns the batch of one step, restricted to `rows`."""
        return self.make(self.positions(step))

    def iterate(self, start: int, place: Callable[[Batch], Any] | None = None) -> Numbered:
        """Yields (step, batch) from step `start` without end, prefetched in a thread.

        Close it after use.

        Args:
          place: Function that moves a batch to the devices. It runs in the thread, so the copy overlaps with the step.
        """
        return _prefetched(self, start, None, self.data.threads, self.data.workers, place)

    @property
    def whole(self) -> bool:
        return self.source.in_memory

    def positions(self, step: int) -> np.ndarray:
        size = self.data.batch_size
        return self.offset + step * size + np.arange(*(self.rows or slice(None)).indices(size))

    def make(self, positions: np.ndarray) -> Batch:
        draws = Draws(self.seed if self.augment is None else self.augment, positions)
        if self.data.order == "streams":
            index, first = streams(positions, len(self.source), self.data.batch_size, self.seed)
        else:
            index, first = shuffled(positions, len(self.source), self.seed), None
        batch = concatenate([self._examples(index[rows], draws.rows(rows)) for rows in _parts(self.source, index)])
        if first is not None:
            batch["first"] = first.astype(np.float32)
        return _finish(batch, index, np.ones(len(index), np.float32))

    def _examples(self, index: np.ndarray, draws: Draws) -> Batch:
        """Reads and transforms examples; returns their numeric features."""
        batch = apply(self.data.augment, _read(self.source, index), draws.fold(_AUGMENT))
        if self.data.mix is not None:
            partners = draws.fold(_PARTNER).integers(0, len(self.source))
            partner = apply(self.data.augment, _read(self.source, partners), draws.fold(_PARTNER_AUGMENT))
            batch = self.data.mix(batch, partner, draws.fold(_MIX))
        return _numbers(batch)


@dataclass(frozen=True)
class MemberBatches:
    """Training batches of an ensemble: the batches of its members, stacked to features [batch, members, ...].

    Attributes:
      members: Batches of each member, which differ in their seed only.
    """

    members: Sequence[Batches]

    def at(self, step: int) -> Batch:
        """Returns the batch of one step, see `Batches.at`."""
        return self.make(self.positions(step))

    def iterate(self, start: int, place: Callable[[Batch], Any] | None = None) -> Numbered:
        """Yields (step, batch) from step `start` without end, see `Batches.iterate`."""
        data = self.members[0].data
        return _prefetched(self, start, None, data.threads, data.workers, place)

    @property
    def whole(self) -> bool:
        return self.members[0].whole

    def positions(self, step: int) -> np.ndarray:
        return self.members[0].positions(step)

    def make(self, positions: np.ndarray) -> Batch:
        batches = [member.make(positions) for member in self.members]
        return {name: np.stack([batch[name] for batch in batches], axis=1) for name in batches[0]}


@dataclass(frozen=True)
class _EvalBatches:
    """Batches of one ordered pass. The last one is padded with example 0, weight 0 and index -1."""

    source: Source
    size: int
    transforms: tuple
    rows: slice | None = None

    @property
    def whole(self) -> bool:
        return self.source.in_memory

    def positions(self, step: int) -> np.ndarray:
        return step * self.size + np.arange(*(self.rows or slice(None)).indices(self.size))

    def make(self, positions: np.ndarray) -> Batch:
        real = positions < len(self.source)
        index = np.where(real, positions, 0)
        parts = [index[rows] for rows in _parts(self.source, index)]
        batch = concatenate([_numbers(transformed(self.transforms, _read(self.source, p), p)) for p in parts])
        return _finish(batch, np.where(real, positions, -1), real.astype(np.float32))


def transformed(transforms: Sequence[Transform], batch: Batch, index: np.ndarray) -> Batch:
    """Applies the transforms of evaluation to examples, as evaluation, prediction and explanation do.

    Args:
      transforms: `Data.eval_transforms`.
      batch: Features [batch, ...].
      index: Numbers of the examples, int [batch], on which random transforms depend.
    """
    return apply(transforms, batch, Draws(0, index))


def eval_count(source: Source, batch_size: int) -> int:
    """Returns the number of batches in one pass."""
    return -(-len(source) // batch_size)


def eval_batches(
    source: Source,
    batch_size: int,
    transforms: tuple = (),
    rows: slice | None = None,
    threads: int = 0,
    workers: int = 0,
) -> Generator[Batch, None, None]:
    """Yields one ordered pass over the source as batches like those of `Batches`.

    Close it if you stop early.

    The last batch is padded with example 0, `weight` 0 and `index` -1. Random transforms depend on the example only,
    so every pass is equal.
    """
    batches = _EvalBatches(source, batch_size, tuple(transforms), rows)
    with contextlib.closing(_prefetched(batches, 0, eval_count(source, batch_size), threads, workers)) as prefetched:
        for _, batch in prefetched:
            yield batch


def _read(source: Source, index: np.ndarray) -> Batch:
    """Returns the examples with `index`, which errors in transforms refer to."""
    batch = read_pictures(source, int(index[0])) if len(index) == 1 else source.read(index)
    return batch | {"index": index.astype(np.int32)}


def _numbers(batch: Batch) -> Batch:
    return {name: value for name, value in batch.items() if value.dtype.kind in "biufc"}


def _finish(batch: Batch, index: np.ndarray, weight: np.ndarray) -> Batch:
    return batch | {"index": index.astype(np.int32), "weight": weight}


def _parts(source: Source, index: np.ndarray) -> list[slice]:
    """Returns the parts in which to read examples: single ones if they are decoded, because their sizes may differ."""
    return [slice(None)] if source.in_memory else [slice(row, row + 1) for row in range(len(index))]


@dataclass(frozen=True)
class _Steps:
    """Grain source whose element i is the batch of step `start + i`."""

    batches: Any
    start: int
    count: int | None

    def __len__(self) -> int:
        return 2**31 - 1 if self.count is None else self.count

    def __getitem__(self, index: int) -> Any:
        return self.batches.make(self.batches.positions(self.start + index))


@dataclass(frozen=True)
class _Rows:
    """Grain source whose element i is one batch row, starting with those of step `start`."""

    batches: Any
    start: int
    count: int | None

    def __len__(self) -> int:
        return 2**62 if self.count is None else self.count * len(self.batches.positions(0))

    def __getitem__(self, index: int) -> Any:
        step, row = divmod(index, len(self.batches.positions(0)))
        return self.batches.make(self.batches.positions(self.start + step)[row : row + 1])


def _prefetched(
    batches: Any,
    start: int,
    count: int | None,
    threads: int,
    workers: int,
    place: Callable[[Batch], Any] | None = None,
) -> Numbered:
    """Yields (step, batch) in order, prefetched by grain in threads or processes."""
    import grain

    batches_ahead = _pipeline(batches, start, count, threads, workers)
    if place is not None:
        batches_ahead = batches_ahead.map(place)
    if place is not None or not workers:
        batches_ahead = grain.experimental.ThreadPrefetchIterDataset(batches_ahead, prefetch_buffer_size=_PREFETCH)
    iterator = iter(batches_ahead)
    step = start
    try:
        for batch in iterator:
            yield step, batch
            step += 1
    finally:
        iterator.close()
        del iterator


def _pipeline(batches: Any, start: int, count: int | None, threads: int, workers: int) -> Any:
    import grain

    read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    if workers:
        _mark_flags_parsed()
        # Elements are whole batches, because grain distributes the elements of a source over its processes in turn.
        steps = grain.MapDataset.source(_Steps(batches, start, count)).to_iter_dataset(read)
        return steps.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=_PREFETCH))
    if batches.whole or threads == 0:
        return grain.MapDataset.source(_Steps(batches, start, count)).to_iter_dataset(read)
    size = len(batches.positions(0))
    read.prefetch_buffer_size = max(threads, size)
    rows = grain.MapDataset.source(_Rows(batches, start, count)).to_iter_dataset(read)
    return rows.batch(size, drop_remainder=True, batch_fn=concatenate)


def _mark_flags_parsed() -> None:
    """Marks absl flags as parsed; otherwise grain's processes start only inside `absl.app.run`."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
