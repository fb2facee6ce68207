"""Batches of tokens: checks, packed sequences, and losses per token."""

import inspect
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.tasks.parts.arguments import require_features
from jaxdl.training.task import Array, Batch, Outcome, PyTree, Term


def tokens_of(batch: Batch) -> Array:
    """Returns `tokens` int32 [batch, time] of a batch.

    Raises:
      UserError: A batch without `tokens`, or another shape or type.
    """
    require_features(batch, "tokens", source="Windows(...)")
    tokens = batch["tokens"]
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise UserError(f"tokens has shape {tokens.shape} and type {tokens.dtype}; it must be int32 [batch, time]")
    return jnp.asarray(tokens)


def token_losses(logits: Array, target: Array) -> tuple[Array, Array]:
    """Returns cross-entropy and correctness (0 or 1) of each token, both float32 [batch, time]."""
    log_probability = jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], axis=-1)[..., 0]
    return -log_probability, (logits.argmax(-1) == target).astype(jnp.float32)


def token_metrics(losses: Array, correct: Array, weight: Array) -> dict[str, tuple[Array, Array]]:
    """Returns `loss` (nats per token) and `accuracy` as (sum, weight) pairs; arguments are [batch, time]."""
    total = jnp.sum(weight)
    return {"loss": (jnp.sum(weight * losses), total), "accuracy": (jnp.sum(weight * correct), total)}


def token_outcome(metrics: dict[str, tuple[Array, Array]], variables: PyTree, **carry: PyTree) -> Outcome:
    """Returns the training outcome of `token_metrics`: the term `cross_entropy` and the metric `accuracy`."""
    return Outcome({"cross_entropy": Term(*metrics["loss"])}, variables, {"accuracy": metrics["accuracy"]}, **carry)


def next_token_mask(segments: Array) -> Array:
    """Returns the loss mask of packed sequences, bool [batch, time - 1]: tokens that continue their own sequence.

    Args:
      segments: int32 [batch, time], the number of a token's sequence in the row, 0 on padding.
    """
    return (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)


def segment_arguments(model: nn.Module, batch: Batch, time: int) -> dict[str, Array]:
    """Returns the keyword argument `segments` [batch, time] of packed sequences, {} for other batches."""
    if "tokens_segments" not in batch:
        return {}
    check_segments(model)
    return {"segments": batch["tokens_segments"][:, :time]}


def accepts(model: nn.Module, argument: str) -> bool:
    """Returns whether a model's `__call__` has an argument of this name."""
    return argument in inspect.signature(type(model).__call__).parameters


def check_segments(model: nn.Module) -> None:
    """Checks that a model supports packed sequences.

    Raises:
      UserError: The model's `__call__` has no argument `segments`.
    """
    if not accepts(model, "segments"):
        raise UserError(
            f"{type(model).__name__} does not support packed sequences (its __call__ has no argument `segments`);"
            " use one sequence per row, without Packed(...) and separator"
        )


def select_rows(rows: Array, first: Any, second: Any) -> Any:
    """Returns a tree with the leaves [batch, ...] of `first` where `rows` bool [batch] is true, else of `second`."""

    def select(new: Array, old: Array) -> Array:
        return jnp.where(rows.reshape(-1, *[1] * (old.ndim - 1)), new, old).astype(old.dtype)

    return jax.tree.map(select, first, second)
