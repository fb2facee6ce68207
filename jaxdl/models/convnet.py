"""Convolutional networks for images: ConvNet (small) and ResNet (He et al. 2015, arXiv:1512.03385).

Images are float [batch, height, width, channels]. Parameters are float32; `dtype` is what convolutions compute in, and
logits are always float32. Padding is symmetric, as in the networks' published weights, not TensorFlow's "SAME".

Logical axis names. Parameters: "channels_in" and "channels" (a kernel's input and output channels; scales), "embed" and
"classes" (the head's kernel and bias). Activations: "batch", "channels_act". The first kernel's input channels (1 or 3)
have no name.
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.convolution import classifier_head, constrain, convolution, max_pool_2x2
from jaxdl.models.layers.dense import Activation
from jaxdl.models.layers.norms import Normalization, batch_norm


class ConvNet(nn.Module):
    """Stages of 3x3 convolutions, each with norm and activation, for images of 8x8 to 32x32.

    Attributes:
      num_classes: size of the output.
      channels: of each stage; every stage after the first halves height and width.
      depth: convolutions in a stage.
      downsample: how a stage halves: "stride" (its first convolution has stride 2) or "max" (2x2 maximum after it).
      halve_first: whether the first stage halves, too.
      residual: add a stage's convolutions after the first to their input.
      dropout: rate on the pooled features in training.
      norm: factory with the signature of `jaxdl.models.layers.norms.batch_norm`.
      activation: after each norm.
      dtype: what convolutions compute in, "float32" or "bfloat16".
    """

    num_classes: int
    channels: Sequence[int] = (32, 64, 128)
    depth: int = 2
    downsample: Literal["stride", "max"] = "stride"
    halve_first: bool = False
    residual: bool = False
    dropout: float = 0.0
    norm: Normalization = batch_norm
    activation: Activation = nn.relu
    dtype: Any = "float32"

    def setup(self):
        if self.downsample not in ("stride", "max"):
            raise ValueError(f"ConvNet(downsample={self.downsample!r}): use 'stride' or 'max'")
        self.stages = [
            ConvStage(
                channels,
                self.depth,
                self.downsample if index or self.halve_first else "none",
                self.residual,
                "channels_in" if index else None,
                self.norm,
                self.activation,
                self.dtype,
                name=f"stage{index + 1}",
            )
            for index, channels in enumerate(self.channels)
        ]
        self.drop = nn.Dropout(self.dropout)
        self.head = classifier_head(self.num_classes)

    def features(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image [batch, h, w, c] -> the last stage's output [batch, h', w', channels]."""
        x = image
        for stage in self.stages:
            x = stage(x, train=train)
        return x

    def classify(self, features: jax.Array, *, train: bool) -> jax.Array:
        """features [batch, h', w', channels] -> logits [batch, classes]."""
        pooled = features.astype(jnp.float32).mean(axis=(1, 2))
        return self.head(self.drop(pooled, deterministic=not train))

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image [batch, h, w, c] float -> logits [batch, classes] float32. Draws from "dropout" in training."""
        return self.classify(self.features(image, train=train), train=train)


class ConvStage(nn.Module):
    """Halving or not, then `depth` times 3x3 convolution, norm, activation.

    [batch, h, w, c] -> [batch, h', w', channels].
    """

    channels: int
    depth: int
    downsample: Literal["none", "stride", "max"]
    residual: bool
    input_axis: str | None
    norm: Normalization
    activation: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for index in range(self.depth):
            first = index == 0
            stride = 2 if first and self.downsample == "stride" else 1
            axis = self.input_axis if first else "channels_in"
            y = convolution(self.channels, 3, stride, dtype=self.dtype, name=f"conv{index + 1}", input_axis=axis)(x)
            if first and self.downsample == "max":
                y = max_pool_2x2(y)  # before the norm, which then has a quarter of the work
            y = self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"norm{index + 1}")(y)
            y = self.activation(y)
            x = constrain(x + y if self.residual and not first else y)
        return x
