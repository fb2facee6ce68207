"""Prompts of causal language models: truncation, and the state from which a continuation is drawn."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.data.text.special_tokens import PAD
from jaxdl.tasks.parts.tokens import select_rows
from jaxdl.training.task import Array, PyTree

Step = Callable[[PyTree, Array], tuple[Array, PyTree]]  # (carry, token [batch]) -> (logits [batch, vocabulary], carry)


def length_without_padding(tokens: Array) -> Array:
    """Returns the number of tokens before the trailing padding, int32 [batch]."""
    return jnp.max(jnp.where(tokens != PAD, jnp.arange(1, tokens.shape[1] + 1), 0), axis=1).astype(jnp.int32)


def truncate_left(tokens: Array, length: Array, limit: int) -> tuple[Array, Array]:
    """Returns the last `limit` valid tokens of each row, and their number [batch]."""
    if tokens.shape[1] <= limit:
        return tokens, length
    places = jnp.maximum(length - limit, 0)[:, None] + jnp.arange(limit)
    return jnp.take_along_axis(tokens, places, axis=1), jnp.minimum(length, limit)


def read_prompts(
    model: nn.Module, collections: Mapping[str, Any], tokens: Array, length: Array, new_tokens: int
) -> tuple[Step, PyTree, Array]:
    """Returns the step function of a model, its carry after the prompts, and the logits of the next token.

    Args:
      model: Language model, see `jaxdl.tasks.language_modelling.LanguageModelling`.
      collections: Its parameters and variables.
      tokens: int32 [batch, time], prompts.
      length: int32 [batch], their numbers of valid tokens, at least 1.
      new_tokens: Number of tokens to draw. A model without a carry needs that much room.
    """

    def apply(tokens: Array, carry: PyTree = None) -> tuple[Array, PyTree]:
        logits, carry = model.apply(collections, tokens, carry=carry, train=False)
        return jnp.asarray(logits, jnp.float32), carry

    def step_with_carry(carry: PyTree, token: Array) -> tuple[Array, PyTree]:
        logits, new = apply(token[:, None], carry)
        return logits[:, 0], jax.tree.map(lambda new, old: new.astype(old.dtype), new, carry)

    def step_from_text(carry: tuple[Array, Array], token: Array) -> tuple[Array, tuple[Array, Array]]:
        text, count = carry
        rows = jnp.arange(text.shape[0])
        text = text.at[rows, count].set(token)
        logits, _ = apply(text)
        return logits[rows, count], (text, count + 1)

    batch = tokens.shape[0]
    if hasattr(model, "initial_carry"):
        carry, step = model.initial_carry(batch), step_with_carry  # type: ignore
    else:
        room = tokens.shape[1] + new_tokens
        carry, step = (jnp.zeros((batch, room), tokens.dtype), jnp.zeros(batch, jnp.int32)), step_from_text
    if hasattr(model, "read"):
        logits, carry = model.apply(collections, tokens, length, carry, method="read")  # type: ignore
    else:
        carry, logits = _read_stepwise(step, carry, tokens, length)
    return step, carry, logits


def _read_stepwise(step: Step, carry: PyTree, tokens: Array, length: Array) -> tuple[PyTree, Array]:
    """Returns carry and logits after the first `length` [batch] tokens, read one by one."""

    def advance(state: tuple, column: tuple[Array, Array]) -> tuple[tuple, None]:
        token, place = column
        logits, carry = step(state[0], token)
        return select_rows(place < length, (carry, logits), state), None

    shape = jax.eval_shape(step, carry, tokens[:, 0])[0]
    state = (carry, jnp.zeros(shape.shape, shape.dtype))
    (carry, logits), _ = jax.lax.scan(advance, state, (tokens.T, jnp.arange(tokens.shape[1])))
    return carry, logits
