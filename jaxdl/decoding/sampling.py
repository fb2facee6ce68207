"""Sampling from a language model: temperature, top-k, nucleus (top-p) and a repetition penalty."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdl.decoding.beam_search import (
    Array,
    Hypotheses,
    PyTree,
    Step,
    check_arguments,
    forbid,
    log_softmax,
)
from jaxdl.errors import UserError


def sample(
    step: Step,
    carry: PyTree,
    logits: Array,
    keys: Array,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seen: Array | None = None,
    end: int | None = None,
    forbidden: Sequence[int] = (),
    pad: int = 0,
) -> Hypotheses:
    """Draws a sequence for each example, in one scan. The filters work in the order of the arguments below.

    Args:
      step: see `jaxdl.decoding.beam_search`.
      carry, logits: [batch, ...], [batch, vocabulary] after the prompt; prompts of any lengths are the caller's.
      keys: [batch] one random key an example, so that what is drawn does not depend on the others.
      length: tokens to draw; the first `n` are the same for every `length` of at least `n`.
      forbidden: tokens that are never produced.
      repetition_penalty: see `penalize_repetition`; 1 is none.
      seen: bool [batch, vocabulary] the tokens that count as repeated from the beginning; see `occurring`.
      temperature: logits are divided by it; 0 takes the most probable token.
      top_k: draw among this many; 0 means all.
      top_p: draw among the most probable that together have this probability; 1 means all.
      end, pad: the token that ends a sequence and what follows it; without an end all have `length` tokens.

    Returns:
      Tokens int32 [batch, length], lengths, and log-probabilities under the model itself, before any filter.

    Raises:
      UserError: an argument out of range, or not one key an example.
    """
    check_arguments(end, length, forbidden)
    _check(temperature, top_k, top_p, repetition_penalty)
    if jnp.shape(keys)[:1] != logits.shape[:1]:
        raise UserError(
            f"keys has shape {jnp.shape(keys)} for {logits.shape[0]} examples: give jax.random.split(key, batch)"
        )
    rows, logits = jnp.arange(logits.shape[0]), jnp.asarray(logits, jnp.float32)

    def advance(state: tuple, index: Array) -> tuple[tuple, tuple[Array, Array, Array]]:
        carry, logits, seen, done = state
        scores = penalize_repetition(forbid(logits, forbidden), seen, repetition_penalty)
        token = _choose(scores, keys, index, temperature, top_k, top_p)
        gain = jnp.where(done, 0.0, log_softmax(logits)[rows, token])
        token = jnp.where(done, pad, token).astype(jnp.int32)
        out = (token, ~done, gain)
        logits, carry = step(carry, token)
        done = done if end is None else done | (token == end)
        return (carry, jnp.asarray(logits, jnp.float32), seen.at[rows, token].set(True), done), out

    seen = jnp.zeros(logits.shape, bool) if seen is None else seen
    state = (carry, logits, seen, jnp.zeros(logits.shape[0], bool))
    _, (tokens, counted, gains) = jax.lax.scan(advance, state, jnp.arange(length))
    return Hypotheses(tokens.T, jnp.sum(counted, axis=0, dtype=jnp.int32), jnp.sum(gains, axis=0))


def _choose(scores: Array, keys: Array, index: Array, temperature: float, top_k: int, top_p: float) -> Array:
    """[batch] the token number `index` of each example."""
    if temperature == 0.0:
        return jnp.argmax(scores, axis=-1)
    now = jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)
    return jax.vmap(jax.random.categorical)(now, keep_top_p(keep_top_k(scores / temperature, top_k), top_p))


def keep_top_k(logits: Array, k: int) -> Array:
    """[batch, vocabulary] with -infinity for all but the `k` largest, and those equal to the least of them; 0: all."""
    if k == 0 or k >= logits.shape[-1]:
        return logits
    return jnp.where(logits >= jax.lax.top_k(logits, k)[0][:, -1:], logits, -jnp.inf)


def keep_top_p(logits: Array, p: float) -> Array:
    """Nucleus sampling's filter (Holtzman et al. 2019, arXiv:1904.09751): -infinity for all but the nucleus.

    The nucleus is the fewest most probable tokens that together have a probability of at least `p`, and those as
    probable as the least of them; [batch, vocabulary]. There is always one, and 1 keeps all.
    """
    if p >= 1.0:
        return logits
    order = jnp.sort(logits, axis=-1, descending=True)
    probabilities = jax.nn.softmax(order, axis=-1)
    above = jnp.cumsum(probabilities, axis=-1) - probabilities  # of all more probable tokens together
    # The first token's own sum may come out as a tiny number other than 0: it stays in any case.
    inside = (above < p).at[:, 0].set(True)
    least = jnp.min(jnp.where(inside, order, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= least, logits, -jnp.inf)


def penalize_repetition(logits: Array, seen: Array, penalty: float) -> Array:
    """CTRL's penalty (Keskar et al. 2019, arXiv:1909.05858) on tokens that have occurred.

    Positive logits are divided by `penalty` and negative ones multiplied, as is usual: so one above 1 always makes a
    token less probable. Both [batch, vocabulary], `seen` bool.
    """
    if penalty == 1.0:
        return logits
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def occurring(tokens: Array, length: Array, vocabulary: int) -> Array:
    """Which tokens occur in prompts: int32 [batch, time], valid up to length [batch] -> bool [batch, vocabulary]."""
    valid = jnp.arange(tokens.shape[1]) < length[:, None]
    rows = jnp.arange(tokens.shape[0])[:, None]
    return jnp.zeros((tokens.shape[0], vocabulary), bool).at[rows, tokens].max(valid)


def _check(temperature: float, top_k: int, top_p: float, repetition_penalty: float) -> None:
    if not 0.0 <= temperature < float("inf"):
        raise UserError(f"temperature={temperature}: must be a number of at least 0; 0 takes the most probable token")
    if top_k < 0:
        raise UserError(f"top_k={top_k}: must be at least 1, or 0 for all tokens")
    if not 0.0 < top_p <= 1.0:
        raise UserError(f"top_p={top_p}: must be above 0 and at most 1; 1 means all tokens")
    if not 0.0 < repetition_penalty < float("inf"):
        raise UserError(f"repetition_penalty={repetition_penalty}: must be a positive number; 1 is none")
