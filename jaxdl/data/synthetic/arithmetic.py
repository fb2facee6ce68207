"""Sequences that are made up and can be solved exactly: the adding problem, and addition of numbers digit by digit."""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.random import Draws, shuffled
from jaxdl.data.source import ColumnSource
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError, nearest

SPLITS = ("train", "validation", "test")
MOST_DIGITS = 9  # the number of a pair then still fits in 64 bits
_HELD_OUT = 0.1  # the share of all pairs in each of validation and test
_ADDING, _PAIRS = 0x243F6A8885A308D3, 0x13198A2E03707344  # keep these draws apart from others of the same seed


@dataclass(frozen=True)
class AddingProblem:
    """Sequences of numbers of which two are marked; what is asked for is the sum of the two.

    A model has to remember for up to `length` steps. The form is that of Le, Jaitly and Hinton (arXiv:1504.00941),
    after Hochreiter and Schmidhuber ("Long Short-Term Memory", 1997): who always says 1 has a squared error of
    1/6 = 0.167.

    Loads as `inputs`, float32 [length, 2]: a number, uniform in [0, 1), and a marker, 1 at one step of the first half
    and at one of the second, else 0; and `target`, float32 []: the sum of the two marked numbers.

    Attributes:
      length: steps, 2 or more.
      examples: how many.
      seed: of the numbers and the places.
      split: "train", "validation" or "test"; each draws its own.
    """

    length: int = 100
    examples: int = 1000
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        if self.length < 2:
            raise UserError(f"AddingProblem.length={self.length}: must be 2 or more, a step for each marker")
        _check(self.examples, self.split)

    def load(self) -> ColumnSource:
        draws = Draws(self.seed ^ _ADDING, np.arange(self.examples)).fold(SPLITS.index(self.split))
        half = self.length // 2
        places = np.stack([draws.integers(0, half), draws.integers(half, self.length)], axis=1)
        inputs = np.zeros((self.examples, self.length, 2), np.float32)
        # In float32 a number just below 1 becomes 1.
        inputs[..., 0] = np.minimum(draws.uniform(self.length), np.nextafter(np.float32(1), np.float32(0)))
        np.put_along_axis(inputs[..., 1], places, 1.0, axis=1)
        target = np.take_along_axis(inputs[..., 0], places, axis=1).sum(axis=1)
        return ColumnSource({"inputs": inputs, "target": target}, digest_of(repr(self)))


@dataclass(frozen=True)
class DigitAddition:
    """Sums as text, to be learnt digit by digit (Zaremba and Sutskever, "Learning to Execute", arXiv:1410.4615).

    Loads as `source` and `target`, bytes: b"123+456" and b"579". Both numbers are uniform from 0 up to 10**digits - 1.
    Which split a pair belongs to is told by a hash of the two numbers, whatever their order: 80% of all pairs are for
    training, 10% for validation, 10% for the test, so that no split holds a pair of another one, nor that pair turned
    around, at any seed. The examples of a split are distinct.

    Attributes:
      digits: of the larger numbers, 1 to 9.
      examples: how many.
      split: "train", "validation" or "test".
      seed: of which pairs are taken, and of their order.
    """

    digits: int = 3
    examples: int = 10000
    split: str = "train"
    seed: int = 0

    def __post_init__(self):
        if not 1 <= self.digits <= MOST_DIGITS:
            raise UserError(f"DigitAddition.digits={self.digits}: must be 1 to {MOST_DIGITS}")
        _check(self.examples, self.split)

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: there are not that many different pairs.
        """
        first, second = self._pairs()
        source = np.char.add(np.char.add(first.astype("S9"), b"+"), second.astype("S9"))
        columns = {"source": source, "target": (first + second).astype("S10")}
        return ColumnSource(columns, digest_of(repr(self)))

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The two numbers of each example, int64 [examples] each.

        All pairs, in a random order, are gone through until enough of them belong to the split.
        """
        numbers = 10**self.digits
        found, held, start = [], 0, 0
        while held < self.examples:
            stop = min(start + 2 * self.examples + 1000, numbers**2)
            if start == stop:
                raise UserError(
                    f"DigitAddition.examples={self.examples}: split '{self.split}' has only {held} pairs of numbers of "
                    f"up to {self.digits} digits; ask for fewer, or for more digits"
                )
            order = shuffled(np.arange(start, stop), numbers**2, self.seed ^ _PAIRS)
            pairs = np.stack(np.divmod(order, numbers))
            pairs = pairs[:, split_of(*pairs) == SPLITS.index(self.split)]
            found, held, start = [*found, pairs], held + pairs.shape[1], stop
        first, second = np.concatenate(found, axis=1)[:, : self.examples]
        return first, second


def split_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which of `SPLITS` each pair of numbers belongs to, int64 of their shape [pairs]; the same with them exchanged."""
    pair = np.minimum(first, second) * 10**MOST_DIGITS + np.maximum(first, second)
    place = Draws(_PAIRS, pair).uniform()
    return (place < 2 * _HELD_OUT).astype(np.int64) + (place < _HELD_OUT)


def _check(examples: int, split: str) -> None:
    if examples < 1:
        raise UserError(f"examples={examples}: must be 1 or more")
    if split not in SPLITS:
        raise UserError(f"there is no split '{split}'; {nearest(split, SPLITS)}")
