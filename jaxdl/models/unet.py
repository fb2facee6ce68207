"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597).

Unlike in the paper, convolutions are padded, so that the output has the size of the input, and are normalized.
Logical axis names are those of `jaxdl.models.resnet`; the last layer's are ("embed", "classes").
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.convnet import ConvStage
from jaxdl.models.layers.convolution import (
    classifier_head,
    constrain,
    convolution,
    max_pool_2x2,
    shuffle,
    unshuffle,
    upsample_2x,
)
from jaxdl.models.layers.dense import Activation, variance_scaling
from jaxdl.models.layers.norms import Normalization, batch_norm


def pad_to_multiple(image: jax.Array, multiple: int) -> jax.Array:
    """Pads images symmetrically at the bottom and right to multiples of `multiple`.

    The padding starts with a copy of the last row or column.
    """
    rows, columns = -image.shape[1] % multiple, -image.shape[2] % multiple
    if not rows and not columns:
        return image
    return jnp.pad(image, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="symmetric")


class TransposedConv(nn.Module):
    """2x2 transposed convolution of stride 2, -> [batch, 2 * h, 2 * w, channels].

    The kernel is [row, column, c, channels]. Output blocks do not overlap, so it is a matrix product, on CPU faster
    than `jax.lax.conv_transpose`.
    """

    channels: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        # Scale 4, because an output depends on one of the kernel's four positions.
        kernel_init = nn.with_logical_partitioning(variance_scaling(4.0), (None, None, "channels_in", "channels"))
        kernel = jnp.asarray(self.param("kernel", kernel_init, (2, 2, channels, self.channels)), self.dtype)
        kernel = with_logical_constraint(kernel, (None, None, None, "channels"))  # see convolution
        blocks = jnp.einsum("bhwi,rcio->bhrwco", x.astype(self.dtype), kernel)
        return blocks.reshape(batch, 2 * height, 2 * width, self.channels)


class DownBlock(nn.Module):
    """Encoder block: optional 2x2 max pooling and `depth` 3x3 convolutions with normalization.

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
    """Decoder block: upsampling, concatenation with `skip` and 3x3 convolutions.

    x [batch, h, w, c], skip [batch, 2 * h, 2 * w, s] -> [batch, 2 * h, 2 * w, channels]. Upsampling is "transposed"
    (`TransposedConv`) or "nearest" (nearest neighbour and a 3x3 convolution).
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
    """U-Net with encoder blocks `down1`, ..., decoder blocks ..., `up1`, and `final`.

    Images whose size 2**(levels - 1) does not divide are padded symmetrically; outputs are cropped.

    Attributes:
      outputs: Number of output channels.
      channels: Channels of each level, finest first. Every level after the first halves height and width.
      depth: Number of convolutions per block.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation after each normalization.
      dropout: Dropout rate on the coarsest level's output.
      final_bias: Initializer of the last bias [outputs]. `nn.initializers.constant(-math.log(99))` makes the initial
        sigmoids 0.01, for focal loss (arXiv:1708.02002).
      upsample: "transposed" or "nearest" (see `UpBlock`).
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
    """

    outputs: int
    channels: Sequence[int] = (16, 32, 64, 128)
    depth: int = 2
    norm: Normalization = batch_norm
    activation: Activation = nn.relu
    dropout: float = 0.0
    final_bias: nn.initializers.Initializer = nn.initializers.zeros
    # A training step on CPU at [16, 96, 96, 3] takes 0.31 s with "transposed" and 0.43 s with "nearest".
    upsample: Literal["transposed", "nearest"] = "transposed"
    dtype: Any = "float32"

    def setup(self):
        if self.upsample not in ("transposed", "nearest"):
            raise ValueError(f"UNet(upsample={self.upsample!r}) is unknown; use 'transposed' or 'nearest'")
        if not self.channels:
            raise ValueError("UNet(channels=()) must contain the channels of at least one level")
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
        self.final = classifier_head(self.outputs, self.final_bias)

    def features(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Returns the last block's output [batch, h, w, channels[0]] of images [batch, h, w, c]."""
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
        """Returns float32 [batch, h, w, outputs]; draws from "dropout" in training."""
        return self.final(self.features(image, train=train))


class PixelUnshuffle(nn.Module):
    """Network on blocks of pixels instead of pixels (Shi et al. 2016, arXiv:1609.05158).

    The full resolution of a U-Net has the fewest channels and costs the most. Here the pixels of a block are channels
    of the network's input and output. Images whose size `factor` does not divide are padded symmetrically.

    Attributes:
      network: Network of images, `network(image [batch, h / factor, w / factor, factor ** 2 * c], *, train) -> [batch,
        h / factor, w / factor, factor ** 2 * outputs]`.
      factor: Side of a block, pixels.
    """

    network: nn.Module
    factor: int = 2

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Returns [batch, h, w, outputs]."""
        height, width = image.shape[1:3]
        blocks = unshuffle(pad_to_multiple(image, self.factor), self.factor)
        return shuffle(self.network(blocks, train=train), self.factor)[:, :height, :width]
