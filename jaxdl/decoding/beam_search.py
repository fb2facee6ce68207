"""Greedy and beam search for the most probable sequence, with fixed shapes: compiled once, run on the device.

A model is a function `step(carry, token) -> (logits, carry)`: it reads one token of each example, int32 [batch], and
gives logits [batch, vocabulary] of the next one. `carry` is a pytree whose leaves are [batch, ...], the state of a
recurrent network or the key-value cache of a Transformer; a leaf without axes (a position all share) is left alone.
What never changes while decoding, as an encoder's memory, belongs into the function, not into the carry.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError

Array = jax.Array
PyTree = Any
Step = Callable[[PyTree, Array], tuple[Array, PyTree]]


class Hypotheses(NamedTuple):
    """Sequences, and what the model says of them. All hypotheses of a beam: [batch, width, ...], the best first.

    Attributes:
      tokens: int32 [batch, max_length], without the start token; the padding token after the end token.
      length: int32 [batch] of the tokens, the end token counted; a sequence without one was cut at `max_length`.
      score: float32 [batch], the natural logarithm of the sequence's probability, the end token's factor included.
        It is the model's own probability: neither forbidding tokens nor a length penalty changes it.
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
    pad: int = 0,
) -> Hypotheses:
    """The most probable token at each step, until all examples have ended.

    Args:
      start: the first token that the model reads; a number, or int32 [batch].
      end: the token that ends a sequence.
      max_length: tokens a sequence may have, the end token included.
      forbidden: tokens that are never produced.
      pad: what follows the end token.

    Raises:
      UserError: an argument out of range.
    """
    check_arguments(end, max_length, forbidden)
    token = _first_tokens(carry, start)
    batch = token.shape[0]
    found = _nothing((batch,), max_length, pad)

    def unfinished(state: tuple) -> Array:
        index, _, _, done, _ = state
        return (index < max_length) & ~jnp.all(done)

    def advance(state: tuple) -> tuple:
        index, carry, token, done, found = state
        logits, carry = step(carry, token)
        allowed = forbid(log_softmax(logits), forbidden)
        token = jnp.where(done, pad, jnp.argmax(allowed, axis=-1).astype(jnp.int32))
        found = Hypotheses(
            found.tokens.at[:, index].set(token),
            found.length + ~done,
            found.score + jnp.where(done, 0.0, jnp.max(allowed, axis=-1)),
        )
        return index + 1, carry, token, done | (token == end), found

    return jax.lax.while_loop(unfinished, advance, (0, carry, token, jnp.zeros(batch, bool), found))[-1]


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
    pad: int = 0,
    every: bool = False,
) -> Hypotheses:
    """Beam search: the sequence of the highest log-probability / ((5 + length) / 6)^length_penalty that it finds.

    The penalty is that of GNMT (Wu et al. 2016, arXiv:1609.08144, equation 14). Of the `width` best continuations of a
    step those that end are complete; the best that do not end are carried on. An example is done when `width` of its
    sequences are complete. Those cut at `max_length` rank after all complete ones. Width 1 is greedy search; a width of
    at least the number of sequences is exhaustive search.

    Args:
      step: as above, over [batch * width] examples: the beams of an example follow each other. Use `spread` for what
        the function itself holds of each example.
      carry: [batch, ...]; it is spread here.
      start, end, max_length, forbidden, pad: as in `greedy`.
      width: sequences that are followed at once.
      length_penalty: 0 ranks by probability, which favours short sequences; the larger, the longer they get.
      every: return [batch, width, ...]; where there are fewer sequences, the last have length 0 and score -infinity.

    Raises:
      UserError: an argument out of range.
    """
    check_arguments(end, max_length, forbidden)
    _check_beam(width, length_penalty)
    token = _first_tokens(carry, start)
    shape = (token.shape[0], width)
    nothing = _nothing(shape, max_length, pad)._replace(score=jnp.full(shape, -jnp.inf))
    # One beam to begin with: equal ones would only find the same sequences again.
    alive = nothing._replace(score=nothing.score.at[:, 0].set(0.0))

    def unfinished(state: tuple) -> Array:
        return (state[0] < max_length) & jnp.any(_exists(state[3]))

    def advance(state: tuple) -> tuple:
        index, carry, token, alive, complete = state
        logits, carry = step(carry, token.reshape(-1))
        gains = forbid(log_softmax(logits), forbidden).reshape(*shape, -1)
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
    found = _ranked(complete, alive, length_penalty, pad)
    return _first(found, width) if every else jax.tree.map(lambda leaf: leaf[:, 0], found)


def spread(tree: PyTree, width: int) -> PyTree:
    """Each example `width` times, for what a beam's step function holds: [batch, ...] -> [batch * width, ...]."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, width, axis=0) if jnp.ndim(leaf) else leaf, tree)


def log_softmax(logits: Array) -> Array:
    """Log-probabilities in float32, whatever the model computes in."""
    return jax.nn.log_softmax(jnp.asarray(logits, jnp.float32), axis=-1)


def forbid(scores: Array, forbidden: Sequence[int]) -> Array:
    """`scores` [batch, vocabulary] with -infinity for the tokens that must not be produced."""
    return scores.at[:, jnp.array(list(forbidden), jnp.int32)].set(-jnp.inf) if len(forbidden) else scores


def check_arguments(end: int | None, max_length: int, forbidden: Sequence[int]) -> None:
    """
    Raises:
      UserError: there is no room for a token, or sequences could never end.
    """
    if max_length < 1:
        raise UserError(f"max_length={max_length}: must be at least 1")
    if end is not None and end in forbidden:
        raise UserError(f"forbidden={tuple(forbidden)} holds the end token {end}: sequences could not end; take it out")


def _check_beam(width: int, length_penalty: float) -> None:
    if width < 1:
        raise UserError(f"width={width}: a beam must be at least 1 wide")
    if not 0.0 <= length_penalty < float("inf"):
        raise UserError(f"length_penalty={length_penalty}: must be a number of at least 0")


def _nothing(shape: tuple[int, ...], max_length: int, pad: int) -> Hypotheses:
    """Sequences without a token, whose probability is 1."""
    return Hypotheses(jnp.full((*shape, max_length), pad, jnp.int32), jnp.zeros(shape, jnp.int32), jnp.zeros(shape))


def _first_tokens(carry: PyTree, start: int | Array) -> Array:
    """[batch] the token that each example begins with; how many there are is told by the carry, if `start` is one."""
    if jnp.ndim(start):
        return jnp.asarray(start, jnp.int32)
    batch = [leaf.shape[0] for leaf in jax.tree.leaves(carry) if jnp.ndim(leaf)]
    if not batch:
        raise UserError("the carry is empty, so it does not tell how many examples there are: give start as [batch]")
    return jnp.full(batch[0], start, jnp.int32)


def _continuations(alive: Hypotheses, gains: Array, index: Array) -> tuple[Array, Hypotheses]:
    """The 2 * width best sequences that are one token longer, and of which beam each is: int32 [batch, 2 * width].

    Each beam has one continuation that ends, so among twice the width there are `width` that do not end.
    """
    batch, width, vocabulary = gains.shape
    total = (alive.score[:, :, None] + gains).reshape(batch, -1)
    score, flat = jax.lax.top_k(total, min(2 * width, width * vocabulary))
    parent, token = flat // vocabulary, (flat % vocabulary).astype(jnp.int32)
    tokens = jnp.take_along_axis(alive.tokens, parent[:, :, None], axis=1).at[:, :, index].set(token)
    return parent, Hypotheses(tokens, jnp.full_like(parent, index + 1, dtype=jnp.int32), score)


def _exists(found: Hypotheses) -> Array:
    """[batch, n] False in empty places. A NaN is no empty place: it has to be seen."""
    return found.score != -jnp.inf


def _keep(found: Hypotheses, where: Array) -> Hypotheses:
    """Empties the places that are not in `where` [batch, n]."""
    return found._replace(score=jnp.where(where, found.score, -jnp.inf))


def _first(found: Hypotheses, count: int) -> Hypotheses:
    return jax.tree.map(lambda leaf: leaf[:, :count], found)


def _pick(found: Hypotheses, places: Array) -> Hypotheses:
    """The sequences at `places` [batch, k] of [batch, n]."""
    tokens = jnp.take_along_axis(found.tokens, places[:, :, None], axis=1)
    return Hypotheses(tokens, *(jnp.take_along_axis(leaf, places, axis=1) for leaf in (found.length, found.score)))


def _join(one: Hypotheses, other: Hypotheses) -> Hypotheses:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), one, other)


def _rank(found: Hypotheses, length_penalty: float) -> Array:
    """[batch, n] log-probability over GNMT's length penalty."""
    return found.score / ((5.0 + found.length) / 6.0) ** length_penalty


def _best(one: Hypotheses, other: Hypotheses, length_penalty: float) -> Hypotheses:
    """The best of both, as many as there are in `one`."""
    both = _join(one, other)
    return _pick(both, jax.lax.top_k(_rank(both, length_penalty), one.score.shape[1])[1])


def _ranked(complete: Hypotheses, alive: Hypotheses, length_penalty: float, pad: int) -> Hypotheses:
    """All sequences, the best first: the complete ones before those that were cut, and empty places last."""
    both = _join(complete, alive)
    cut = jnp.arange(both.score.shape[1]) >= complete.score.shape[1]
    kind = jnp.where(_exists(both), jnp.broadcast_to(cut, both.score.shape).astype(jnp.int32), 2)
    found = _pick(both, jnp.lexsort((-_rank(both, length_penalty), kind), axis=-1))
    empty = ~_exists(found)
    return Hypotheses(jnp.where(empty[:, :, None], pad, found.tokens), jnp.where(empty, 0, found.length), found.score)


def _reorder(carry: PyTree, parent: Array) -> PyTree:
    """The state of beam `parent[example, beam]` of the same example, for leaves [batch * width, ...]."""
    batch, width = parent.shape
    rows = (jnp.arange(batch)[:, None] * width + parent).reshape(-1)
    return jax.tree.map(lambda leaf: leaf[rows] if jnp.ndim(leaf) else leaf, carry)
