"""Vision Transformer (ViT; Dosovitskiy et al. 2020, arXiv:2010.11929)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.convnet import ConvStage
from jaxdl.models.layers.convolution import unshuffle
from jaxdl.models.layers.dense import dense, gathered, normal
from jaxdl.models.layers.norms import Normalization, batch_norm
from jaxdl.models.layers.posemb import grid_waves
from jaxdl.models.transformer import Stack, exact_gelu


class VisionTransformer(nn.Module):
    """Vision Transformer classifier, with logits float32 [batch, num_classes].

    Attributes:
      num_classes: Number of classes.
      patch: Side of a patch, pixels.
      stack: Transformer blocks.
      pool: "cls", a class token, or "mean" over patches.
      positions: "learned", for the image size of `init`, or "sinusoidal" (2D), for any size.
      dropout: Dropout rate on the tokens and the pooled embedding.
      stem: Channels of 3x3 convolutions of stride 2 before the patches, `stem1`, ... (arXiv:2106.14881).
      norm: Normalization factory of the stem (see `jaxdl.models.layers.norms`).
      patch_dropout: Share of the patches of an image that training leaves out (arXiv:2208.07220).
    """

    num_classes: int
    patch: int
    stack: Stack
    pool: str = "mean"
    positions: str = "sinusoidal"
    dropout: float = 0.0
    stem: Sequence[int] = ()
    norm: Normalization = batch_norm
    patch_dropout: float = 0.0

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Returns the logits; draws from "dropout" in training.

        Raises:
          ValueError: An image size that `patch` does not divide, or an unknown option.
        """
        tokens = self._tokens(image, train)
        tokens = nn.Dropout(self.dropout)(tokens, deterministic=not train)
        x, _ = self.stack(tokens, train=train)
        x = x[:, 0] if self.pool == "cls" else x.mean(1)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return dense(self.num_classes, ("embed", None), kernel_init=nn.initializers.zeros, name="head")(x)

    def _tokens(self, image: jax.Array, train: bool) -> jax.Array:
        """Returns patch embeddings [batch, patches, features], after an optional class token."""
        batch, height, width, _ = image.shape
        side, features = self.patch, self.stack.features
        if height % side or width % side:
            raise ValueError(f"VisionTransformer: patch={side} does not divide {height}x{width} pixels; set patch")
        if side % 2 ** len(self.stem):
            raise ValueError(f"VisionTransformer: patch={side} must be a multiple of {2 ** len(self.stem)}, see stem")
        if self.patch_dropout and self.positions == "learned":
            raise ValueError("VisionTransformer: patch_dropout needs positions='sinusoidal'")
        for name, value, known in (
            ("pool", self.pool, ("cls", "mean")),
            ("positions", self.positions, ("learned", "sinusoidal")),
        ):
            if value not in known:
                raise ValueError(f"VisionTransformer: {name}={value!r} must be one of {', '.join(known)}")
        rows, columns = height // side, width // side
        for level, channels in enumerate(self.stem):
            options = ("stride", False, "channels_in" if level else None, self.norm, nn.relu, self.stack.dtype)
            image = ConvStage(channels, 1, *options, name=f"stem{level + 1}")(image, train=train)
        blocks = unshuffle(image, side // 2 ** len(self.stem)).reshape(batch, rows * columns, -1)
        x = dense(features, (None, "embed"), dtype=self.stack.dtype, name="entry")(blocks)
        if self.positions == "sinusoidal":
            x = x + jnp.asarray(grid_waves(rows, columns, features), x.dtype)
        if self.patch_dropout and train:
            x = self._some(x)
        if self.pool == "cls":
            cls = self._vector("first", 1, nn.initializers.zeros)
            x = jnp.concatenate([jnp.broadcast_to(cls, (batch, 1, features)).astype(x.dtype), x], axis=1)
        if self.positions == "learned":
            x = x + self._vector("place", x.shape[1], normal(0.02)).astype(x.dtype)
        return x

    def _some(self, x: jax.Array) -> jax.Array:
        """Returns a random part of the patches of each image."""
        kept = max(1, round((1 - self.patch_dropout) * x.shape[1]))
        draws = jax.random.uniform(self.make_rng("dropout"), x.shape[:2])
        return jnp.take_along_axis(x, jnp.argsort(draws)[:, :kept, None], axis=1)

    def _vector(self, name: str, count: int, init: Any) -> jax.Array:
        boxed = nn.with_logical_partitioning(init, (None, "embed"))
        return gathered(self.param(name, boxed, (count, self.stack.features)))


def vit(num_classes: int = 1000, patch: int = 16, **changes: Any) -> VisionTransformer:
    """Returns the published ViT, by default ViT-B with 87 million parameters.

    `changes` are those of `Stack`.
    """
    defaults = {
        "features": 768,
        "layers": 12,
        "heads": 12,
        "positions": "none",
        "activation": exact_gelu,
        "epsilon": 1e-12,
    }
    return VisionTransformer(num_classes, patch, Stack(**{**defaults, **changes}), pool="cls", positions="learned")
