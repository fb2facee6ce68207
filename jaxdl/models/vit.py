"""The vision Transformer: an image is a sequence of squares (Dosovitskiy et al. 2020, arXiv:2010.11929)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import dense, gathered, normal
from jaxdl.models.layers.posemb import grid_waves
from jaxdl.models.transformer import Stack, exact_gelu


class VisionTransformer(nn.Module):
    """Images [batch, height, width, channels] -> logits float32 [batch, num_classes].

    Attributes:
      num_classes: outputs.
      patch: side of a square in pixels.
      stack: blocks.
      pool: "cls", the vector of a token that stands before the squares, or "mean" over the squares.
      positions: "learned", drawn for the size of image that `init` sees, or "sinusoidal", of row and column, for any.
      dropout: rate on the tokens and on what is pooled.
    """

    num_classes: int
    patch: int
    stack: Stack
    pool: str = "mean"
    positions: str = "sinusoidal"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Draws from "dropout" in training.

        Raises:
          ValueError: a size that `patch` does not divide, or an unknown choice.
        """
        tokens = self._tokens(image)
        tokens = nn.Dropout(self.dropout)(tokens, deterministic=not train)
        x, _ = self.stack(tokens, train=train)
        x = x[:, 0] if self.pool == "cls" else x.mean(1)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return dense(self.num_classes, ("embed", None), kernel_init=nn.initializers.zeros, name="head")(x)

    def _tokens(self, image: jax.Array) -> jax.Array:
        """[batch, height, width, channels] -> [batch, squares, features], after the first one if there is one."""
        batch, height, width, channels = image.shape
        side, features = self.patch, self.stack.features
        if height % side or width % side:
            raise ValueError(f"VisionTransformer: {height}x{width} cannot be cut into squares of {side}: set patch")
        for name, value, known in (
            ("pool", self.pool, ("cls", "mean")),
            ("positions", self.positions, ("learned", "sinusoidal")),
        ):
            if value not in known:
                raise ValueError(f"VisionTransformer: {name}={value!r}; one of {', '.join(known)}")
        rows, columns = height // side, width // side
        squares = image.reshape(batch, rows, side, columns, side, channels).transpose(0, 1, 3, 2, 4, 5)
        x = dense(features, (None, "embed"), dtype=self.stack.dtype, name="entry")(
            squares.reshape(batch, rows * columns, -1)
        )
        if self.positions == "sinusoidal":
            x = x + jnp.asarray(grid_waves(rows, columns, features), x.dtype)
        if self.pool == "cls":
            first = self._vector("first", 1, nn.initializers.zeros)
            x = jnp.concatenate([jnp.broadcast_to(first, (batch, 1, features)).astype(x.dtype), x], axis=1)
        if self.positions == "learned":
            x = x + self._vector("place", x.shape[1], normal(0.02)).astype(x.dtype)
        return x

    def _vector(self, name: str, count: int, init: Any) -> jax.Array:
        boxed = nn.with_logical_partitioning(init, (None, "embed"))
        return gathered(self.param(name, boxed, (count, self.stack.features)))


def vit(num_classes: int = 1000, patch: int = 16, **changes: Any) -> VisionTransformer:
    """ViT as it was published, by default its base size with 87 million parameters; changes are of its `Stack`."""
    chosen = {
        "features": 768,
        "layers": 12,
        "heads": 12,
        "positions": "none",
        "activation": exact_gelu,
        "epsilon": 1e-12,
    }
    return VisionTransformer(num_classes, patch, Stack(**{**chosen, **changes}), pool="cls", positions="learned")
