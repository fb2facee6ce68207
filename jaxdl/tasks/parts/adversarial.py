"""Adversarial losses and gradient penalties, per example.

A discriminator (or critic) outputs logits, high for real images. The logits of a patch discriminator are maps [batch,
height, width, 1]; the losses are then those of each logit.
"""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError, nearest
from jaxdl.training.task import Array

Loss = Literal["non_saturating", "hinge", "wasserstein", "least_squares"]
Discriminate = Callable[[Array], Array]  # images [batch, ...] -> logits [batch, ...], independent examples


def check_loss(loss: str) -> None:
    """Raises a UserError for an unknown loss."""
    if loss not in get_args(Loss):
        raise UserError(f"loss is '{loss}'; {nearest(loss, get_args(Loss))}")


def real_loss(loss: Loss, logits: Array) -> Array:
    """Computes the discriminator's loss of each logit of real images.

    Args:
      loss: "non_saturating" (arXiv:1406.2661), "hinge" (arXiv:1705.02894), "wasserstein" (arXiv:1701.07875) or
        "least_squares" (arXiv:1611.04076, targets 1 and 0).
    """
    match loss:
        case "non_saturating":
            return jax.nn.softplus(-logits)
        case "hinge":
            return jax.nn.relu(1.0 - logits)
        case "wasserstein":
            return -logits
        case "least_squares":
            return jnp.square(logits - 1.0)


def fake_loss(loss: Loss, logits: Array) -> Array:
    """Computes the discriminator's loss of each logit of generated images; see `real_loss`."""
    match loss:
        case "non_saturating":
            return jax.nn.softplus(logits)
        case "hinge":
            return jax.nn.relu(1.0 + logits)
        case "wasserstein":
            return logits
        case "least_squares":
            return jnp.square(logits)


def generator_loss(loss: Loss, logits: Array) -> Array:
    """Computes the generator's loss of each logit of its images; see `real_loss`.

    "non_saturating" maximizes log D instead of minimizing log(1 - D), whose gradient vanishes for a strong
    discriminator. "hinge" maximizes the logit.
    """
    match loss:
        case "non_saturating":
            return jax.nn.softplus(-logits)
        case "hinge" | "wasserstein":
            return -logits
        case "least_squares":
            return jnp.square(logits - 1.0)


def r1(discriminate: Discriminate, image: Array) -> Array:
    """Computes R1 on real images (arXiv:1801.04406), half the squared norm of the logit's gradient, [batch].

    The term's coefficient is the paper's gamma.

    Args:
      discriminate: Discriminator without batch normalization.
      image: Inputs of the discriminator, [batch, ...].
    """
    return 0.5 * _squares(_gradient(discriminate, image))


def gradient_penalty(discriminate: Discriminate, real: Array, generated: Array, share: Array) -> Array:
    """Computes the WGAN-GP penalty (arXiv:1704.00028), (gradient norm - 1)^2 between two images, [batch].

    Args:
      discriminate: Discriminator without batch normalization.
      real, generated: Inputs of the discriminator, [batch, ...]; `generated` gets no gradient.
      share: Share of the real image in the mixture, uniform in [0, 1], [batch].
    """
    share = share.reshape(-1, *[1] * (real.ndim - 1))
    between = jax.lax.stop_gradient(share * real + (1.0 - share) * generated)
    # The square root is not differentiable at 0, the gradient norm of a discriminator that ignores its input.
    norm = jnp.sqrt(jnp.maximum(_squares(_gradient(discriminate, between)), 1e-12))
    return jnp.square(norm - 1.0)


def _gradient(discriminate: Discriminate, image: Array) -> Array:
    """Returns the gradient of each logit, or of the sum of each map of logits, with respect to its image."""
    return jax.grad(lambda image: jnp.sum(discriminate(image)))(image)


def _squares(array: Array) -> Array:
    return jnp.sum(jnp.square(array), axis=tuple(range(1, array.ndim)))


def logit_metrics(name: str, logits: Array, weight: Array, real: bool, threshold: float | None = 0.0) -> dict:
    """Returns (sum, weight) of `<name>_logit` and `<name>_accuracy`, the share of correctly classified logits.

    Args:
      name: Prefix of the metrics.
      logits: Logits [batch], or maps of logits.
      weight: Weights of the examples, [batch].
      real: Whether the images are real: their logits should be above the threshold, others below it.
      threshold: Decision threshold, see `threshold_of`. None omits the accuracy.
    """
    logits = logits.reshape(len(weight), -1)
    total = jnp.sum(weight)
    metrics = {f"{name}_logit": (jnp.sum(weight * logits.mean(1)), total)}
    if threshold is not None:
        correct = logits > threshold if real else logits < threshold
        metrics[f"{name}_accuracy"] = (jnp.sum(weight * correct.mean(1)), total)
    return metrics


def threshold_of(loss: Loss) -> float | None:
    """Returns the logit between real and generated images; None for "wasserstein", which does not define one."""
    return {"least_squares": 0.5, "wasserstein": None}.get(loss, 0.0)
