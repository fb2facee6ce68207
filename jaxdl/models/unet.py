"""U-Net: an image in, a map of the same height and width out (Ronneberger et al. 2015, arXiv:1505.04597).

Unlike in the paper, convolutions are padded, so that the output has the size of the input, and a norm follows each.
Logical axis names as in `jaxdl.models.resnet`; the last layer's are ("embed", "classes").
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.convnet import ConvStage
from jaxdl.models.layers.convolution import constrain, convolution, max_pool_2x2, upsample_2x
from jaxdl.models.layers.dense import Activation, variance_scaling
from jaxdl.models.layers.norms import Normalization, batch_norm


def pad_to_multiple(image: jax.Array, multiple: int) -> jax.Array:
    """Pads [batch, h, w, c] at the bottom and the right by its mirror image until `multiple` divides h and w.

    The mirror image begins with the last row or column itself.
    """
    rows, columns = -image.shape[1] % multiple, -image.shape[2] % multiple
    if not rows and not columns:
        return image
    return jnp.pad(image, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="symmetric")


class TransposedConv(nn.Module):
    """A 2x2 transposed convolution of stride 2, without bias: each value becomes a block of 2x2 values.

    [batch, h, w, c] -> [batch, 2 * h, 2 * w, channels]; kernel [row, column, c, channels]. Blocks do not overlap:
    it is a matrix product and a rearrangement, on CPU faster than `jax.lax.conv_transpose`.
    """

    channels: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        # A scale of 4, since an output sees one of the kernel's four positions.
        kernel_init = nn.with_logical_partitioning(variance_scaling(4.0), (None, None, "channels_in", "channels"))
        kernel = jnp.asarray(self.param("kernel", kernel_init, (2, 2, channels, self.channels)), self.dtype)
        kernel = with_logical_constraint(kernel, (None, None, None, "channels"))  # see convolve_gathered
        blocks = jnp.einsum("bhwi,rcio->bhrwco", x.astype(self.dtype), kernel)
        return blocks.reshape(batch, 2 * height, 2 * width, self.channels)


class DownBlock(nn.Module):
    """A 2x2 maximum if `halve`, then `depth` times 3x3 convolution, norm, activation.

    [batch, h, w, c] -> [batch, h // 2, w // 2, channels], or [batch, h, w, channels].
    """

    channels: int
    depth: int
    halve: bool
    input_axis: str | None
    norm: Normalization
    activation: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if self.halve:
            x = max_pool_2x2(x)
        options = ("none", False, self.input_axis, self.norm, self.activation, self.dtype)
        return ConvStage(self.channels, self.depth, *options, name="convs")(x, train=train)


class UpBlock(nn.Module):
    """Doubles height and width, appends `skip` to the channels, then `depth` times 3x3 convolution, norm, activation.

    x [batch, h, w, c], skip [batch, 2 * h, 2 * w, s] -> [batch, 2 * h, 2 * w, channels]. How it doubles:
    "transposed", by `TransposedConv`; "nearest", nearest neighbour and a 3x3 convolution, which mixes neighbours.
    """

    channels: int
    depth: int
    upsample: Literal["transposed", "nearest"]
    norm: Normalization
    activation: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array, *, train: bool) -> jax.Array:
        if self.upsample == "transposed":
            x = TransposedConv(self.channels, self.dtype, name="upsample")(x)
        else:
            x = convolution(self.channels, 3, dtype=self.dtype, name="upsample")(upsample_2x(x))
        x = jnp.concatenate([skip, constrain(x)], axis=-1)
        options = ("none", False, "channels_in", self.norm, self.activation, self.dtype)
        return ConvStage(self.channels, self.depth, *options, name="convs")(x, train=train)


class UNet(nn.Module):
    """A contracting path down1, down2, ..., an expanding path ..., up2, up1 that sees its outputs, and `final`.

    Any height and width: an image that 2**(levels - 1) does not divide is padded at the bottom and the right by its
    mirror image, and the output is cut back.

    Attributes:
      outputs: channels of the output.
      channels: of each level, finest first; every level after the first halves height and width.
      depth: convolutions in a block.
      norm: factory with the signature of `jaxdl.models.layers.norms.batch_norm`.
      activation: after each norm.
      dropout: rate in training on the coarsest level's output.
      final_bias: initializer of the last layer's bias [outputs]; `nn.initializers.constant(-math.log(99))` starts every
        sigmoid at 0.01, as the focal loss wants (arXiv:1708.02002).
      upsample: "transposed" or "nearest", see `UpBlock`.
      dtype: what convolutions compute in, "float32" or "bfloat16".
    """

    outputs: int
    channels: Sequence[int] = (16, 32, 64, 128)
    depth: int = 2
    norm: Normalization = batch_norm
    activation: Activation = nn.relu
    dropout: float = 0.0
    final_bias: nn.initializers.Initializer = nn.initializers.zeros
    # On CPU a training step at [16, 96, 96, 3] takes 0.31 s with "transposed", 0.43 s with "nearest".
    upsample: Literal["transposed", "nearest"] = "transposed"
    dtype: Any = "float32"

    def setup(self):
        if self.upsample not in ("transposed", "nearest"):
            raise ValueError(f"UNet(upsample={self.upsample!r}): use 'transposed' or 'nearest'")
        if not self.channels:
            raise ValueError("UNet(channels=()): give the channels of at least one level")
        options = (self.norm, self.activation, self.dtype)
        self.downs = [
            DownBlock(
                channels, self.depth, level > 0, "channels_in" if level else None, *options, name=f"down{level + 1}"
            )
            for level, channels in enumerate(self.channels)
        ]
        self.drop = nn.Dropout(self.dropout)
        self.ups = [
            UpBlock(self.channels[level], self.depth, self.upsample, *options, name=f"up{level + 1}")
            for level in reversed(range(len(self.channels) - 1))
        ]
        self.final = nn.Dense(
            self.outputs,
            dtype=jnp.float32,
            kernel_init=nn.with_logical_partitioning(variance_scaling(1.0), ("embed", "classes")),
            bias_init=nn.with_logical_partitioning(self.final_bias, ("classes",)),
        )

    def features(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image [batch, h, w, c] -> the last block's output [batch, h, w, channels[0]]."""
        height, width = image.shape[1:3]
        x = pad_to_multiple(image, 2 ** (len(self.channels) - 1))
        skips = []
        for down in self.downs:
            x = down(x, train=train)
            skips.append(x)
        x = self.drop(skips.pop(), deterministic=not train)
        for up in self.ups:
            x = up(x, skips.pop(), train=train)
        return x[:, :height, :width]

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image [batch, h, w, c] float -> [batch, h, w, outputs] float32. Draws from "dropout" in training."""
        return self.final(self.features(image, train=train))
