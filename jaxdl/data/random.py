"""Random numbers that are a function of (seed, position) alone, in numpy.

A counter-based generator: number k of position p is a hash of (seed, p, k), so it depends neither on the other
positions that were drawn for at the same time nor on which process or thread does it, and there is no state to save.
The hash is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
"""

from __future__ import annotations

import numpy as np

from jaxdl.errors import UserError

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_ROUNDS = 8
_STREAMS = 0x3B67AE8584CAA73B
_ORDER = 0x6A09E667F3BCC908  # keeps the order apart from what `Draws` of the same seed draws


def _hash(x: np.ndarray) -> np.ndarray:
    """A bijection of uint64 that flips half of the bits when one of them flips."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _keys(key: np.ndarray, numbers: np.ndarray | int) -> np.ndarray:
    """Fresh keys from keys and integers of any sign, broadcast together."""
    if isinstance(numbers, int):
        numbers = np.array([numbers & _MASK], np.uint64)
    return _hash(_hash(key) + numbers.astype(np.uint64) * np.uint64(_GOLDEN))


class Draws:
    """Random numbers for a batch; each call draws new ones.

    Args:
      seed: the run's seed.
      positions: [batch] integers: where each example stands in the run.
    """

    def __init__(self, seed: int, positions: np.ndarray):
        self._key = _keys(np.array([seed & _MASK], np.uint64), np.asarray(positions))
        self._counter = 0

    def fold(self, stream: int) -> Draws:
        """Other, independent random numbers for the same examples."""
        folded = object.__new__(Draws)
        folded._key = _keys(self._key, stream)
        folded._counter = 0
        return folded

    def uniform(self, count: int | None = None) -> np.ndarray:
        """Uniform in [0, 1), float64, [batch] or, with `count`, [batch, count]."""
        counters = np.arange(self._counter + 1, self._counter + 1 + (1 if count is None else count), dtype=np.uint64)
        self._counter += len(counters)
        bits = _hash(self._key[:, None] + counters * np.uint64(_GOLDEN))
        uniform = (bits >> np.uint64(11)) * 2.0**-53
        return uniform[:, 0] if count is None else uniform

    def integers(self, low: int | np.ndarray, high: int | np.ndarray) -> np.ndarray:
        """Integers from `low` up to, not including, `high`, int64 [batch]; the bounds are scalars or [batch]."""
        low = np.asarray(low, np.int64)
        return low + np.floor(self.uniform() * (high - low)).astype(np.int64)

    def between(self, low: float, high: float) -> np.ndarray:
        """Uniform in [low, high), float64 [batch]."""
        return low + (high - low) * self.uniform()


def shuffled(positions: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which example stands at each position, when every epoch of `count` positions is a permutation of its own.

    Position p belongs to epoch p // count. Nothing is stored and no position needs its neighbours: the permutation is a
    Feistel network over pairs of digits (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002), walked
    until the number falls below `count`.

    Args:
      positions: [batch] integers from 0 on.
      count: examples an epoch.
      seed: of the order.

    Returns:
      [batch] int64, from 0 up to, not including, `count`.
    """
    positions = np.asarray(positions, np.int64)
    epochs, numbers = np.divmod(positions, count)
    key = _keys(np.array([(seed ^ _ORDER) & _MASK], np.uint64), epochs)
    if count == 1:
        return numbers
    result = _feistel(numbers.astype(np.uint64), key, count)
    outside = np.flatnonzero(result >= count)
    while len(outside):
        result[outside] = _feistel(result[outside], key[outside], count)
        outside = outside[result[outside] >= count]
    return result.astype(np.int64)


def streams(positions: np.ndarray, count: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which example stands at each position, when row r of a batch goes on where row r of the batch before ended.

    The examples, in their order, are cut into `rows` streams of count // rows. An epoch begins them at another place,
    drawn from the seed, so batches mix differently; the last example is followed by the first.

    Args:
      positions: [batch] integers from 0 on; position p is row p % rows of step p // rows.
      count: examples.
      rows: of a batch.
      seed: of the places.

    Returns:
      [batch] int64, from 0 up to, not including, `count`; and bool [batch], where a row does not go on.

    Raises:
      UserError: fewer examples than rows.
    """
    if count < rows:
        raise UserError(f"{count} examples do not make {rows} streams: set data.batch_size to {count} or less")
    length = count // rows
    step, row = np.divmod(np.asarray(positions, np.int64), rows)
    epoch, place = np.divmod(step, length)
    shift = Draws(seed ^ _STREAMS, epoch).integers(0, count)
    index = (row * length + place + shift) % count
    return index, (place == 0) | (index == 0)


def _feistel(numbers: np.ndarray, key: np.ndarray, count: int) -> np.ndarray:
    """A permutation of [0, high * low), the smallest such rectangle that is nearly square and holds `count`."""
    high = int(np.ceil(np.sqrt(count)))
    low = -(-count // high)
    sizes = (np.uint64(high), np.uint64(low))
    digits = list(np.divmod(numbers, sizes[1]))
    for number in range(_ROUNDS):
        turn = number % 2
        noise = _hash(key + (digits[1 - turn] + np.uint64(number * 2**32)) * np.uint64(_GOLDEN))
        digits[turn] = (digits[turn] + noise % sizes[turn]) % sizes[turn]
    return digits[0] * sizes[1] + digits[1]
