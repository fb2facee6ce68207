"""Dense prediction: per-pixel outputs, label images, and the soft Dice loss."""

from typing import Any

import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import float_outputs
from jaxdl.training.task import Array, Batch, PyTree


def pixel_outputs(
    task: Any, channels: int, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
) -> tuple[Array, PyTree]:
    """Returns the outputs of a task's model, float32 [batch, height, width, channels], and the new variables.

    `task` is a `ModelTask` with the attribute `normalize`.

    Raises:
      UserError: Outputs of another shape.
    """
    outputs, variables = task.apply_model(params, variables, batch, key, task.normalize(batch["image"]))
    return float_outputs(outputs, *batch["image"].shape[:3], channels), variables


def check_labels(name: str, batch: Batch) -> Array:
    """Returns the label images `batch[name]` as int32 [batch, height, width].

    Raises:
      UserError: Labels of another size than the images, or labels that are not integers.
    """
    labels, size = batch[name], batch["image"].shape[:3]
    if labels.shape != size:
        raise UserError(
            f"{name} has shape {labels.shape}, but image has {batch['image'].shape}; {name} must have {size}"
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise UserError(f"{name} has dtype {labels.dtype}; it must contain integers")
    return jnp.asarray(labels).astype(jnp.int32)


def soft_dice(probabilities: Array, target: Array) -> tuple[Array, Array]:
    """Computes the soft Dice loss, 1 - 2 sum(p t) / (sum p^2 + sum t^2), of each example (arXiv:1606.04797).

    Args:
      probabilities: [batch, height, width, classes], 0 at ignored pixels.
      target: One-hot classes of the same shape, 0 at ignored pixels.

    Returns:
      The mean loss [batch] over the classes that occur in the example's target, and float32 [batch], 1 for examples
      with at least one class.
    """
    intersection = jnp.sum(probabilities * target, axis=(1, 2))
    total = jnp.sum(jnp.square(probabilities) + jnp.square(target), axis=(1, 2))
    occurs = jnp.any(target > 0, axis=(1, 2))
    losses = jnp.where(occurs, 1.0 - 2.0 * intersection / jnp.where(occurs, total, 1.0), 0.0)
    classes = jnp.sum(occurs, axis=-1)
    return jnp.sum(losses, axis=-1) / jnp.maximum(classes, 1), (classes > 0).astype(jnp.float32)
