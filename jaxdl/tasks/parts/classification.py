"""Softmax cross-entropy, metrics and predictions shared by classification tasks."""

import jax
import jax.numpy as jnp

from jaxdl.tasks.parts.apply import per_example
from jaxdl.training.task import Array, Batch, Outcome, PyTree, Term


def cross_entropy(logits: Array, target: Array, label_smoothing: float = 0.0) -> Array:
    """Returns softmax cross-entropy with label smoothing (arXiv:1512.00567), float32 [batch].

    `logits` and `target`, the probability of each class, are [batch, classes].
    """
    smooth = (1.0 - label_smoothing) * target + label_smoothing / logits.shape[-1]
    return -jnp.sum(smooth * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)


def classification_outcome(
    batch: Batch, logits: Array, target: Array, label_smoothing: float, variables: PyTree
) -> Outcome:
    """Returns the training outcome: the term `cross_entropy`, and `accuracy`, the target of the predicted class."""
    hit = jnp.sum(target * jax.nn.one_hot(logits.argmax(-1), logits.shape[-1]), axis=-1)
    loss = per_example(batch, cross_entropy(logits, target, label_smoothing))
    return Outcome({"cross_entropy": Term(*loss)}, variables, {"accuracy": per_example(batch, hit)})


def classification_metrics(batch: Batch, logits: Array) -> dict[str, tuple[Array, Array]]:
    """Returns (sum, weight) of `loss`, `accuracy`, `confusion` [classes, classes] from logits [batch, classes]."""
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
