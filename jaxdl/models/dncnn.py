"""Networks that repair images: a plain stack of convolutions, and any network on squares of pixels instead of pixels.

Logical axis names as in `jaxdl.models.resnet`; the last layer's are ("embed", "classes"), as in `jaxdl.models.unet`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.convnet import ConvStage
from jaxdl.models.layers.dense import Activation, variance_scaling
from jaxdl.models.layers.norms import Normalization, batch_norm
from jaxdl.models.unet import pad_to_multiple


class DnCNN(nn.Module):
    """3x3 convolutions at one resolution, each with norm and activation (Zhang et al. 2016, arXiv:1608.03981).

    In the paper its output is the noise, with the sign turned: see `residual` of
    `jaxdl.tasks.image_restoration.image_restoration`. Each convolution sees one pixel further: with `depth` of them an
    output depends on the pixels within `depth` of it. Unlike in the paper the last one is 1x1.

    Attributes:
      outputs: channels of the output.
      channels: of every layer.
      depth: 3x3 convolutions.
      shortcuts: add each layer but the first to its input, as in a residual network, which learns faster when deep.
      norm: factory with the signature of `jaxdl.models.layers.norms.batch_norm`.
      activation: after each norm.
      dtype: what convolutions compute in, "float32" or "bfloat16".
    """

    outputs: int
    channels: int = 64
    depth: int = 16
    shortcuts: bool = False
    norm: Normalization = batch_norm
    activation: Activation = nn.relu
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image [batch, h, w, c] float -> [batch, h, w, outputs] float32."""
        options = ("none", self.shortcuts, None, self.norm, self.activation, self.dtype)
        x = ConvStage(self.channels, self.depth, *options, name="convs")(image, train=train)
        return nn.Dense(
            self.outputs,
            dtype=jnp.float32,
            kernel_init=nn.with_logical_partitioning(variance_scaling(1.0), ("embed", "classes")),
            bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("classes",)),
            name="final",
        )(x)


class PixelUnshuffle(nn.Module):
    """A network that sees squares of `factor` x `factor` pixels as one, with all their values as channels, and gives
    as many back: the cost falls, and an output sees further (FFDNet, arXiv:1710.04026).

    Any height and width: an image that `factor` does not divide is padded at the bottom and the right by its mirror
    image, and the output is cut back.

    Attributes:
      network: `network(image [batch, h / factor, w / factor, c * factor ** 2], *, train) -> [batch, h / factor,
        w / factor, outputs * factor ** 2]`.
      factor: the side of a square.
    """

    network: nn.Module
    factor: int = 2

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image [batch, h, w, c] float -> [batch, h, w, outputs] float32."""
        height, width = image.shape[1:3]
        squares = unshuffle(pad_to_multiple(image, self.factor), self.factor)
        return shuffle(self.network(squares, train=train), self.factor)[:, :height, :width]  # type: ignore


def unshuffle(image: jax.Array, factor: int) -> jax.Array:
    """[batch, h, w, c] -> [batch, h / factor, w / factor, factor ** 2 * c]: a square's pixels row by row."""
    batch, height, width, channels = image.shape
    rows, columns = height // factor, width // factor
    x = image.reshape(batch, rows, factor, columns, factor, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows, columns, factor * factor * channels)


def shuffle(x: jax.Array, factor: int) -> jax.Array:
    """The inverse of `unshuffle`."""
    batch, rows, columns, channels = x.shape
    x = x.reshape(batch, rows, columns, factor, factor, channels // factor**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows * factor, columns * factor, channels // factor**2)
