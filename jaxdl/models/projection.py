"""Backbone with a projection head, for joint-embedding methods (SimCLR, VICReg)."""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import variance_scaling
from jaxdl.models.layers.norms import Normalization, batch_norm


class ProjectedBackbone(nn.Module):
    """Backbone, whose pooled features are the embedding, and an MLP that projects them (arXiv:2002.05709, section 2.1).

    Attributes:
      backbone: Network with `features(image, *, train) -> [batch, h, w, features]`, such as `ConvNet`; its classifier
        has no parameters here.
      hidden: Widths of the hidden layers of the MLP, each with normalization and ReLU.
      outputs: Size of the projection.
      norm: Normalization factory of the hidden layers.
      pool: "mean", global average pooling, or "flatten", which keeps positions.

    Raises:
      ValueError: `pool` is unknown.
    """

    backbone: Any
    hidden: Sequence[int] = (512,)
    outputs: int = 128
    norm: Normalization = batch_norm
    pool: Literal["mean", "flatten"] = "mean"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Returns the embedding float32 [batch, features] and its projection float32 [batch, outputs]."""
        if self.pool not in ("mean", "flatten"):
            raise ValueError(f"ProjectedBackbone(pool={self.pool!r}) is unknown; use 'mean' or 'flatten'")
        maps = self.backbone.features(image, train=train).astype(jnp.float32)
        embedding = maps.mean(axis=(1, 2)) if self.pool == "mean" else maps.reshape(maps.shape[0], -1)
        x = embedding
        for index, width in enumerate(self.hidden):
            x = nn.Dense(width, use_bias=False, kernel_init=variance_scaling(2.0), name=f"hidden{index + 1}")(x)
            x = nn.relu(self.norm(train=train, dtype=jnp.float32, name=f"norm{index + 1}")(x))
        return embedding, nn.Dense(self.outputs, use_bias=False, kernel_init=variance_scaling(1.0), name="projection")(
            x
        )
