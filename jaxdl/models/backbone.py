"""Base class of image classifiers that are also backbones of other models."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Backbone(nn.Module):
    """Image classifier, the composition of `features` and `classify`.

    A subclass defines `scales`, and either `drop` and `head` or `classify`.
    """

    def scales(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of every stage [batch, h_i, w_i, channels_i], finest first."""
        raise NotImplementedError

    def features(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Returns the last stage's output [batch, h', w', features] of images [batch, h, w, c]."""
        return self.scales(image, train=train)[-1]

    def classify(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [batch, classes] of features [batch, h', w', features]."""
        pooled = features.astype(jnp.float32).mean(axis=(1, 2))
        return self.head(self.drop(pooled, deterministic=not train))  # pyright: ignore[reportAttributeAccessIssue]

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits float32 [batch, classes]; draws from "dropout" in training."""
        return self.classify(self.features(image, train=train), train=train)
