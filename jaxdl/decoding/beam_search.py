"""Greedy and beam search with fixed shapes, compiled and run on the device.

A model is a function `step(carry, token) -> (logits, carry)`. It reads one token per example, int32 [batch], and
returns the logits [batch, vocabulary] of the next one. `carry` is a pytree with leaves [batch, ...]: the state of a
recurrent network, or the KV cache of a Transformer. Scalar leaves (a shared position) are not reordered. Constants such
as an encoder's memory belong in the closure of `step`, not in the carry.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError

Array = jax.Array
PyTree = Any
Step = Callable[[PyTree, Array], tuple[Array, PyTree]]
Mask = Callable[[PyTree], Array]


class Hypotheses(NamedTuple):
    """Decoded sequences with their log-probabilities; whole beams are [batch, width, ...], the best first.

    Attributes:
      tokens: int32 [batch, max_length], without the start token, padded after the end token.
      length: int32 [batch], number of tokens with the end token. A sequence without one is truncated at `max_length`.
      score: float32 [batch], log-probability of the sequence with its end token, in nats. It is the probability under
        the model: forbidden tokens and the length penalty do not change it.
    """

    tokens: Array
    length: Array
    score: Array


def greedy(
    step: Step,
    carry: PyTree,
    start: int | Array,
    end: int,
    max_length: int,
    *,
    forbidden: Sequence[int] = (),
    mask: Mask | None = None,
    pad: int = 0,
) -> Hypotheses:
    """Decodes greedily: the most probable token at each step, until all examples have ended.

    Args:
      step: Model, see the module's docstring.
      carry: Its initial carry, leaves [batch, ...].
      start: Start token, a number or int32 [batch].
      end: End token.
      max_length: Maximum length of a sequence, with the end token.
      forbidden: Tokens that are never generated.
      mask: Function of the carry after a step, the tokens that may follow, bool [batch, vocabulary]. None: all.
      pad: Token after the end token.

    Raises:
      UserError: An argument out of range.
    """
    check_arguments(end, max_length, forbidden)
    token = _first_tokens(carry, start)
    batch = token.shape[0]
    hypotheses = _nothing((batch,), max_length, pad)

    def unfinished(state: tuple) -> Array:
        index, _, _, done, _ = state
        return (index < max_length) & ~jnp.all(done)

    def advance(state: tuple) -> tuple:
        index, carry, token, done, hypotheses = state
        logits, carry = step(carry, token)
        allowed = _masked(forbid(log_softmax(logits), forbidden), mask, carry)
        token = jnp.where(done, pad, jnp.argmax(allowed, axis=-1).astype(jnp.int32))
        hypotheses = Hypotheses(
            hypotheses.tokens.at[:, index].set(token),
            hypotheses.length + ~done,
            hypotheses.score + jnp.where(done, 0.0, jnp.max(allowed, axis=-1)),
        )
        return index + 1, carry, token, done | (token == end), hypotheses

    return jax.lax.while_loop(unfinished, advance, (0, carry, token, jnp.zeros(batch, bool), hypotheses))[-1]


def beam(
    step: Step,
    carry: PyTree,
    start: int | Array,
    end: int,
    max_length: int,
    width: int,
    length_penalty: float = 0.6,
    *,
    forbidden: Sequence[int] = (),
    mask: Mask | None = None,
    pad: int = 0,
    every: bool = False,
) -> Hypotheses:
    """Decodes by beam search with the length penalty of GNMT (Wu et al. 2016, arXiv:1609.08144, equation 14).

    Sequences are ranked by log-probability / ((5 + length) / 6)^length_penalty. Of the `width` best continuations of a
    step, those with an end token are complete; the best of the others stay in the beam. An example is done when it has
    `width` complete sequences. Sequences truncated at `max_length` rank after all complete ones. Width 1 is greedy
    search; a width of at least the number of sequences is exhaustive search.

    Args:
      step: Model over [batch * width] examples, where the beams of an example are consecutive. `spread` repeats the
        constants in its closure.
      carry: Initial carry, leaves [batch, ...]; repeated here.
      start, end, max_length, forbidden, mask, pad: As in `greedy`.
      width: Beam width.
      length_penalty: Exponent of the length penalty. 0 ranks by probability, which favours short sequences.
      every: Whether to return the whole beam, [batch, width, ...]. Missing sequences have length 0 and score -inf.

    Raises:
      UserError: An argument out of range.
    """
    check_arguments(end, max_length, forbidden)
    _check_beam(width, length_penalty)
    token = _first_tokens(carry, start)
    shape = (token.shape[0], width)
    nothing = _nothing(shape, max_length, pad)._replace(score=jnp.full(shape, -jnp.inf))
    # The search starts with one beam: equal beams would duplicate each sequence.
    alive = nothing._replace(score=nothing.score.at[:, 0].set(0.0))

    def unfinished(state: tuple) -> Array:
        return (state[0] < max_length) & jnp.any(_exists(state[3]))

    def advance(state: tuple) -> tuple:
        index, carry, token, alive, complete = state
        logits, carry = step(carry, token.reshape(-1))
        gains = _masked(forbid(log_softmax(logits), forbidden), mask, carry).reshape(*shape, -1)
        parent, longer = _continuations(alive, gains, index)
        ends = longer.tokens[:, :, index] == end
        complete = _best(complete, _first(_keep(longer, ends), width), length_penalty)
        rest = _keep(longer, ~ends & ~jnp.all(_exists(complete), axis=-1, keepdims=True))
        kept = jax.lax.top_k(rest.score, width)[1]
        alive = _pick(rest, kept)
        carry = _reorder(carry, jnp.take_along_axis(parent, kept, axis=1))
        return index + 1, carry, alive.tokens[:, :, index], alive, complete

    state = (0, spread(carry, width), jnp.repeat(token[:, None], width, axis=1), alive, nothing)
    *_, alive, complete = jax.lax.while_loop(unfinished, advance, state)
    hypotheses = _ranked(complete, alive, length_penalty, pad)
    return _first(hypotheses, width) if every else jax.tree.map(lambda leaf: leaf[:, 0], hypotheses)


def spread(tree: PyTree, width: int) -> PyTree:
    """Repeats each example `width` times: [batch, ...] -> [batch * width, ...]; scalars are unchanged."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, width, axis=0) if jnp.ndim(leaf) else leaf, tree)


def log_softmax(logits: Array) -> Array:
    """Returns log-probabilities in float32, also for logits of lower precision."""
    return jax.nn.log_softmax(jnp.asarray(logits, jnp.float32), axis=-1)


def forbid(scores: Array, forbidden: Sequence[int]) -> Array:
    """Returns `scores` [batch, vocabulary] with -inf at forbidden tokens."""
    return scores.at[:, jnp.array(list(forbidden), jnp.int32)].set(-jnp.inf) if len(forbidden) else scores


def _masked(scores: Array, mask: Mask | None, carry: PyTree) -> Array:
    """Returns `scores` [batch, vocabulary] with -inf outside of the mask."""
    return scores if mask is None else jnp.where(mask(carry), scores, -jnp.inf)


def check_arguments(end: int | None, max_length: int, forbidden: Sequence[int]) -> None:
    """Checks the arguments of a decoder.

    Raises:
      UserError: A maximum length below 1, or a forbidden end token.
    """
    if max_length < 1:
        raise UserError(f"max_length={max_length} must be at least 1")
    if end is not None and end in forbidden:
        raise UserError(f"forbidden={tuple(forbidden)} contains the end token {end}; remove it")


def _check_beam(width: int, length_penalty: float) -> None:
    if width < 1:
        raise UserError(f"width={width} must be at least 1 (greedy search)")
    if not 0.0 <= length_penalty < float("inf"):
        raise UserError(f"length_penalty={length_penalty} must be finite and at least 0")


def _nothing(shape: tuple[int, ...], max_length: int, pad: int) -> Hypotheses:
    """Returns empty sequences of probability 1."""
    return Hypotheses(jnp.full((*shape, max_length), pad, jnp.int32), jnp.zeros(shape, jnp.int32), jnp.zeros(shape))


def _first_tokens(carry: PyTree, start: int | Array) -> Array:
    """Returns the start token of each example, int32 [batch]; a number is repeated to the carry's batch size."""
    if jnp.ndim(start):
        return jnp.asarray(start, jnp.int32)
    batch = [leaf.shape[0] for leaf in jax.tree.leaves(carry) if jnp.ndim(leaf)]
    if not batch:
        raise UserError("the carry is empty, so the batch size is unknown; pass start as int32 [batch]")
    return jnp.full(batch[0], start, jnp.int32)


def _continuations(alive: Hypotheses, gains: Array, index: Array) -> tuple[Array, Hypotheses]:
    """Returns the parent beam int32 [batch, 2 * width] and the 2 * width best sequences with one more token.

    Each beam has one continuation with an end token, so at least `width` of 2 * width do not end.
    """
    batch, width, vocabulary = gains.shape
    total = (alive.score[:, :, None] + gains).reshape(batch, -1)
    score, flat = jax.lax.top_k(total, min(2 * width, width * vocabulary))
    parent, token = flat // vocabulary, (flat % vocabulary).astype(jnp.int32)
    tokens = jnp.take_along_axis(alive.tokens, parent[:, :, None], axis=1).at[:, :, index].set(token)
    return parent, Hypotheses(tokens, jnp.full_like(parent, index + 1, dtype=jnp.int32), score)


def _exists(hypotheses: Hypotheses) -> Array:
    """Returns bool [batch, n], False for missing sequences; a NaN score counts as existing, to be visible."""
    return hypotheses.score != -jnp.inf


def _keep(hypotheses: Hypotheses, where: Array) -> Hypotheses:
    """Removes sequences where `where` bool [batch, n] is False."""
    return hypotheses._replace(score=jnp.where(where, hypotheses.score, -jnp.inf))


def _first(hypotheses: Hypotheses, count: int) -> Hypotheses:
    return jax.tree.map(lambda leaf: leaf[:, :count], hypotheses)


def _pick(hypotheses: Hypotheses, places: Array) -> Hypotheses:
    """Returns the sequences at `places` int [batch, k] of [batch, n]."""
    tokens = jnp.take_along_axis(hypotheses.tokens, places[:, :, None], axis=1)
    return Hypotheses(
        tokens, *(jnp.take_along_axis(leaf, places, axis=1) for leaf in (hypotheses.length, hypotheses.score))
    )


def _join(one: Hypotheses, other: Hypotheses) -> Hypotheses:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), one, other)


def _rank(hypotheses: Hypotheses, length_penalty: float) -> Array:
    """Returns log-probability divided by the length penalty, [batch, n]."""
    return hypotheses.score / ((5.0 + hypotheses.length) / 6.0) ** length_penalty


def _best(one: Hypotheses, other: Hypotheses, length_penalty: float) -> Hypotheses:
    """Returns the best sequences of both, as many as `one` contains."""
    both = _join(one, other)
    return _pick(both, jax.lax.top_k(_rank(both, length_penalty), one.score.shape[1])[1])


def _ranked(complete: Hypotheses, alive: Hypotheses, length_penalty: float, pad: int) -> Hypotheses:
    """Sorts all sequences: complete ones by rank, then truncated ones, then missing ones."""
    both = _join(complete, alive)
    truncated = jnp.arange(both.score.shape[1]) >= complete.score.shape[1]
    kind = jnp.where(_exists(both), jnp.broadcast_to(truncated, both.score.shape).astype(jnp.int32), 2)
    hypotheses = _pick(both, jnp.lexsort((-_rank(both, length_penalty), kind), axis=-1))
    empty = ~_exists(hypotheses)
    return Hypotheses(
        jnp.where(empty[:, :, None], pad, hypotheses.tokens), jnp.where(empty, 0, hypotheses.length), hypotheses.score
    )


def _reorder(carry: PyTree, parent: Array) -> PyTree:
    """Returns the carry of beam `parent[example, beam]` of the same example, leaves [batch * width, ...]."""
    batch, width = parent.shape
    rows = (jnp.arange(batch)[:, None] * width + parent).reshape(-1)
    return jax.tree.map(lambda leaf: leaf[rows] if jnp.ndim(leaf) else leaf, carry)
