"""Token sampling: temperature, top-k, nucleus (top-p) sampling and repetition penalty."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdl.decoding.beam_search import Array, Hypotheses, PyTree, Step, check_arguments, forbid, log_softmax
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
    """Samples one sequence per example in one scan.

    Filters are applied in this order: forbidden tokens, repetition penalty, temperature, top-k, top-p.

    Args:
      step: Model, see `jaxdl.decoding.beam_search`.
      carry, logits: Carry, leaves [batch, ...], and logits [batch, vocabulary] after the prompt.
      keys: [batch], one random key per example, so that draws do not depend on the other examples.
      length: Number of tokens. The first `n` tokens are equal for all lengths of at least `n`.
      temperature: Divisor of the logits. 0 selects the most probable token.
      top_k: Number of most probable tokens that are kept. 0: all.
      top_p: Probability of the nucleus, in (0, 1]. 1: all tokens.
      repetition_penalty: See `penalize_repetition`. 1: none.
      seen: bool [batch, vocabulary], tokens that are penalized from the first step, see `occurring`. None: no tokens.
      end: End token. None: all sequences have `length` tokens.
      forbidden, pad: As in `jaxdl.decoding.beam_search.greedy`.

    Returns:
      Sequences with log-probabilities under the model, before any filter.

    Raises:
      UserError: An argument out of range, or another number of keys than examples.
    """
    check_arguments(end, length, forbidden)
    _check(temperature, top_k, top_p, repetition_penalty)
    _check_keys(keys, logits.shape[0])
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
    """Returns token number `index` of each example, [batch]."""
    if temperature == 0.0:
        return jnp.argmax(scores, axis=-1)
    now = jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)
    return jax.vmap(jax.random.categorical)(now, keep_top_p(keep_top_k(scores / temperature, top_k), top_p))


def keep_top_k(logits: Array, k: int) -> Array:
    """Returns logits [batch, vocabulary] with -inf below the k-th largest; ties are kept, k = 0 keeps all."""
    if k == 0 or k >= logits.shape[-1]:
        return logits
    return jnp.where(logits >= jax.lax.top_k(logits, k)[0][:, -1:], logits, -jnp.inf)


def keep_top_p(logits: Array, p: float) -> Array:
    """Returns logits [batch, vocabulary] with -inf outside the nucleus (Holtzman et al. 2019, arXiv:1904.09751).

    The nucleus is the smallest set of most probable tokens with a total probability of at least `p`, and all tokens as
    probable as its least probable one. It is never empty, and p = 1 keeps all tokens.
    """
    if p >= 1.0:
        return logits
    order = jnp.sort(logits, axis=-1, descending=True)
    probabilities = jax.nn.softmax(order, axis=-1)
    above = jnp.cumsum(probabilities, axis=-1) - probabilities  # total probability of all more probable tokens
    # Rounding may leave a small positive sum above the first token, which is always kept.
    inside = (above < p).at[:, 0].set(True)
    least = jnp.min(jnp.where(inside, order, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= least, logits, -jnp.inf)


def penalize_repetition(logits: Array, seen: Array, penalty: float) -> Array:
    """Applies the repetition penalty of CTRL (Keskar et al. 2019, arXiv:1909.05858).

    Positive logits are divided by `penalty` and negative ones multiplied, so a penalty above 1 always makes a token
    less probable.

    Args:
      logits: [batch, vocabulary].
      seen: bool [batch, vocabulary], tokens that have occurred.
      penalty: Penalty. 1: none.
    """
    if penalty == 1.0:
        return logits
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def occurring(tokens: Array, length: Array, vocabulary: int) -> Array:
    """Returns bool [batch, vocabulary], the tokens that occur in prompts.

    Args:
      tokens: int32 [batch, time].
      length: [batch], numbers of valid tokens.
      vocabulary: Number of tokens in the vocabulary.
    """
    valid = jnp.arange(tokens.shape[1]) < length[:, None]
    rows = jnp.arange(tokens.shape[0])[:, None]
    return jnp.zeros((tokens.shape[0], vocabulary), bool).at[rows, tokens].max(valid)


def _check_keys(keys: Array, batch: int) -> None:
    if jnp.shape(keys)[:1] != (batch,):
        raise UserError(f"keys has shape {jnp.shape(keys)} for {batch} examples; pass jax.random.split(key, batch)")


def _check(temperature: float, top_k: int, top_p: float, repetition_penalty: float) -> None:
    if not 0.0 <= temperature < float("inf"):
        raise UserError(f"temperature={temperature} must be finite and at least 0 (0: the most probable token)")
    if top_k < 0:
        raise UserError(f"top_k={top_k} must be at least 1, or 0 for all tokens")
    if not 0.0 < top_p <= 1.0:
        raise UserError(f"top_p={top_p} must be in (0, 1] (1: all tokens)")
    if not 0.0 < repetition_penalty < float("inf"):
        raise UserError(f"repetition_penalty={repetition_penalty} must be finite and positive (1: none)")
