"""Decoding of tag sequences: Viterbi algorithm and the transitions of BIO tags."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def bio_transitions(tags: Sequence[str]) -> np.ndarray:
    """Returns which tag may follow which, bool [tags, tags] (Ramshaw and Marcus 1995).

    "I-type" follows "B-type" and "I-type" of its type only; any tag follows "O".
    """

    def allowed(before: str, after: str) -> bool:
        return not after.startswith("I-") or before in (after, f"B-{after[2:]}")

    return np.array([[allowed(before, after) for after in tags] for before in tags])


def viterbi(scores: jax.typing.ArrayLike, valid: jax.typing.ArrayLike, allowed: np.ndarray, initial: int) -> Array:
    """Returns the labels with the highest sum of scores among allowed sequences (Viterbi 1967).

    Args:
      scores: Scores of the labels, such as log-probabilities, [batch, time, labels].
      valid: Steps that have a label, bool [batch, time]. Others are skipped.
      allowed: Allowed transitions, bool [before, after].
      initial: Label before the first step.

    Returns:
      Labels int32 [batch, time]; at a step that is not valid, the label of the valid step before it.
    """
    scores = jnp.asarray(scores)
    count = scores.shape[-1]
    labels, penalty = jnp.arange(count), jnp.where(jnp.asarray(allowed), 0.0, -jnp.inf)

    def forward(total: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        score, valid = step
        candidates = total[:, :, None] + penalty
        before = jnp.where(valid[:, None], candidates.argmax(1), labels)
        return jnp.where(valid[:, None], candidates.max(1) + score, total), before

    def backward(label: Array, before: Array) -> tuple[Array, Array]:
        return jnp.take_along_axis(before, label[:, None], axis=1)[:, 0], label

    steps = (jnp.moveaxis(scores, 1, 0), jnp.moveaxis(valid, 1, 0))
    start = jnp.broadcast_to(jnp.where(labels == initial, 0.0, -jnp.inf), (scores.shape[0], count))
    total, before = jax.lax.scan(forward, start, steps)
    _, best = jax.lax.scan(backward, total.argmax(-1), before, reverse=True)
    return jnp.moveaxis(best, 0, 1).astype(jnp.int32)
