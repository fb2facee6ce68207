"""From what a network says at each step to a sequence of labels: connectionist temporal classification.

A path has a label or the blank at each step; it stands for the sequence that is left when neighbours that are equal
become one and blanks are dropped (Graves et al., "Connectionist Temporal Classification", 2006).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError

Array = jax.Array

BLANK = 0


class Transcript(NamedTuple):
    """A sequence of labels.

    Attributes:
      tokens: the labels, blanks dropped.
      log_probability: of the sequence: natural logarithm of the sum over its paths (those the search kept).
      score: what the search ranks by: `log_probability`, and what the language model and the bonus add.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float


def greedy(path: Array, length: Array) -> tuple[Array, Array]:
    """What the paths stand for.

    Args:
      path: int32 [batch, steps], a label or the blank at each step: the most probable ones give the best path.
      length: int32 [batch], steps that are valid.

    Returns:
      tokens: int32 [batch, steps], the blank (0) after the last.
      count: int32 [batch], how many tokens.
    """
    steps = path.shape[1]
    before = jnp.pad(path, ((0, 0), (1, 0)), constant_values=BLANK)[:, :-1]
    kept = (path != BLANK) & (path != before) & (jnp.arange(steps) < length[:, None])
    place = jnp.where(kept, jnp.cumsum(kept, axis=1) - 1, steps)  # what is not kept falls off the end
    rows = jnp.arange(path.shape[0])[:, None]
    tokens = jnp.full_like(path, BLANK).at[rows, place].set(path, mode="drop")
    return tokens, jnp.sum(kept, axis=1, dtype=jnp.int32)


def beam_search(
    log_probabilities: np.ndarray,
    width: int,
    *,
    language_model: Callable[[tuple[int, ...]], np.ndarray] | None = None,
    weight: float = 0.5,
    bonus: float = 0.0,
) -> list[Transcript]:
    """Prefix beam search: the most probable sequences, summed over their paths, on the host.

    After Graves and Jaitly, "Towards End-to-End Speech Recognition" (2014), and Hannun et al. (arXiv:1408.2873). Exact
    when `width` is at least the number of all prefixes.

    Args:
      log_probabilities: [steps, labels], natural logarithms; valid steps only; label 0 is the blank.
      width: prefixes kept at each step.
      language_model: `(tokens so far) -> [labels]`, the logarithm of the probability of each as the next one.
      weight: of the language model: score = log_probability + weight * its log-probability + bonus * tokens.
      bonus: for each token; makes up for a language model's liking of short texts.

    Returns:
      At most `width` transcripts, the best score first.

    Raises:
      UserError: `width` below 1, or not such an array.
    """
    logs = np.asarray(log_probabilities, np.float64)
    if width < 1:
        raise UserError(f"a beam of {width} holds nothing: it must be 1 or more")
    if logs.ndim != 2 or logs.shape[1] < 2:
        raise UserError(f"log_probabilities has shape {logs.shape}: a beam search needs [steps, labels]")
    search = _Search(language_model, weight, bonus, logs.shape[1])
    beam = _Beam(np.array([0]), np.array([0.0]), np.array([-np.inf]))
    with np.errstate(divide="ignore", invalid="ignore"):
        for step in logs:
            beam = search.advance(beam, step, width)
    total = np.logaddexp(beam.blank, beam.label)
    score = total + search.extra[beam.prefix]
    order = np.argsort(-score, kind="stable")
    return [
        Transcript(search.tokens[beam.prefix[each]], float(total[each]), float(score[each]))
        for each in order
        if total[each] > -np.inf
    ]


class _Beam(NamedTuple):
    """The prefixes that are kept, [kept].

    Attributes:
      prefix: their numbers in `_Search`.
      blank, label: logarithm of the probability of their paths that end in the blank, and in their last label.
    """

    prefix: np.ndarray
    blank: np.ndarray
    label: np.ndarray


class _Search:
    """All prefixes met so far, as a tree; number 0 is the empty one.

    Attributes:
      tokens: of each prefix.
      parent: of each prefix, its number.
      extra: [prefixes] what language model and bonus add to the score of each.
    """

    def __init__(
        self,
        language_model: Callable[[tuple[int, ...]], np.ndarray] | None,
        weight: float,
        bonus: float,
        labels: int,
    ):
        self.tokens: list[tuple[int, ...]] = [()]
        self.parent = [-1]
        self.extra = np.zeros(1)
        self._children: dict[tuple[int, int], int] = {}
        self._next: dict[int, np.ndarray] = {}
        self._language_model, self._weight, self._bonus, self._labels = language_model, weight, bonus, labels

    def advance(self, beam: _Beam, step: np.ndarray, width: int) -> _Beam:
        """The beam one step on; `step` [labels] is what the network says there."""
        last = np.array([self.tokens[each][-1] if each else BLANK for each in beam.prefix])
        total = np.logaddexp(beam.blank, beam.label)
        blank = total + step[BLANK]
        label = np.where(beam.prefix > 0, beam.label + step[last], -np.inf)
        longer = total[:, None] + step[None, :]
        # A label that follows itself is a new one only after a blank.
        rows = np.arange(len(last))
        longer[rows, last] = beam.blank + step[last]
        longer[:, BLANK] = -np.inf
        where = {int(each): row for row, each in enumerate(beam.prefix)}
        for row, each in enumerate(beam.prefix):
            above = where.get(self.parent[each])
            if above is not None:  # the prefix is kept already: the paths that come to it from its parent are its own
                label[row] = np.logaddexp(label[row], longer[above, last[row]])
                longer[above, last[row]] = -np.inf
        return self._best(beam.prefix, blank, label, longer, width)

    def _best(self, prefix: np.ndarray, blank: np.ndarray, label: np.ndarray, longer: np.ndarray, width: int) -> _Beam:
        stay = np.logaddexp(blank, label) + self.extra[prefix]
        grow = longer + self._gains(prefix)
        scores = np.concatenate([stay, grow.ravel()])
        chosen = np.argsort(-scores, kind="stable")[:width]
        chosen = chosen[scores[chosen] > -np.inf]
        kept, grown = chosen[chosen < len(stay)], chosen[chosen >= len(stay)] - len(stay)
        parents, tokens = np.divmod(grown, self._labels)
        added = np.array([self._child(int(prefix[p]), int(t)) for p, t in zip(parents, tokens)], np.int64)
        return _Beam(
            np.concatenate([prefix[kept], added]),
            np.concatenate([blank[kept], np.full(len(added), -np.inf)]),
            np.concatenate([label[kept], longer[parents, tokens]]),
        )

    def _gains(self, prefix: np.ndarray) -> np.ndarray:
        """What is added to the score of each prefix when each label follows, [kept, labels] or [kept, 1]."""
        gains = self.extra[prefix][:, None] + self._bonus
        if self._language_model is None:
            return gains
        return gains + self._weight * np.stack([self._following(int(each)) for each in prefix])

    def _following(self, prefix: int) -> np.ndarray:
        if prefix not in self._next:
            assert self._language_model is not None
            self._next[prefix] = np.asarray(self._language_model(self.tokens[prefix]), np.float64)
        return self._next[prefix]

    def _child(self, parent: int, token: int) -> int:
        """The number of a prefix with one more label."""
        if (parent, token) not in self._children:
            extra = self.extra[parent] + self._bonus
            if self._language_model is not None:
                extra += self._weight * self._following(parent)[token]
            self._children[parent, token] = len(self.tokens)
            self.tokens.append((*self.tokens[parent], token))
            self.parent.append(parent)
            self.extra = np.append(self.extra, extra)
        return self._children[parent, token]
