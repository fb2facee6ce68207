"""Softmax cross-entropy, metrics and predictions shared by classification tasks."""

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import per_example
from jaxdl.training.task import Array, Batch


def check_label_smoothing(label_smoothing: float) -> None:
    """Raises a UserError unless `label_smoothing` is in [0, 1)."""
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(f"label_smoothing={label_smoothing} must be in [0, 1)")


def cross_entropy(logits: Array, target: Array, label_smoothing: float = 0.0) -> Array:
    """Returns softmax cross-entropy with label smoothing (arXiv:1512.00567), float32 [batch].

    Args:
      logits: [batch, classes].
      target: [batch, classes], the probability of each class.
      label_smoothing: Share of the target that is spread evenly over all classes.
    """
    smooth = (1.0 - label_smoothing) * target + label_smoothing / logits.shape[-1]
    return -jnp.sum(smooth * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)


def classification_metrics(batch: Batch, logits: Array) -> dict[str, tuple[Array, Array]]:
    """Returns `loss`, `accuracy` and `confusion` [classes, classes] as (sum, weight) pairs.

    Args:
      batch: A batch with `label` int32 [batch] and `weight` [batch].
      logits: float32 [batch, classes].
    """
    weight, classes = batch["weight"], logits.shape[-1]
    truth = jax.nn.one_hot(batch["label"], classes)
    guess = jax.nn.one_hot(logits.argmax(-1), classes)
    return {
        "loss": per_example(batch, cross_entropy(logits, truth)),
        "accuracy": per_example(batch, jnp.sum(truth * guess, axis=-1)),
        "confusion": (jnp.einsum("bi,bj->ij", truth * weight[:, None], guess), jnp.sum(weight)),
    }


def class_predictions(logits: Array) -> dict[str, Array]:
    """Returns `label` int32 [batch], its `probability`, and `probabilities` [batch, classes]."""
    probabilities = jax.nn.softmax(logits)
    return {
        "label": probabilities.argmax(-1).astype(jnp.int32),
        "probability": probabilities.max(-1),
        "probabilities": probabilities,
    }
