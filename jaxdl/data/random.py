"""Stateless random numbers as a function of (seed, position), in numpy.

Number k of position p is a hash of (seed, p, k), so it does not depend on the batch, the process or the thread, and
there is no generator state to save. The hash is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable
Pseudorandom Number Generators", 2014).
"""

from __future__ import annotations

import re

import numpy as np

from jaxdl.errors import UserError

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_ROUNDS = 8
_STREAMS = 0x3B67AE8584CAA73B
_ORDER = 0x6A09E667F3BCC908  # separates the order from `Draws` of the same seed


def _hash(x: np.ndarray) -> np.ndarray:
    """Hashes uint64 bijectively; one flipped bit flips half of the bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _keys(key: np.ndarray, numbers: np.ndarray | int) -> np.ndarray:
    """Derives keys from keys and integers of any sign, broadcast together."""
    if isinstance(numbers, int):
        numbers = np.array([numbers & _MASK], np.uint64)
    return _hash(_hash(key) + numbers.astype(np.uint64) * np.uint64(_GOLDEN))


class Draws:
    """Random numbers of a batch; each call draws new ones.

    Args:
      seed: Seed of the run.
      positions: Position of each example in the run, int [batch].
    """

    def __init__(self, seed: int, positions: np.ndarray):
        self._key = _keys(np.array([seed & _MASK], np.uint64), np.asarray(positions))
        self._counter = 0

    def fold(self, stream: int) -> Draws:
        """Returns an independent generator for the same examples."""
        folded = object.__new__(Draws)
        folded._key = _keys(self._key, stream)
        folded._counter = 0
        return folded

    def rows(self, rows: slice) -> Draws:
        """Returns the generator of some of the examples; it draws the same numbers."""
        part = object.__new__(Draws)
        part._key, part._counter = self._key[rows], self._counter
        return part

    def uniform(self, count: int | None = None) -> np.ndarray:
        """Draws from [0, 1), float64 [batch], or [batch, count] with `count`."""
        counters = np.arange(self._counter + 1, self._counter + 1 + (1 if count is None else count), dtype=np.uint64)
        self._counter += len(counters)
        bits = _hash(self._key[:, None] + counters * np.uint64(_GOLDEN))
        uniform = (bits >> np.uint64(11)) * 2.0**-53
        return uniform[:, 0] if count is None else uniform

    def integers(self, low: int | np.ndarray, high: int | np.ndarray) -> np.ndarray:
        """Draws integers from [low, high), int64 [batch]; the bounds are scalars or [batch]."""
        low = np.asarray(low, np.int64)
        return low + np.floor(self.uniform() * (high - low)).astype(np.int64)

    def between(self, low: float, high: float) -> np.ndarray:
        """Draws from [low, high), float64 [batch]."""
        return low + (high - low) * self.uniform()


def check_interval(name: str, interval: tuple[float, float]) -> None:
    """Raises UserError if an interval of random numbers is not (minimum, maximum) with positive numbers.

    Args:
      name: Argument for the message, such as "RandomScale.scale".
      interval: Bounds. Equal ones are a constant.
    """
    if not 0 < interval[0] <= interval[1]:
        raise UserError(f"{name}={interval} must be (minimum, maximum) with 0 < minimum <= maximum")


def split_draws(seed: int, split: str, count: int) -> Draws:
    """Returns the generator of the examples 0 .. count - 1 of a split; each split has other numbers.

    Raises:
      UserError: The split is not a plain name: generated data have no parts.
    """
    if not re.fullmatch(r"[\w.-]+", split):
        raise UserError(f"'{split}' is not a split of generated data; use a name without a part, such as train")
    stream = int.from_bytes(split.encode()[:6].ljust(6, b"\0"), "little")
    return Draws(seed, np.arange(count)).fold(stream)


def shuffled(positions: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Returns the example at each position of the shuffled epochs.

    Position p belongs to epoch p // count, and every epoch is an independent permutation: a Feistel network over pairs
    of digits with cycle walking (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002), not stored.

    Args:
      positions: Non-negative integers, [batch].
      count: Examples per epoch.
      seed: Seed of the order.

    Returns:
      Example indices in [0, count), int64 [batch].
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
    """Returns the example at each position when every batch row follows a contiguous stream.

    The ordered examples are divided into `rows` streams of count // rows. Each epoch starts them at a different random
    offset, and the last example is followed by the first.

    Args:
      positions: Non-negative integers, [batch]. Position p is row p % rows of step p // rows.
      count: Number of examples.
      rows: Batch size.
      seed: Seed of the offsets.

    Returns:
      Example indices in [0, count), int64 [batch], and whether the row begins a stream, bool [batch].

    Raises:
      UserError: There are fewer examples than rows.
    """
    if count < rows:
        raise UserError(f"{count} examples cannot fill {rows} streams; set data.batch_size to {count} or less")
    length = count // rows
    step, row = np.divmod(np.asarray(positions, np.int64), rows)
    epoch, place = np.divmod(step, length)
    shift = Draws(seed ^ _STREAMS, epoch).integers(0, count)
    index = (row * length + place + shift) % count
    return index, (place == 0) | (index == 0)


def _feistel(numbers: np.ndarray, key: np.ndarray, count: int) -> np.ndarray:
    """Permutes [0, high * low), the smallest nearly square rectangle of at least `count` cells."""
    high = int(np.ceil(np.sqrt(count)))
    low = -(-count // high)
    sizes = (np.uint64(high), np.uint64(low))
    digits = list(np.divmod(numbers, sizes[1]))
    for number in range(_ROUNDS):
        turn = number % 2
        noise = _hash(key + (digits[1 - turn] + np.uint64(number * 2**32)) * np.uint64(_GOLDEN))
        digits[turn] = (digits[turn] + noise % sizes[turn]) % sizes[turn]
    return digits[0] * sizes[1] + digits[1]
