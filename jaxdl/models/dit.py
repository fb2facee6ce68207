"""Diffusion Transformer (DiT; Peebles & Xie 2022, arXiv:2212.09748).

The signature and the logical axis names are those of `jaxdl.models.ddpm_unet`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.ddpm_unet import Condition
from jaxdl.models.layers.attention import MultiHeadAttention
from jaxdl.models.layers.convolution import shuffle, unshuffle
from jaxdl.models.layers.dense import dense
from jaxdl.models.layers.posemb import grid_waves


class DiTBlock(nn.Module):
    """Transformer block with adaLN-Zero conditioning (arXiv:2212.09748).

    [batch, n, c], condition [batch, c] -> [batch, n, c]. Shifts, scales and gates are initially 0.
    """

    heads: int
    expansion: int
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        features = x.shape[-1]
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation(6, features, condition, self.dtype)
        h = MultiHeadAttention(features, self.heads, dtype=jnp.dtype(self.dtype), name="attention")(
            modulate(x, shift1, scale1)
        )
        x = x + gate1[:, None] * h
        h = modulate(x, shift2, scale2)
        h = dense(self.expansion * features, ("embed", "mlp"), dtype=self.dtype, name="mlp1")(h)
        h = dense(features, ("mlp", "embed"), dtype=self.dtype, name="mlp2")(nn.gelu(h, approximate=True))
        return x + gate2[:, None] * h


def modulation(count: int, features: int, condition: jax.Array, dtype: Any = "float32") -> list[jax.Array]:
    """Returns `count` arrays [batch, features] of the condition, initially 0."""
    zeros = nn.initializers.zeros
    layer = dense(count * features, ("embed", "mlp"), kernel_init=zeros, dtype=dtype, name="modulation")
    return jnp.split(layer(nn.silu(condition)), count, axis=-1)


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """Applies layer normalization, then the scale 1 + `scale` and `shift`, both [batch, c]."""
    x = nn.LayerNorm(epsilon=1e-6, use_scale=False, use_bias=False, dtype=x.dtype)(x)
    return x * (1.0 + scale[:, None]) + shift[:, None]


class DiT(nn.Module):
    """Diffusion Transformer with adaLN-Zero and 2D sinusoidal positions (arXiv:2212.09748).

    Attributes:
      outputs: Number of output channels.
      patch: Side of a patch, pixels.
      width: Width of the tokens, divisible by 4.
      depth: Number of blocks.
      heads: Number of attention heads.
      expansion: Width of the blocks' hidden layers, in units of `width`.
      classes: Number of classes. 0: unconditional.
      frequencies: Number of sinusoids of the noise level.
      dtype: Computation dtype, such as "bfloat16". Parameters and output are float32.
      remat: Recomputes blocks in the backward pass to save memory.
    """

    outputs: int
    patch: int = 2
    width: int = 1152
    depth: int = 28
    heads: int = 16
    expansion: int = 4
    classes: int = 0
    frequencies: int = 256
    dtype: Any = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, level: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Returns float32 [batch, h, w, outputs] of images with noise levels and labels.

        Raises:
          ValueError: An image size that `patch` does not divide, or a width that `heads` or 4 does not divide.
        """
        del train  # equal in training and evaluation
        batch, height, width, _ = image.shape
        if height % self.patch or width % self.patch:
            raise ValueError(f"DiT: patch={self.patch} does not divide images of {height}x{width}; set patch")
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"DiT: width={self.width} must be divisible by heads={self.heads} and by 4")
        condition = Condition(self.width, self.frequencies, self.classes, name="condition")(level, label)
        patches = unshuffle(image, self.patch)
        rows, columns = patches.shape[1:3]
        x = dense(self.width, (None, "embed"), dtype=self.dtype, name="entry")(
            patches.reshape(batch, rows * columns, -1)
        )
        x = x + jnp.asarray(grid_waves(rows, columns, self.width), x.dtype)
        block = nn.remat(DiTBlock) if self.remat else DiTBlock
        for number in range(self.depth):
            x = block(self.heads, self.expansion, self.dtype, name=f"block{number + 1}")(x, condition)
        x = Final(self.outputs * self.patch**2, name="final")(x.astype(jnp.float32), condition)
        return shuffle(x.reshape(batch, rows, columns, -1), self.patch)


class Final(nn.Module):
    """Final layer of DiT, initially 0, -> float32 [batch, n, outputs]."""

    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        x = modulate(x, *modulation(2, x.shape[-1], condition))
        return dense(self.outputs, ("embed", None), kernel_init=nn.initializers.zeros, name="out")(x).astype(
            jnp.float32
        )
