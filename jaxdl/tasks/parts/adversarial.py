"""Losses and gradient penalties of adversarial training, one number an example: sum them with the examples' weights.

A discriminator (a critic) gives logits, high for real images. Logits may also be maps [batch, height, width, 1] of a
discriminator that judges patches: the losses are those of each number.
"""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError, nearest
from jaxdl.training.task import Array

Loss = Literal["non_saturating", "hinge", "wasserstein", "least_squares"]
Discriminate = Callable[[Array], Array]  # images [batch, ...] -> logits [batch, ...], each example by itself


def check_loss(loss: str) -> None:
    """Raises UserError: there is no such loss."""
    if loss not in get_args(Loss):
        raise UserError(f"loss is '{loss}'; {nearest(loss, get_args(Loss))}")


def real_loss(loss: Loss, logits: Array) -> Array:
    """What the discriminator pays for its logits of real images; the same shape.

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
    """What the discriminator pays for its logits of generated images; the same shape. Args as in `real_loss`."""
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
    """What the generator pays for the logits of its images; the same shape. Args as in `real_loss`.

    Under "non_saturating" it raises log D where the game's own loss would lower log(1 - D), whose gradient vanishes
    while the discriminator wins; under "hinge" it is the logit itself.
    """
    match loss:
        case "non_saturating":
            return jax.nn.softplus(-logits)
        case "hinge" | "wasserstein":
            return -logits
        case "least_squares":
            return jnp.square(logits - 1.0)


def r1(discriminate: Discriminate, image: Array) -> Array:
    """R1 on real images (arXiv:1801.04406): half the squared norm of the logit's gradient by the image, [batch].

    A term's coefficient is the paper's gamma. To train on it takes a second derivative, which `jax.grad` sees to.

    Args:
      discriminate: gives logits of images, each by itself (no batch normalization).
      image: [batch, ...] as the discriminator takes it.
    """
    return 0.5 * _squares(_gradient(discriminate, image))


def gradient_penalty(discriminate: Discriminate, real: Array, generated: Array, share: Array) -> Array:
    """WGAN-GP (arXiv:1704.00028): the squared distance from 1 of the gradient's norm between two images, [batch].

    Args:
      discriminate: as in `r1`.
      real, generated: [batch, ...] as the discriminator takes them; no gradient goes to `generated`.
      share: [batch] of the real image in the mixture, drawn from [0, 1] for each example.
    """
    share = share.reshape(-1, *[1] * (real.ndim - 1))
    between = jax.lax.stop_gradient(share * real + (1.0 - share) * generated)
    # The root has no slope at 0, where a discriminator that ignores its input starts.
    norm = jnp.sqrt(jnp.maximum(_squares(_gradient(discriminate, between)), 1e-12))
    return jnp.square(norm - 1.0)


def _gradient(discriminate: Discriminate, image: Array) -> Array:
    """The gradient of each logit by its own image; a map of logits counts with its sum."""
    return jax.grad(lambda image: jnp.sum(discriminate(image)))(image)


def _squares(array: Array) -> Array:
    return jnp.sum(jnp.square(array), axis=tuple(range(1, array.ndim)))


def logit_metrics(name: str, logits: Array, weight: Array, real: bool, threshold: float | None = 0.0) -> dict:
    """(sum, weight) of `<name>_logit` and of `<name>_accuracy`, the share on the right side of the threshold.

    Args:
      logits: [batch], or maps of which each number counts.
      weight: [batch].
      real: whether the images were real, whose logits belong above the threshold.
      threshold: 0.5 for least squares; None where a logit's zero says nothing (Wasserstein): no accuracy.
    """
    logits = logits.reshape(len(weight), -1)
    total = jnp.sum(weight)
    metrics = {f"{name}_logit": (jnp.sum(weight * logits.mean(1)), total)}
    if threshold is not None:
        right = logits > threshold if real else logits < threshold
        metrics[f"{name}_accuracy"] = (jnp.sum(weight * right.mean(1)), total)
    return metrics


def threshold_of(loss: Loss) -> float | None:
    """The logit at which a discriminator trained by `loss` is undecided; None for Wasserstein, which has none."""
    return {"least_squares": 0.5, "wasserstein": None}.get(loss, 0.0)
