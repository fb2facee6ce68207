"""Adversarial losses and gradient penalties, per example.

A discriminator (or critic) outputs logits, high for real images. The logits of a patch discriminator are maps [batch,
height, width, 1]; the losses are then those of each logit.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.training.task import Array

Loss = Literal["non_saturating", "hinge", "wasserstein", "least_squares"]
Discriminate = Callable[[Array], Array]  # images [batch, ...] -> logits [batch, ...], independent examples


class AdversarialLoss(NamedTuple):
    """Adversarial loss of each logit.

    Attributes:
      real: The discriminator's loss on real images.
      fake: The discriminator's loss on generated images.
      generator: The generator's loss on its images.
      threshold: The logit between real and generated images. None if the loss does not define one.
    """

    real: Callable[[Array], Array]
    fake: Callable[[Array], Array]
    generator: Callable[[Array], Array]
    threshold: float | None = 0.0


LOSSES: dict[Loss, AdversarialLoss] = {
    # arXiv:1406.2661. The generator maximizes log D: the gradient of log(1 - D) vanishes for a strong discriminator.
    "non_saturating": AdversarialLoss(lambda x: jax.nn.softplus(-x), jax.nn.softplus, lambda x: jax.nn.softplus(-x)),
    # arXiv:1705.02894
    "hinge": AdversarialLoss(lambda x: jax.nn.relu(1.0 - x), lambda x: jax.nn.relu(1.0 + x), jnp.negative),
    # arXiv:1701.07875
    "wasserstein": AdversarialLoss(jnp.negative, lambda x: x, jnp.negative, None),
    # arXiv:1611.04076, with targets 1 and 0
    "least_squares": AdversarialLoss(
        lambda x: jnp.square(x - 1.0), jnp.square, lambda x: jnp.square(x - 1.0), threshold=0.5
    ),
}


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
      threshold: Decision threshold, see `AdversarialLoss`. None omits the accuracy.
    """
    logits = logits.reshape(len(weight), -1)
    total = jnp.sum(weight)
    metrics = {f"{name}_logit": (jnp.sum(weight * logits.mean(1)), total)}
    if threshold is not None:
        correct = logits > threshold if real else logits < threshold
        metrics[f"{name}_accuracy"] = (jnp.sum(weight * correct.mean(1)), total)
    return metrics
