"""CTC decoding: greedy and prefix beam search.

A CTC path has a label or the blank at every step. Its sequence follows by merging equal neighbours and removing blanks
(Graves et al., "Connectionist Temporal Classification", 2006).
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
    """Decoded label sequence.

    Attributes:
      tokens: Labels without blanks.
      log_probability: Natural log-probability, summed over the paths that the search kept.
      score: `log_probability` plus language model and bonus; the ranking criterion.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float


def greedy(path: Array, length: Array) -> tuple[Array, Array]:
    """Collapses paths to label sequences.

    Example: the path [0, 3, 3, 0, 3, 5] of length 6 becomes tokens [3, 3, 5, 0, 0, 0] and count 3.

    Args:
      path: Label or blank at every step, int32 [batch, steps], such as the argmax of the logits.
      length: Number of valid steps, int32 [batch].

    Returns:
      tokens: int32 [batch, steps], padded with the blank (0).
      count: Number of tokens, int32 [batch].
    """
    steps = path.shape[1]
    before = jnp.pad(path, ((0, 0), (1, 0)), constant_values=BLANK)[:, :-1]
    kept = (path != BLANK) & (path != before) & (jnp.arange(steps) < length[:, None])
    position = jnp.where(kept, jnp.cumsum(kept, axis=1) - 1, steps)  # removed steps are out of range and dropped
    rows = jnp.arange(path.shape[0])[:, None]
    tokens = jnp.full_like(path, BLANK).at[rows, position].set(path, mode="drop")
    return tokens, jnp.sum(kept, axis=1, dtype=jnp.int32)


def beam_search(
    log_probabilities: np.ndarray,
    width: int,
    *,
    language_model: Callable[[tuple[int, ...]], np.ndarray] | None = None,
    weight: float = 0.5,
    bonus: float = 0.0,
) -> list[Transcript]:
    """Searches prefixes of CTC paths on the host (prefix beam search).

    After Graves and Jaitly, "Towards End-to-End Speech Recognition" (2014), and Hannun et al. (arXiv:1408.2873). Exact
    if `width` is at least the number of prefixes.

    Args:
      log_probabilities: Natural log-probabilities of valid steps, [steps, labels]. Label 0 is the blank.
      width: Number of prefixes kept at every step.
      language_model: `(tokens) -> [labels]`, log-probabilities of the next token.
      weight: Weight of the language model: score = log_probability + weight * its log-probability + bonus * tokens.
      bonus: Score per token, against a language model's bias towards short texts.

    Returns:
      At most `width` transcripts, sorted by decreasing score.

    Raises:
      UserError: `width` is below 1, or the array has another shape.
    """
    logs = np.asarray(log_probabilities, np.float64)
    if width < 1:
        raise UserError(f"beam width {width} must be at least 1")
    if logs.ndim != 2 or logs.shape[1] < 2:
        raise UserError(f"log_probabilities has shape {logs.shape}; expected [steps, labels] with at least 2 labels")
    search = _Search(language_model, weight, bonus, logs.shape[1])
    beam = _Beam(np.array([0]), np.array([0.0]), np.array([-np.inf]))
    with np.errstate(divide="ignore", invalid="ignore"):
        for step in logs:
            beam = search.advance(beam, step, width)
    total = np.logaddexp(beam.blank, beam.label)
    score = total + search.extra[beam.prefix]
    order = np.argsort(-score, kind="stable")
    return [
        Transcript(search.tokens[beam.prefix[row]], float(total[row]), float(score[row]))
        for row in order
        if total[row] > -np.inf
    ]


class _Beam(NamedTuple):
    """Kept prefixes of a step.

    Attributes:
      prefix: Indices in `_Search`, [kept].
      blank, label: Log-probability of the paths that end in the blank, and in the last label, [kept].
    """

    prefix: np.ndarray
    blank: np.ndarray
    label: np.ndarray


class _Search:
    """Trie of all prefixes visited so far; index 0 is the empty prefix.

    Attributes:
      tokens: Labels of each prefix.
      parent: Parent of each prefix.
      extra: Score of each prefix from language model and bonus, [prefixes].
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
        """Advances the beam by one step with log-probabilities `step` [labels]."""
        last = np.array([self.tokens[prefix][-1] if prefix else BLANK for prefix in beam.prefix])
        total = np.logaddexp(beam.blank, beam.label)
        blank = total + step[BLANK]
        label = np.where(beam.prefix > 0, beam.label + step[last], -np.inf)
        extended = total[:, None] + step[None, :]
        # A repeated label is a new token only after a blank.
        rows = np.arange(len(last))
        extended[rows, last] = beam.blank + step[last]
        extended[:, BLANK] = -np.inf
        row_of = {int(prefix): row for row, prefix in enumerate(beam.prefix)}
        for row, prefix in enumerate(beam.prefix):
            parent_row = row_of.get(self.parent[prefix])
            if parent_row is not None:  # paths that extend the parent to a kept prefix are counted there
                label[row] = np.logaddexp(label[row], extended[parent_row, last[row]])
                extended[parent_row, last[row]] = -np.inf
        return self._best(beam.prefix, blank, label, extended, width)

    def _best(
        self, prefix: np.ndarray, blank: np.ndarray, label: np.ndarray, extended: np.ndarray, width: int
    ) -> _Beam:
        stay = np.logaddexp(blank, label) + self.extra[prefix]
        grow = extended + self._gains(prefix)
        scores = np.concatenate([stay, grow.ravel()])
        selected = np.argsort(-scores, kind="stable")[:width]
        selected = selected[scores[selected] > -np.inf]
        kept, grown = selected[selected < len(stay)], selected[selected >= len(stay)] - len(stay)
        parents, tokens = np.divmod(grown, self._labels)
        added = np.array([self._child(int(prefix[p]), int(t)) for p, t in zip(parents, tokens)], np.int64)
        return _Beam(
            np.concatenate([prefix[kept], added]),
            np.concatenate([blank[kept], np.full(len(added), -np.inf)]),
            np.concatenate([label[kept], extended[parents, tokens]]),
        )

    def _gains(self, prefix: np.ndarray) -> np.ndarray:
        """Returns the score gain of each prefix per next label, [kept, labels] or [kept, 1]."""
        gains = self.extra[prefix][:, None] + self._bonus
        if self._language_model is None:
            return gains
        return gains + self._weight * np.stack([self._following(int(index)) for index in prefix])

    def _following(self, prefix: int) -> np.ndarray:
        if prefix not in self._next:
            assert self._language_model is not None
            self._next[prefix] = np.asarray(self._language_model(self.tokens[prefix]), np.float64)
        return self._next[prefix]

    def _child(self, parent: int, token: int) -> int:
        """Returns the index of a prefix with one more label; adds it if necessary."""
        if (parent, token) not in self._children:
            extra = self.extra[parent] + self._bonus
            if self._language_model is not None:
                extra += self._weight * self._following(parent)[token]
            self._children[parent, token] = len(self.tokens)
            self.tokens.append((*self.tokens[parent], token))
            self.parent.append(parent)
            self.extra = np.append(self.extra, extra)
        return self._children[parent, token]
