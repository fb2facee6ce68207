"""Generated sequence tasks with exact solutions: the adding problem, digit-wise and modular addition."""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.random import Draws, shuffled
from jaxdl.data.source import ColumnSource
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError, nearest

SPLITS = ("train", "validation", "test")
MOST_DIGITS = 9  # keeps the number of a pair within 64 bits
_HELD_OUT = 0.1  # fraction of all pairs in each of validation and test
# Separate these draws from others of the same seed.
_ADDING, _PAIRS, _MODULAR = 0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0


@dataclass(frozen=True)
class AddingProblem:
    """Adding problem: the sum of two marked numbers in a sequence.

    It requires memory over up to `length` steps (Le, Jaitly and Hinton, arXiv:1504.00941; after Hochreiter and
    Schmidhuber, "Long Short-Term Memory", 1997). The constant predictor 1 has MSE 1/6 = 0.167.

    Features: `inputs` float32 [examples, length, 2], a uniform number in [0, 1) and a marker, 1 at one step of each
    half, else 0; `target` float32 [examples].

    Example: inputs [[0.1, 0], [0.5, 1], [0.2, 1], [0.9, 0]] have the target 0.7.

    Attributes:
      length: Number of steps, at least 2.
      examples: Number of examples.
      seed: Random seed.
      split: "train", "validation" or "test"; each has other examples.
    """

    length: int = 100
    examples: int = 1000
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        if self.length < 2:
            raise UserError(f"AddingProblem.length={self.length} must be at least 2, one step per marker")
        _check(self.examples, self.split)

    def load(self) -> ColumnSource:
        draws = Draws(self.seed ^ _ADDING, np.arange(self.examples)).fold(SPLITS.index(self.split))
        half = self.length // 2
        marked_steps = np.stack([draws.integers(0, half), draws.integers(half, self.length)], axis=1)
        inputs = np.zeros((self.examples, self.length, 2), np.float32)
        # Rounding to float32 turns numbers just below 1 into 1.
        inputs[..., 0] = np.minimum(draws.uniform(self.length), np.nextafter(np.float32(1), np.float32(0)))
        np.put_along_axis(inputs[..., 1], marked_steps, 1.0, axis=1)
        target = np.take_along_axis(inputs[..., 0], marked_steps, axis=1).sum(axis=1)
        return ColumnSource({"inputs": inputs, "target": target}, digest_of(repr(self)))


@dataclass(frozen=True)
class DigitAddition:
    """Addition of decimal numbers as text (Zaremba and Sutskever, arXiv:1410.4615).

    Both numbers are uniform from 0 to 10**digits - 1. A hash of the unordered pair assigns 80% of all pairs to
    training, 10% to validation and 10% to test, so splits are disjoint at any seed, also with operands exchanged.
    The examples of a split are distinct.

    Example: `{"source": b"123+456", "target": b"579"}`.

    Attributes:
      digits: Largest number of digits, 1 to 9.
      examples: Number of examples.
      split: "train", "validation" or "test".
      seed: Seed of the selection and the order.
    """

    digits: int = 3
    examples: int = 10000
    split: str = "train"
    seed: int = 0

    def __post_init__(self):
        if not 1 <= self.digits <= MOST_DIGITS:
            raise UserError(f"DigitAddition.digits={self.digits} must be from 1 to {MOST_DIGITS}")
        _check(self.examples, self.split)

    def load(self) -> ColumnSource:
        """Generates the pairs.

        Raises:
          UserError: The split has fewer distinct pairs than `examples`.
        """
        first, second = self._pairs()
        source = np.char.add(np.char.add(first.astype("S9"), b"+"), second.astype("S9"))
        columns = {"source": source, "target": (first + second).astype("S10")}
        return ColumnSource(columns, digest_of(repr(self)))

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the two numbers of each example, int64 [examples] each."""
        numbers = 10**self.digits
        selected, count, start = [], 0, 0
        while count < self.examples:
            stop = min(start + 2 * self.examples + 1000, numbers**2)
            if start == stop:
                raise UserError(
                    f"DigitAddition.examples={self.examples} exceeds the {count} pairs of up to {self.digits} digits "
                    f"in split '{self.split}'; use fewer examples or more digits"
                )
            order = shuffled(np.arange(start, stop), numbers**2, self.seed ^ _PAIRS)
            pairs = np.stack(np.divmod(order, numbers))
            pairs = pairs[:, split_of(*pairs) == SPLITS.index(self.split)]
            selected, count, start = [*selected, pairs], count + pairs.shape[1], stop
        first, second = np.concatenate(selected, axis=1)[:, : self.examples]
        return first, second


@dataclass(frozen=True)
class ModularAddition:
    """Addition modulo a prime, on which networks generalize long after they fit ("grokking", arXiv:2201.02177).

    The training split has a random share of all ordered pairs; validation and test divide the rest in halves.

    Features: `tokens` int32 [examples, 3], the two numbers and the token `modulus` for "="; `label` int32 [examples].

    Example: with modulus 53, tokens [30, 40, 53] have the label 17.

    Attributes:
      modulus: Modulus, at least 2; the pairs are its square.
      share: Share of all pairs in the training split, in (0, 1).
      split: "train", "validation" or "test".
      seed: Seed of the division into splits.
    """

    modulus: int = 53
    share: float = 0.4
    split: str = "train"
    seed: int = 0

    def __post_init__(self):
        if self.modulus < 2:
            raise UserError(f"ModularAddition.modulus={self.modulus} must be at least 2")
        if not 0 < self.share < 1:
            raise UserError(f"ModularAddition.share={self.share} must be above 0 and below 1")
        _check(1, self.split)

    def load(self) -> ColumnSource:
        """Generates the pairs. Raises UserError if the split has none."""
        count = self.modulus**2
        order = shuffled(np.arange(count), count, self.seed ^ _MODULAR)
        train = round(self.share * count)
        middle = train + (count - train) // 2
        bounds = {"train": (0, train), "validation": (train, middle), "test": (middle, count)}[self.split]
        first, second = np.divmod(order[slice(*bounds)], self.modulus)
        if not len(first):
            raise UserError(f"ModularAddition: split '{self.split}' is empty; use a larger modulus or another share")
        tokens = np.stack([first, second, np.full(len(first), self.modulus)], axis=1).astype(np.int32)
        label = ((first + second) % self.modulus).astype(np.int32)
        names = {"label": tuple(map(str, range(self.modulus)))}
        return ColumnSource({"tokens": tokens, "label": label}, digest_of(repr(self)), names)


def split_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the index in `SPLITS` of each unordered pair, int64 [pairs]."""
    pair = np.minimum(first, second) * 10**MOST_DIGITS + np.maximum(first, second)
    place = Draws(_PAIRS, pair).uniform()
    return (place < 2 * _HELD_OUT).astype(np.int64) + (place < _HELD_OUT)


def _check(examples: int, split: str) -> None:
    if examples < 1:
        raise UserError(f"examples={examples} must be at least 1")
    if split not in SPLITS:
        raise UserError(f"split '{split}' does not exist; {nearest(split, SPLITS)}")
