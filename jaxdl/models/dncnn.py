"""DnCNN (arXiv:1608.03981) and pixel unshuffling (arXiv:1710.04026).

Logical axis names are those of `jaxdl.models.resnet`; those of the last layer are ("embed", "classes").
"""

from typing import Any

import flax.linen as nn
import jax

from jaxdl.models.convnet import ConvStage
from jaxdl.models.layers.convolution import classifier_head, shuffle, unshuffle
from jaxdl.models.layers.dense import Activation
from jaxdl.models.layers.norms import Normalization, batch_norm
from jaxdl.models.unet import pad_to_multiple


class DnCNN(nn.Module):
    """DnCNN denoiser of 3x3 convolutions (Zhang et al. 2016, arXiv:1608.03981).

    In the paper it predicts the negative noise (see `residual` of image restoration). The receptive field is 2 * depth
    + 1 pixels. Unlike in the paper the last convolution is 1x1.

    Attributes:
      outputs: Number of output channels.
      channels: Channels of every layer.
      depth: Number of 3x3 convolutions.
      shortcuts: Adds a residual connection to each layer but the first.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation after each normalization.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
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
        """Returns float32 [batch, h, w, outputs] of images [batch, h, w, c]."""
        options = ("none", self.shortcuts, None, self.norm, self.activation, self.dtype)
        x = ConvStage(self.channels, self.depth, *options, name="convs")(image, train=train)
        return classifier_head(self.outputs, name="final")(x)


class PixelUnshuffle(nn.Module):
    """Network between pixel unshuffle and pixel shuffle (FFDNet).

    arXiv:1710.04026. Images whose size `factor` does not divide are reflect-padded at the bottom and right; outputs are
    cropped.

    Attributes:
      network: `network(image [batch, h / factor, w / factor, c * factor ** 2], *, train) -> [batch, h / factor,
        w / factor, outputs * factor ** 2]`.
      factor: Side of a square, pixels.
    """

    network: nn.Module
    factor: int = 2

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Returns float32 [batch, h, w, outputs] of images [batch, h, w, c]."""
        height, width = image.shape[1:3]
        squares = unshuffle(pad_to_multiple(image, self.factor), self.factor)
        return shuffle(self.network(squares, train=train), self.factor)[:, :height, :width]  # type: ignore
