"""A character n-gram model with interpolated, modified Kneser-Ney smoothing: what a network has to beat on text.

  python -m benchmarks.kneser_ney                                          Jane Austen, orders 1 to 6
  python -m benchmarks.kneser_ney --config=RECIPE --set=NAME=VALUE --order=4   any recipe that trains on windows of text

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (TR-10-98, 1998): each order takes
a discount of D1, D2 or D3+ from counts of one, two, and three or more, and gives what it took to the order below, which
counts in how many different contexts a character was seen rather than how often. The lowest order is interpolated with
the uniform distribution. Counts and scores the tokens that the recipe's own tokenizer makes (characters, there), and
prints nats and bits a token of each of its evaluations and its test split.
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl import configuration, overrides
from jaxdl.data.columns import read_texts
from jaxdl.data.text import Windows
from jaxdl.errors import UserError
from jaxdl.recipes import load_recipe

_FALLBACK = np.array([0.5, 1.0, 1.5])  # where the counts are too few to estimate discounts


@dataclass(frozen=True)
class Order:
    """The n-grams of one order. A gram is a number: its characters as digits of base `size`, the first one highest.

    Attributes:
      grams: int64 [grams], sorted.
      shares: float64 [grams]: (count - discount) / count of the context.
      contexts: int64 [contexts], sorted: the grams without their last character.
      left: float64 [contexts]: the share that the context leaves to the order below.
    """

    grams: np.ndarray
    shares: np.ndarray
    contexts: np.ndarray
    left: np.ndarray


@dataclass(frozen=True)
class KneserNey:
    """
    Attributes:
      size: of the alphabet; characters are numbers from 0 to size - 1.
      orders: order 1 first.
    """

    size: int
    orders: tuple[Order, ...]

    @classmethod
    def fit(cls, texts: Sequence[np.ndarray], order: int, size: int) -> "KneserNey":
        """
        Args:
          texts: int [characters] each; no n-gram reaches from one into the next.
          order: characters of an n-gram: the predicted one and order - 1 before it.
          size: of the alphabet.

        Raises:
          UserError: an order out of range, or so high that n-grams do not fit in 64 bits; no text.
        """
        if order < 1 or float(size) ** order >= 2.0**63:
            raise UserError(f"order={order}: must be 1 or more, and {size}**order below 2**63")
        if not any(len(text) for text in texts):
            raise UserError("there is no text to count n-grams in; give at least one that is not empty")
        grams, counts = np.unique(_all_grams(texts, order, size), return_counts=True)
        orders = [_estimate(grams, counts, size)]
        for length in range(order - 1, 0, -1):
            longer = grams if length == order - 1 else np.unique(_all_grams(texts, length + 1, size))
            orders.append(_estimate(*np.unique(longer % size**length, return_counts=True), size))
        return cls(size, tuple(reversed(orders)))

    def log_probabilities(self, text: np.ndarray) -> np.ndarray:
        """float64 [characters] of each character of `text` [characters], given those before it in the text."""
        text = np.asarray(text, np.int64)
        probabilities = np.full(len(text), 1.0 / self.size)
        for length, order in enumerate(self.orders, start=1):
            grams = _grams(text, length, self.size)
            # The first characters have too few before them for this order: they keep what shorter contexts say.
            rest = probabilities[length - 1 :]
            probabilities[length - 1 :] = _interpolate(order, grams, self.size, rest)
        return np.log(probabilities)

    def distribution(self, context: np.ndarray) -> np.ndarray:
        """float64 [size]: the probability of each character after `context`, int [any number of characters]."""
        probabilities = np.full(self.size, 1.0 / self.size)
        for length, order in enumerate(self.orders, start=1):
            if length - 1 <= len(context):
                last = np.asarray(context, np.int64)[len(context) - (length - 1) :]
                code = int(_grams(last, length - 1, self.size)[0]) if length > 1 else 0
                grams = code * self.size + np.arange(self.size)
                probabilities = _interpolate(order, grams, self.size, probabilities)
        return probabilities


def _grams(text: np.ndarray, length: int, size: int) -> np.ndarray:
    """Every n-gram of `length` in a text, int64 [max(0, characters - length + 1)]."""
    count = max(0, len(text) - length + 1)
    codes = np.zeros(count, np.int64)
    for place in range(length):
        codes *= size
        codes += text[place : place + count]
    return codes


def _all_grams(texts: Sequence[np.ndarray], length: int, size: int) -> np.ndarray:
    return np.concatenate([_grams(text, length, size) for text in texts])


def _estimate(grams: np.ndarray, counts: np.ndarray, size: int) -> Order:
    """One order from its sorted grams and how often each counts."""
    contexts, starts = np.unique(grams // size, return_index=True)
    if not len(grams):  # every text is shorter than this order
        return Order(grams, np.zeros(0), contexts, np.zeros(0))
    taken = np.concatenate([[0.0], _discounts(counts)])[np.minimum(counts, 3)]
    totals = np.add.reduceat(counts, starts).astype(np.float64)
    grams_each = np.diff(np.append(starts, len(grams)))
    shares = (counts - taken) / np.repeat(totals, grams_each)
    return Order(grams, shares, contexts, np.add.reduceat(taken, starts) / totals)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """float64 [3]: D1, D2 and D3+, from how many grams were counted once, twice, three and four times."""
    ones, twos, threes, fours = (float(np.sum(counts == count)) for count in (1, 2, 3, 4))
    if min(ones, twos, threes) == 0:
        return _FALLBACK
    share = ones / (ones + 2 * twos)
    estimated = np.array([1 - 2 * share * twos / ones, 2 - 3 * share * threes / twos, 3 - 4 * share * fours / threes])
    # Odd counts give discounts out of range; 0 would leave nothing to characters that were not seen.
    return np.where((estimated > 0) & (estimated <= [1.0, 2.0, 3.0]), estimated, _FALLBACK)


def _interpolate(order: Order, grams: np.ndarray, size: int, below: np.ndarray) -> np.ndarray:
    """The probabilities of `grams` [n] by this order, from those by the order below, [n]."""
    context, seen = _find(order.contexts, grams // size)
    gram, counted = _find(order.grams, grams)
    if not seen.any():
        return below
    share = np.where(counted, order.shares[gram], 0.0)
    return np.where(seen, share + order.left[context] * below, below)


def _find(where: np.ndarray, what: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of each of `what` in the sorted `where` (0 for those that are not there), and whether it is there."""
    place = np.searchsorted(where, what)
    place = np.where(place < len(where), place, 0)
    found = where[place] == what if len(where) else np.zeros(len(what), bool)
    return np.where(found, place, 0), found


def score(model: KneserNey, texts: Iterable[np.ndarray]) -> float:
    """Nats a character, over every character of each text but the first, as a network is scored that is told one."""
    values = np.concatenate([model.log_probabilities(text)[1:] for text in texts])
    if not len(values):
        raise UserError("there is no text to score; give one of two characters or more")
    return float(-values.mean())


def load(name: str, settings: Sequence[str]) -> tuple[dict[str, np.ndarray], int]:
    """A recipe's running text as numbers, {"train" or evaluation: int32 [tokens]}, and how many numbers there are.

    Texts are laid end to end, as `Windows` does: so all but the first token of a split are scored, here as there.

    Raises:
      UserError: no such recipe, or its data are no windows of text.
    """
    data = configuration.build(overrides.resolve(load_recipe(name), settings)).data
    loaded = {"train": data.train, **data.evals, **({"test": data.test} if data.test is not None else {})}
    windows = {split: one for split, one in loaded.items() if isinstance(one, Windows)}
    if windows.keys() != loaded.keys():
        raise UserError(f"{name} does not learn from windows of text; name a recipe whose data are Windows(...)")
    tokenizer = windows["train"].vocabulary.load()
    texts = {split: read_texts(one.corpus.load(), (one.feature,))[one.feature] for split, one in windows.items()}
    return {split: np.concatenate(tokenizer.encode_all(parts)) for split, parts in texts.items()}, len(tokenizer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", default="experiments/rnn/austen_chars.py", help="the recipe")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="overrides of the recipe")
    parser.add_argument("--order", type=int, default=6, help="the highest order, all up to it are scored")
    arguments = parser.parse_args()
    try:
        texts, size = load(arguments.config, arguments.set)
        for order in range(1, arguments.order + 1):
            start = time.perf_counter()
            model = KneserNey.fit([texts["train"]], order, size)
            seconds = time.perf_counter() - start
            found = {split: score(model, [text]) for split, text in texts.items() if split != "train"}
            figures = "".join(f"  {split} {nats:.4f} nats {nats / np.log(2):.4f} bits" for split, nats in found.items())
            print(f"order {order}{figures}  ({len(model.orders[-1].grams):,} n-grams, {seconds:.1f} s)", flush=True)
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
