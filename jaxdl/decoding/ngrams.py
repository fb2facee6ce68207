"""N-gram language models with interpolated, modified Kneser-Ney smoothing.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (TR-10-98, 1998). Each order
subtracts a discount D1, D2 or D3+ from counts of one, two, and three or more, and assigns the mass to the order below.
Lower orders count the distinct contexts of a token, not its occurrences. The lowest order is interpolated with the
uniform distribution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.errors import UserError

_FALLBACK = np.array([0.5, 1.0, 1.5])  # discounts where counts are too few to estimate them


@dataclass(frozen=True)
class Order:
    """N-grams of one order, each coded as a number with its tokens as digits in base `size`, the first one highest.

    Attributes:
      grams: int64 [grams], sorted.
      shares: float64 [grams], (count - discount) / count of the context.
      contexts: int64 [contexts], sorted: n-grams without their last token.
      left: float64 [contexts], back-off weight: the share of a context that goes to the order below.
    """

    grams: np.ndarray
    shares: np.ndarray
    contexts: np.ndarray
    left: np.ndarray


@dataclass(frozen=True)
class KneserNey:
    """N-gram model with interpolated, modified Kneser-Ney smoothing.

    Attributes:
      size: Size of the vocabulary. Tokens are numbers from 0 to size - 1.
      orders: Orders, order 1 first.
    """

    size: int
    orders: tuple[Order, ...]

    @classmethod
    def fit(cls, texts: Sequence[np.ndarray], order: int, size: int) -> "KneserNey":
        """Fits the model to texts.

        Args:
          texts: Texts, int [tokens] each. N-grams do not cross from one to the next.
          order: Length of the n-grams: the predicted token and order - 1 before it.
          size: Size of the vocabulary.

        Raises:
          UserError: An order below 1, or n-grams that do not fit in 64 bits; no text.
        """
        if order < 1 or float(size) ** order >= 2.0**63:
            raise UserError(f"order={order} must be at least 1, and {size}**order below 2**63")
        if not any(len(text) for text in texts):
            raise UserError("all texts are empty; pass at least one with tokens")
        grams, counts = np.unique(_all_grams(texts, order, size), return_counts=True)
        orders = [_estimate(grams, counts, size)]
        for length in range(order - 1, 0, -1):
            longer = grams if length == order - 1 else np.unique(_all_grams(texts, length + 1, size))
            orders.append(_estimate(*np.unique(longer % size**length, return_counts=True), size))
        return cls(size, tuple(reversed(orders)))

    def log_probabilities(self, text: np.ndarray) -> np.ndarray:
        """Returns the log-probability of each token of `text` [tokens] after those before it, float64 [tokens]."""
        text = np.asarray(text, np.int64)
        probabilities = np.full(len(text), 1.0 / self.size)
        for length, order in enumerate(self.orders, start=1):
            grams = _grams(text, length, self.size)
            # The first tokens have too short a context for this order: they keep the probabilities of lower orders.
            rest = probabilities[length - 1 :]
            probabilities[length - 1 :] = _interpolate(order, grams, self.size, rest)
        return np.log(probabilities)

    def distribution(self, context: np.ndarray) -> np.ndarray:
        """Returns the probability of each token after `context` int [tokens], float64 [size]."""
        probabilities = np.full(self.size, 1.0 / self.size)
        for length, order in enumerate(self.orders, start=1):
            if length - 1 <= len(context):
                last = np.asarray(context, np.int64)[len(context) - (length - 1) :]
                code = int(_grams(last, length - 1, self.size)[0]) if length > 1 else 0
                grams = code * self.size + np.arange(self.size)
                probabilities = _interpolate(order, grams, self.size, probabilities)
        return probabilities


def _grams(text: np.ndarray, length: int, size: int) -> np.ndarray:
    """Returns all n-grams of `length` in a text, int64 [max(0, tokens - length + 1)]."""
    count = max(0, len(text) - length + 1)
    codes = np.zeros(count, np.int64)
    for place in range(length):
        codes *= size
        codes += text[place : place + count]
    return codes


def _all_grams(texts: Sequence[np.ndarray], length: int, size: int) -> np.ndarray:
    return np.concatenate([_grams(text, length, size) for text in texts])


def _estimate(grams: np.ndarray, counts: np.ndarray, size: int) -> Order:
    """Returns one order from its sorted n-grams and their counts."""
    contexts, starts = np.unique(grams // size, return_index=True)
    if not len(grams):  # every text is shorter than this order
        return Order(grams, np.zeros(0), contexts, np.zeros(0))
    taken = np.concatenate([[0.0], _discounts(counts)])[np.minimum(counts, 3)]
    totals = np.add.reduceat(counts, starts).astype(np.float64)
    grams_each = np.diff(np.append(starts, len(grams)))
    shares = (counts - taken) / np.repeat(totals, grams_each)
    return Order(grams, shares, contexts, np.add.reduceat(taken, starts) / totals)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Returns the discounts D1, D2 and D3+, float64 [3], from the numbers of n-grams with counts 1 to 4."""
    ones, twos, threes, fours = (float(np.sum(counts == count)) for count in (1, 2, 3, 4))
    if min(ones, twos, threes) == 0:
        return _FALLBACK
    share = ones / (ones + 2 * twos)
    estimated = np.array([1 - 2 * share * twos / ones, 2 - 3 * share * threes / twos, 3 - 4 * share * fours / threes])
    # Few counts give discounts out of range; a discount of 0 would leave no mass to unseen tokens.
    return np.where((estimated > 0) & (estimated <= [1.0, 2.0, 3.0]), estimated, _FALLBACK)


def _interpolate(order: Order, grams: np.ndarray, size: int, below: np.ndarray) -> np.ndarray:
    """Returns the probabilities of `grams` [n] under this order, from those under the order below, [n]."""
    context, seen = _find(order.contexts, grams // size)
    gram, counted = _find(order.grams, grams)
    if not seen.any():
        return below
    share = np.where(counted, order.shares[gram], 0.0)
    return np.where(seen, share + order.left[context] * below, below)


def _find(table: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the position of each value in a sorted table, 0 for missing ones, and whether it exists."""
    position = np.searchsorted(table, values)
    position = np.where(position < len(table), position, 0)
    exists = table[position] == values if len(table) else np.zeros(len(values), bool)
    return np.where(exists, position, 0), exists


@dataclass(frozen=True)
class NGrams:
    """N-gram language model for beam search, fitted to a corpus.

    Attributes:
      corpus: Training split of a text corpus, see `jaxdl.data.dataset.Dataset`. Evaluation splits are refused.
      order: Length of the n-grams in tokens.
      feature: Text feature of the corpus.
    """

    corpus: Any
    order: int
    feature: str = "text"

    def following(self, tokenizer: Any) -> Callable[[tuple[int, ...]], np.ndarray]:
        """Returns a function `(ids so far) -> float64 [ids]`, the log-probabilities of the next token in nats.

        Args:
          tokenizer: A `jaxdl.data.text.tokenizers.Tokenizer`.

        Raises:
          UserError: A corpus that cannot be read or is not a training split, or as `KneserNey.fit`.
        """
        from jaxdl.data.source import read_texts
        from jaxdl.data.text.special_tokens import END, START
        from jaxdl.data.text.tokenizers import check_training

        check_training(self.corpus, "NGrams")
        texts = read_texts(self.corpus.load(), (self.feature,))[self.feature]
        before = np.full(self.order - 1, START)
        framed = [np.concatenate([before, ids, [END]]) for ids in tokenizer.encode_all(texts)]
        model = KneserNey.fit(framed, self.order, len(tokenizer))
        cache: dict[tuple[int, ...], np.ndarray] = {}

        def following(prefix: tuple[int, ...]) -> np.ndarray:
            context = (*before.tolist(), *prefix)[len(prefix) :]
            if context not in cache:
                cache[context] = np.log(model.distribution(np.array(context, np.int64)))
            return cache[context]

        return following
