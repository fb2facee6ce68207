"""From a step number to a batch: the batch is a function of (seed, step), so there is no iterator state to save.

Row r of the batch of step s stands at position `s * batch_size + r` of the run. The position says which example it is
(every epoch is a permutation of its own) and what its transforms draw. So a run resumes at any step, on any number of
processes, and neither repeats nor leaves out an example.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.data.image.transforms import apply
from jaxdl.data.random import Draws, shuffled, streams
from jaxdl.data.source import Batch, Source, concatenate

if TYPE_CHECKING:
    from jaxdl.data.dataset import Data

_AUGMENT, _PARTNER, _PARTNER_AUGMENT, _MIX = range(4)
_PREFETCH = 2  # batches ready ahead

Numbered = Generator[tuple[int, Any], None, None]  # (step, batch); close it when done


@dataclass(frozen=True)
class Batches:
    """The training batches of a run.

    A batch has the source's features after the transforms, numbers only, and
      weight: float32 [batch], 1.
      index: int32 [batch], which example of the source.
      first: if `data.order` is "streams": float32 [batch], 1 where the row does not go on from the step before.
      mix_label, mix_weight: if `data.mix` is set: int32 [batch] and float32 [batch].

    Attributes:
      source: what `data.train.load()` gave.
      data: batch size, transforms, threads and processes.
      seed: of the order and of the transforms.
      rows: which rows of the batch this process makes; None: all.
    """

    source: Source
    data: Data
    seed: int
    rows: slice | None = None

    def at(self, step: int) -> Batch:
        """The rows of the batch of one step."""
        return _assemble(self, step)

    def iterate(self, start: int, place: Callable[[Batch], Any] | None = None) -> Numbered:
        """(step, batch) from step `start` on, without end, made ahead in a thread. Close it when done.

        Args:
          place: puts a batch where it is used (on the devices); called in that thread, so nobody waits for the copy.
        """
        return _prefetched(self, start, None, self.data.threads, self.data.workers, place)

    @property
    def whole(self) -> bool:
        return self.source.in_memory

    def positions(self, step: int) -> np.ndarray:
        size = self.data.batch_size
        return step * size + np.arange(size)[self.rows or slice(None)]

    def make(self, positions: np.ndarray) -> Batch:
        draws = Draws(self.seed, positions)
        if self.data.order == "streams":
            index, first = streams(positions, len(self.source), self.data.batch_size, self.seed)
        else:
            index, first = shuffled(positions, len(self.source), self.seed), None
        batch = apply(self.data.augment, _read(self.source, index), draws.fold(_AUGMENT))
        if self.data.mix is not None:
            other = draws.fold(_PARTNER).integers(0, len(self.source))
            partner = apply(self.data.augment, _read(self.source, other), draws.fold(_PARTNER_AUGMENT))
            batch = self.data.mix(batch, partner, draws.fold(_MIX))
        if first is not None:
            batch["first"] = first.astype(np.float32)
        return _finish(batch, index, np.ones(len(index), np.float32))


@dataclass(frozen=True)
class _EvalBatches:
    """The batches of one pass over a source, in order. The last one is padded with example 0, weight 0 and index -1."""

    source: Source
    size: int
    transforms: tuple
    rows: slice | None = None

    @property
    def whole(self) -> bool:
        return self.source.in_memory

    def positions(self, step: int) -> np.ndarray:
        return step * self.size + np.arange(self.size)[self.rows or slice(None)]

    def make(self, positions: np.ndarray) -> Batch:
        real = positions < len(self.source)
        index = np.where(real, positions, 0)
        batch = apply(self.transforms, _read(self.source, index), Draws(0, index))
        return _finish(batch, np.where(real, positions, -1), real.astype(np.float32))


def eval_count(source: Source, batch_size: int) -> int:
    """How many batches one pass makes."""
    return -(-len(source) // batch_size)


def eval_batches(
    source: Source,
    batch_size: int,
    transforms: tuple = (),
    rows: slice | None = None,
    threads: int = 0,
    workers: int = 0,
) -> Generator[Batch, None, None]:
    """One pass over the source, in order, as batches like those of `Batches`; close it if you stop early.

    The last batch is filled up with example 0 of `weight` 0 and `index` -1. Random transforms draw by example: every
    pass is the same.
    """
    batches = _EvalBatches(source, batch_size, tuple(transforms), rows)
    with contextlib.closing(_prefetched(batches, 0, eval_count(source, batch_size), threads, workers)) as made:
        for _, batch in made:
            yield batch


def _read(source: Source, index: np.ndarray) -> Batch:
    """The examples, and `index`, so that a transform that refuses an example can name it."""
    return source.read(index) | {"index": index.astype(np.int32)}


def _finish(batch: Batch, index: np.ndarray, weight: np.ndarray) -> Batch:
    numbers = {name: value for name, value in batch.items() if value.dtype.kind in "biufc"}
    return numbers | {"index": index.astype(np.int32), "weight": weight}


def _assemble(batches: Any, step: int) -> Batch:
    positions = batches.positions(step)
    if batches.whole:
        return batches.make(positions)
    return concatenate([batches.make(positions[row : row + 1]) for row in range(len(positions))])


@dataclass(frozen=True)
class _Steps:
    """A source of grain whose element i is the batch of step `start + i`."""

    batches: Any
    start: int
    count: int | None

    def __len__(self) -> int:
        return 2**31 - 1 if self.count is None else self.count

    def __getitem__(self, index: int) -> Any:
        return _assemble(self.batches, self.start + index)


@dataclass(frozen=True)
class _Rows:
    """A source of grain whose element i is one row, those of step `start` first."""

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
    """(step, batch) in order, made ahead by grain in a thread, in `threads` threads or in `workers` processes."""
    import grain

    made = _pipeline(batches, start, count, threads, workers)
    if place is not None:
        made = made.map(place)
    if place is not None or not workers:
        made = grain.experimental.ThreadPrefetchIterDataset(made, prefetch_buffer_size=_PREFETCH)
    iterator = iter(made)
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
        # Elements are whole batches here: grain deals out the elements of a source to its processes in turn.
        steps = grain.MapDataset.source(_Steps(batches, start, count)).to_iter_dataset(read)
        return steps.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=_PREFETCH))
    if batches.whole or threads == 0:
        return grain.MapDataset.source(_Steps(batches, start, count)).to_iter_dataset(read)
    size = len(batches.positions(0))
    read.prefetch_buffer_size = max(threads, size)
    rows = grain.MapDataset.source(_Rows(batches, start, count)).to_iter_dataset(read)
    return rows.batch(size, drop_remainder=True, batch_fn=concatenate)


def _mark_flags_parsed() -> None:
    """Grain's processes start through absl, which refuses outside of `absl.app.run`: in notebooks and tests."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
