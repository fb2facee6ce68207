"""Networks that denoise: the U-Net of DDPM and the diffusion Transformer DiT.

Both are `network(image [batch, h, w, c], level float32 [batch], label int32 [batch] or None, *, train) -> float32
[batch, h, w, outputs]`. `level` says how noisy the image is, on a scale of a thousand or so; the label `classes` stands
for no class, as classifier-free guidance needs (arXiv:2207.12598). Both draw from "dropout" in training.

Logical axis names. Parameters: "channels_in" and "channels" of convolutions as in `jaxdl.models.resnet`; "embed",
"heads" and "mlp" of dense layers. Activations: "batch", "channels_act".
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.ddpm_unet import Condition
from jaxdl.models.dncnn import shuffle, unshuffle
from jaxdl.models.layers.attention import MultiHeadAttention
from jaxdl.models.layers.dense import dense
from jaxdl.models.layers.posemb import grid_waves


class DiTBlock(nn.Module):
    """A Transformer block whose norms, and whose residuals' sizes, come from the condition, which starts at zero.

    adaLN-Zero of Peebles & Xie 2022 (arXiv:2212.09748): [batch, n, c], condition [batch, c] -> [batch, n, c].
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
    """`count` vectors [batch, features] of the condition [batch, c], zero at the start. Call it in a compact module."""
    zeros = nn.initializers.zeros
    made = dense(count * features, ("embed", "mlp"), kernel_init=zeros, dtype=dtype, name="modulation")
    return jnp.split(made(nn.silu(condition)), count, axis=-1)


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """Layer normalization of [batch, n, c], then a scale of 1 + `scale` and a shift [batch, c]."""
    x = nn.LayerNorm(epsilon=1e-6, use_scale=False, use_bias=False, dtype=x.dtype)(x)
    return x * (1.0 + scale[:, None]) + shift[:, None]


class DiT(nn.Module):
    """The diffusion Transformer with adaLN-Zero (Peebles & Xie 2022, arXiv:2212.09748).

    Squares of `patch` x `patch` pixels are its tokens, with fixed sinusoids of row and column added.

    Attributes:
      outputs: channels of the output.
      patch: side of a square.
      width: features of a token; four must divide it.
      depth: blocks.
      heads: of attention.
      expansion: hidden features of the blocks' two-layer networks, over `width`.
      classes: of the label; 0: not conditional.
      frequencies: sinusoids that describe the level.
      dtype: to compute in, such as "bfloat16"; parameters and the output are float32.
      remat: blocks are computed again on the way back instead of remembered, to save memory.
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
        """image [batch, h, w, c], level [batch], label int32 [batch] -> float32 [batch, h, w, outputs].

        Raises:
          ValueError: a size that `patch` does not divide, or a width that the heads or four do not.
        """
        del train  # the same in training and evaluation
        batch, height, width, _ = image.shape
        if height % self.patch or width % self.patch:
            raise ValueError(f"DiT: images of {height}x{width} cannot be cut into squares of {self.patch}")
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"DiT: a width of {self.width} cannot be cut into {self.heads} heads and 4 sinusoids")
        condition = Condition(self.width, self.frequencies, self.classes, name="condition")(level, label)
        squares = unshuffle(image, self.patch)
        rows, columns = squares.shape[1:3]
        x = dense(self.width, (None, "embed"), dtype=self.dtype, name="entry")(
            squares.reshape(batch, rows * columns, -1)
        )
        x = x + jnp.asarray(grid_waves(rows, columns, self.width), x.dtype)
        block = nn.remat(DiTBlock) if self.remat else DiTBlock
        for number in range(self.depth):
            x = block(self.heads, self.expansion, self.dtype, name=f"block{number + 1}")(x, condition)
        x = Final(self.outputs * self.patch**2, name="final")(x.astype(jnp.float32), condition)
        return shuffle(x.reshape(batch, rows, columns, -1), self.patch)


class Final(nn.Module):
    """[batch, n, c], condition [batch, c] -> float32 [batch, n, outputs]; zero at the start."""

    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        x = modulate(x, *modulation(2, x.shape[-1], condition))
        return dense(self.outputs, ("embed", None), kernel_init=nn.initializers.zeros, name="out")(x).astype(
            jnp.float32
        )
