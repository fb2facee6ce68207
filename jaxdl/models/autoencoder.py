"""Dense and convolutional autoencoders (Hinton & Salakhutdinov 2006).

"Reducing the Dimensionality of Data with Neural Networks", Science 313. Both have the methods `encode`, `decode` and
`__call__`, their composition. Parameters, codes and outputs are float32. Logical axis names are those of
`jaxdl.models.resnet` and `jaxdl.models.layers.dense.dense`.
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
    """Dense autoencoder of vectors.

    Attributes:
      features: Number of features.
      code: Width of the code.
      widths: Widths of the encoder's hidden layers, reversed in the decoder. Empty: a linear autoencoder, whose optimal
        code spans the principal subspace (Baldi & Hornik 1989).
      activation: Activation after each hidden layer.
      dropout: Dropout rate on the input, as in a denoising autoencoder (Vincent et al. 2008). Draws from "dropout".
    """

    features: int
    code: int
    widths: Sequence[int] = (64, 32)
    activation: Activation = nn.gelu
    dropout: float = 0.0

    def setup(self):
        if min(self.features, self.code, *self.widths) < 1:
            raise ValueError(f"DenseAutoencoder(code={self.code}, widths={tuple(self.widths)}): sizes must be >= 1")
        self.drop = nn.Dropout(self.dropout)
        self.encoder = [dense(width, name=f"encoder{index + 1}") for index, width in enumerate(self.widths)]
        self.narrow = dense(self.code, name="code")
        widths = self.widths[::-1]
        self.decoder = [dense(width, name=f"decoder{index + 1}") for index, width in enumerate(widths)]
        self.final = dense(self.features, ("embed", None), name="output")

    def encode(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns the code [batch, code] of x [batch, features]."""
        x = self.drop(x, deterministic=not train)
        for layer in self.encoder:
            x = self.activation(layer(x))
        return self.narrow(x)

    def decode(self, code: jax.Array, *, train: bool) -> jax.Array:
        """Returns the reconstruction [batch, features] of a code [batch, code]."""
        del train  # equal in training and evaluation
        for layer in self.decoder:
            code = self.activation(layer(code))
        return self.final(code)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns the reconstruction of x [batch, features]."""
        return self.decode(self.encode(x, train=train), train=train)


class ConvAutoencoder(nn.Module):
    """Convolutional autoencoder with a dense code.

    Images whose size 2 ** stages does not divide are reflect-padded at the bottom and right; outputs are cropped.

    Attributes:
      shape: (height, width, channels) of the images.
      code: Width of the code.
      channels: Channels of each stage, finest first; each stage halves height and width.
      depth: Number of 3x3 convolutions per stage.
      norm: Normalization factory (see `jaxdl.models.layers.norms`). The default keeps examples independent and needs
        channels divisible by 8.
      activation: Activation after each normalization.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
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
                f"ConvAutoencoder(channels={tuple(self.channels)}, code={self.code}): needs at least one stage and a"
                " code of at least 1"
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
        # Decoder maps have the channels of the encoder map of equal size; the largest those of the next smaller one.
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
        factor = 2 ** len(self.channels)
        return -(-self.shape[0] // factor), -(-self.shape[1] // factor), self.channels[-1]

    def encode(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Returns the code float32 [batch, code] of images [batch, height, width, channels].

        Raises:
          ValueError: Images of another shape than `shape`.
        """
        if image.shape[1:] != tuple(self.shape):
            raise ValueError(f"ConvAutoencoder: images have shape {image.shape[1:]}, expected {tuple(self.shape)}")
        x = pad_to_multiple(image, 2 ** len(self.channels))
        for down in self.downs:
            x = down(x, train=train)
        return self.narrow(x.reshape(x.shape[0], -1).astype(jnp.float32))

    def decode(self, code: jax.Array, *, train: bool) -> jax.Array:
        """Returns images float32 [batch, height, width, channels] of codes [batch, code]."""
        x = self.activation(self.widen(code)).reshape(code.shape[0], *self._smallest)
        for upsample, up in zip(self.upsamples[::-1], self.ups[::-1]):
            x = up(constrain(upsample(x)), train=train)
        height, width, _ = self.shape
        return self.final(x[:, :height, :width].astype(jnp.float32))

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Returns the reconstruction of images [batch, height, width, channels]."""
        return self.decode(self.encode(image, train=train), train=train)
