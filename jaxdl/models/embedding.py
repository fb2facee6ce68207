"""Backbone with a linear embedding of its last feature map, for metric learning."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import variance_scaling


class ImageEmbedding(nn.Module):
    """Backbone, whose last feature map is flattened and projected to an embedding, so that positions are kept.

    Attributes:
      backbone: Network with `features(image, *, train) -> [batch, h, w, features]`, such as `ConvNet`; its classifier
        has no parameters here.
      outputs: Size of the embedding.
      dropout: Dropout rate on the feature map.
    """

    backbone: Any
    outputs: int = 128
    dropout: float = 0.0

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Returns the embedding float32 [batch, outputs] twice: it is trained itself, without a projection head."""
        x = self.backbone.features(image, train=train).astype(jnp.float32)
        x = nn.Dropout(self.dropout)(x.reshape(x.shape[0], -1), deterministic=not train)
        embedding = nn.Dense(self.outputs, use_bias=False, kernel_init=variance_scaling(1.0), name="embedding")(x)
        return embedding, embedding
