"""Autoencoders: a narrow code of the input, and the input again from the code (Hinton & Salakhutdinov 2006).

"Reducing the Dimensionality of Data with Neural Networks", Science 313. Both classes have the methods `encode`,
`decode` and `__call__`, which is one after the other. Parameters are float32, and so are code and output. Logical axis
names as in `jaxdl.models.resnet` and `jaxdl.models.layers.dense.dense`.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.convnet import ConvStage
from jaxdl.models.layers.convolution import constrain
from jaxdl.models.layers.dense import Activation, dense
from jaxdl.models.layers.norms import Normalization, group_norm
from jaxdl.models.unet import TransposedConv, pad_to_multiple


class DenseAutoencoder(nn.Module):
    """Layers of falling width, the code, and the same widths back, for vectors.

    Attributes:
      features: numbers of a vector.
      code: numbers of its code.
      widths: of the encoder's hidden layers; the decoder has them in reverse order. Empty: a linear autoencoder, whose
        best code spans the subspace of the principal components (Baldi & Hornik 1989).
      activation: after each hidden layer.
      dropout: rate on the input in training, so that a number is told from the others (Vincent et al. 2008); kept
        numbers are divided by 1 - rate. Draws from "dropout".
    """

    features: int
    code: int
    widths: Sequence[int] = (64, 32)
    activation: Activation = nn.gelu
    dropout: float = 0.0

    def setup(self):
        if min(self.features, self.code, *self.widths) < 1:
            raise ValueError(f"DenseAutoencoder(code={self.code}, widths={tuple(self.widths)}): sizes are 1 or more")
        self.drop = nn.Dropout(self.dropout)
        self.encoder = [dense(width, name=f"encoder{index + 1}") for index, width in enumerate(self.widths)]
        self.narrow = dense(self.code, name="code")
        widths = self.widths[::-1]
        self.decoder = [dense(width, name=f"decoder{index + 1}") for index, width in enumerate(widths)]
        self.final = dense(self.features, ("embed", None), name="output")

    def encode(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x [batch, features] -> code [batch, code]."""
        x = self.drop(x, deterministic=not train)
        for layer in self.encoder:
            x = self.activation(layer(x))
        return self.narrow(x)

    def decode(self, code: jax.Array, *, train: bool) -> jax.Array:
        """code [batch, code] -> [batch, features]."""
        del train  # the same in training and evaluation
        for layer in self.decoder:
            code = self.activation(layer(code))
        return self.final(code)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x [batch, features] -> the same again, [batch, features]."""
        return self.decode(self.encode(x, train=train), train=train)


class ConvAutoencoder(nn.Module):
    """Stages of convolutions that halve the image, a dense layer to the code; and stages that double it back.

    Any height and width: an image that 2 ** stages does not divide is padded at the bottom and the right by its mirror
    image, and the output is cut back.

    Attributes:
      shape: (height, width, channels) of the images.
      code: numbers of an image's code.
      channels: of each stage, the finest first.
      depth: 3x3 convolutions in a stage.
      norm: factory with the signature of `jaxdl.models.layers.norms.batch_norm`; the default keeps examples apart and
        needs channels in multiples of 8.
      activation: after each norm.
      dtype: what convolutions compute in, "float32" or "bfloat16".
    """

    shape: tuple[int, int, int]
    code: int
    channels: Sequence[int] = (32, 64)
    depth: int = 1
    norm: Normalization = group_norm
    activation: Activation = nn.gelu
    dtype: Any = "float32"

    def setup(self):
        if not self.channels or self.code < 1:
            raise ValueError(
                f"ConvAutoencoder(channels={tuple(self.channels)}, code={self.code}): give one stage or more, a code of"
                " 1 or more"
            )
        options = (self.norm, self.activation, self.dtype)
        self.downs = [
            ConvStage(
                channels,
                self.depth,
                "stride",
                False,
                "channels_in" if index else None,
                *options,
                name=f"down{index + 1}",
            )
            for index, channels in enumerate(self.channels)
        ]
        self.narrow = dense(self.code, name="code")
        self.widen = dense(math.prod(self._smallest), name="widen")
        # A map on the way up has as many channels as the map of its size on the way down; the largest, which has none
        # there, as many as the next.
        widths = (self.channels[0], *self.channels[:-1])
        self.upsamples = [
            TransposedConv(width, jnp.dtype(self.dtype), name=f"upsample{index + 1}")
            for index, width in enumerate(widths)
        ]
        self.ups = [
            ConvStage(width, self.depth, "none", False, "channels_in", *options, name=f"up{index + 1}")
            for index, width in enumerate(widths)
        ]
        self.final = dense(self.shape[2], ("embed", None), name="output")

    @property
    def _smallest(self) -> tuple[int, int, int]:
        """Height, width and channels of the coarsest map."""
        cut = 2 ** len(self.channels)
        return -(-self.shape[0] // cut), -(-self.shape[1] // cut), self.channels[-1]

    def encode(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image [batch, height, width, channels] -> code [batch, code] float32.

        Raises:
          ValueError: images of another shape than `shape`.
        """
        if image.shape[1:] != tuple(self.shape):
            raise ValueError(f"ConvAutoencoder(shape={tuple(self.shape)}) is given images of {image.shape[1:]}")
        x = pad_to_multiple(image, 2 ** len(self.channels))
        for down in self.downs:
            x = down(x, train=train)
        return self.narrow(x.reshape(x.shape[0], -1).astype(jnp.float32))

    def decode(self, code: jax.Array, *, train: bool) -> jax.Array:
        """code [batch, code] -> image [batch, height, width, channels] float32."""
        x = self.activation(self.widen(code)).reshape(code.shape[0], *self._smallest)
        for upsample, up in zip(self.upsamples[::-1], self.ups[::-1]):
            x = up(constrain(upsample(x)), train=train)
        height, width, _ = self.shape
        return self.final(x[:, :height, :width].astype(jnp.float32))

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image [batch, height, width, channels] -> the same again."""
        return self.decode(self.encode(image, train=train), train=train)
