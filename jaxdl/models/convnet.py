"""Small convolutional network for image classification.

Images are float [batch, height, width, channels]. Logical axis names are those of `jaxdl.models.resnet`.
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.backbone import Backbone
from jaxdl.models.layers.convolution import classifier_head, constrain, convolution, max_pool_2x2
from jaxdl.models.layers.dense import Activation
from jaxdl.models.layers.norms import Normalization, batch_norm


class ConvNet(Backbone):
    """Convolutional classifier of images from 8x8 to 32x32 pixels.

    Attributes:
      num_classes: Number of classes.
      channels: Channels of each stage. Every stage after the first halves height and width.
      depth: Number of convolutions per stage.
      downsample: "stride", a stride of 2 in a stage's first convolution, or "max", 2x2 max pooling after it.
      halve_first: The first stage halves height and width, too.
      residual: Residual connections around a stage's convolutions after the first.
      dropout: Dropout rate on the pooled features.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation after each normalization.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
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
            raise ValueError(f"ConvNet(downsample={self.downsample!r}) is unknown; use 'stride' or 'max'")
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

    def scales(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        outputs = [image]
        for stage in self.stages:
            outputs.append(stage(outputs[-1], train=train))
        return tuple(outputs[1:])


class ConvStage(nn.Module):
    """Stage of 3x3 convolutions with normalization and optional downsampling.

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
                y = max_pool_2x2(y)  # before the normalization, which then costs a quarter
            y = self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"norm{index + 1}")(y)
            y = self.activation(y)
            x = constrain(x + y if self.residual and not first else y)
        return x
