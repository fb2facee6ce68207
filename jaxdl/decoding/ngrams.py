"""Character and token n-grams with interpolated, modified Kneser-Ney smoothing.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (TR-10-98, 1998): each order takes
a discount of D1, D2 or D3+ from counts of one, two, and three or more, and gives what it took to the order below, which
counts in how many different contexts a token was seen rather than how often. The lowest order is interpolated with the
uniform distribution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.errors import UserError

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
    """An n-gram model.

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


@dataclass(frozen=True)
class NGrams:
    """A language model for a beam search, made of the n-grams of a corpus.

    Name the training split: what a model is scored on must not shape what helps to read it.

    Attributes:
      corpus: has texts, see `jaxdl.data.dataset.Dataset`.
      order: tokens of an n-gram.
      feature: the corpus's text.
    """

    corpus: Any
    order: int
    feature: str = "text"

    def following(self, tokenizer: Any) -> Callable[[tuple[int, ...]], np.ndarray]:
        """`(ids so far) -> float64 [ids]`, the logarithm of the probability of each as the next one, in nats.

        Args:
          tokenizer: a `jaxdl.data.text.tokenizers.Tokenizer`.

        Raises:
          UserError: the corpus cannot be read or is no training split, or as `KneserNey.fit`.
        """
        from jaxdl.data.source import read_texts
        from jaxdl.data.text.special_tokens import END, START
        from jaxdl.data.text.tokenizers import check_training

        check_training(self.corpus, "NGrams")
        texts = read_texts(self.corpus.load(), (self.feature,))[self.feature]
        before = np.full(self.order - 1, START)
        framed = [np.concatenate([before, ids, [END]]) for ids in tokenizer.encode_all(texts)]
        model = KneserNey.fit(framed, self.order, len(tokenizer))
        known: dict[tuple[int, ...], np.ndarray] = {}

        def following(prefix: tuple[int, ...]) -> np.ndarray:
            context = (*before.tolist(), *prefix)[len(prefix) :]
            if context not in known:
                known[context] = np.log(model.distribution(np.array(context, np.int64)))
            return known[context]

        return following
