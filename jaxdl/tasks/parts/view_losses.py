"""Losses of joint embedding: NT-Xent and VICReg, of the projections of two views.

Projections are float32 [batch, features], weights float32 [batch], 0 on padding. Both losses depend on the whole batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import optax

from jaxdl.tasks.parts.arguments import check_ranges
from jaxdl.training.task import Array, Term

_EXCLUDED = -1e9  # logit of pairs that are not compared
_STD_EPSILON = 1e-4  # of the paper


class ViewLoss(Protocol):
    """Loss of the projections of two views."""

    @property
    def coupling(self) -> str:
        """Why the loss is not a sum over examples."""
        ...

    def __call__(self, first: Array, second: Array, weight: Array) -> Mapping[str, Term]: ...


@dataclass(frozen=True)
class NTXent:
    """Normalized temperature-scaled cross-entropy of SimCLR (arXiv:2002.05709), an InfoNCE loss.

    Each view is to be closer, by cosine similarity, to the other view of its example than to the views of all others.

    Attributes:
      temperature: Temperature of the softmax over similarities.
    """

    temperature: float = 0.2
    coupling = "contrastive: other examples of the batch are the negatives"

    def __post_init__(self):
        check_ranges(self, temperature="(0, inf)")

    def __call__(self, first: Array, second: Array, weight: Array) -> dict[str, Term]:
        """Returns the term `nt_xent`, over the views of all examples."""
        views, weight = jnp.concatenate([first, second]), jnp.concatenate([weight, weight])
        unit = unit_vectors(views)
        excluded = jnp.eye(len(unit), dtype=bool) | (weight == 0)[None]
        logits = jnp.where(excluded, _EXCLUDED, unit @ unit.T / self.temperature)
        positive = jnp.roll(jnp.arange(len(unit)), len(first))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, positive)
        return {"nt_xent": Term(jnp.sum(weight * losses), jnp.sum(weight))}


@dataclass(frozen=True)
class VICReg:
    """Variance-invariance-covariance regularization (arXiv:2105.04906), without negatives.

    Attributes:
      invariance: Coefficient of the MSE between the views.
      variance: Coefficient of the hinge that keeps the std of each feature above 1.
      covariance: Coefficient of the squared covariances of different features, summed and divided by their number.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    coupling = "VICReg: variances and covariances are those of the batch"

    def __post_init__(self):
        check_ranges(self, invariance="[0, inf)", variance="[0, inf)", covariance="[0, inf)")

    def __call__(self, first: Array, second: Array, weight: Array) -> dict[str, Term]:
        """Returns the terms `invariance`, `variance` and `covariance`; the last two are sums over the views."""
        features = first.shape[1]
        covariances = [_covariance(view, weight) for view in (first, second)]
        hinges = [jax.nn.relu(1.0 - jnp.sqrt(jnp.diagonal(one) + _STD_EPSILON)).sum() / 2 for one in covariances]
        off_diagonal = [(jnp.square(one).sum() - jnp.square(jnp.diagonal(one)).sum()) for one in covariances]
        squares = jnp.square(first - second).mean(axis=1)
        count = jnp.float32(features)
        return {
            "invariance": Term(jnp.sum(weight * squares), jnp.sum(weight), self.invariance),
            "variance": Term(hinges[0] + hinges[1], count, self.variance),
            "covariance": Term(off_diagonal[0] + off_diagonal[1], count, self.covariance),
        }


def unit_vectors(x: Array) -> Array:
    """Returns [..., features] of norm 1; zeros stay zeros."""
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)


def _covariance(x: Array, weight: Array) -> Array:
    """Returns the unbiased covariance matrix [features, features] of [batch, features]."""
    total = weight.sum()
    centered = x - (weight @ x) / total
    return (weight[:, None] * centered).T @ centered / (total - 1.0)
