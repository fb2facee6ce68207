"""Residual networks (ResNet; He et al. 2015, arXiv:1512.03385).

Images are float [batch, height, width, channels]. Parameters and logits are float32; `dtype` is the computation dtype
of convolutions. Padding is symmetric, as in the published weights, unlike TensorFlow's "SAME".

Logical axis names. Parameters: "channels_in" and "channels" (input and output channels of a kernel; scales), "embed"
and "classes" (kernel and bias of the head). Activations: "batch", "channels_act". Input channels of the first kernel (1
or 3) have no name.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.backbone import Backbone
from jaxdl.models.layers.convolution import classifier_head, constrain, convolution
from jaxdl.models.layers.dense import Activation, StochasticDepth
from jaxdl.models.layers.norms import Normalization, batch_norm

StemKind = Literal["small", "strided", "imagenet"]


class ResidualBlock(nn.Module):
    """Residual block of the convolutions `conv1`, `conv2`, ..., each normalized."""

    width: int
    stride: int
    stochastic_depth: float
    norm: Normalization
    activation: Activation
    dtype: Any
    zero_init: bool = True

    @nn.nowrap
    def convolutions(self) -> tuple[tuple[int, int, int], ...]:
        """Returns channels, kernel size and stride of each convolution."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = functools.partial(self.norm, train=train, dtype=jnp.dtype(self.dtype))
        last_scale = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        y, layers = x, self.convolutions()
        for number, (channels, size, stride) in enumerate(layers, start=1):
            y = convolution(channels, size, stride, dtype=self.dtype, name=f"conv{number}")(y)
            if number < len(layers):
                y = constrain(self.activation(norm(name=f"norm{number}")(y)))
        y = norm(name=f"norm{len(layers)}", scale_init=last_scale)(y)
        y = StochasticDepth(self.stochastic_depth, name="drop")(y, train=train)
        return constrain(self.activation(y + shortcut(x, y.shape[-1], self.stride, norm, self.dtype)))


class BasicBlock(ResidualBlock):
    """Basic residual block, [batch, h, w, c] -> [batch, h / stride, w / stride, width]."""

    @nn.nowrap
    def convolutions(self) -> tuple[tuple[int, int, int], ...]:
        return (self.width, 3, self.stride), (self.width, 3, 1)


class Bottleneck(ResidualBlock):
    """Bottleneck residual block; the 3x3 convolution has the stride (version 1.5).

    [batch, h, w, c] -> [batch, h / stride, w / stride, 4 * width].
    """

    @nn.nowrap
    def convolutions(self) -> tuple[tuple[int, int, int], ...]:
        return (self.width, 1, 1), (self.width, 3, self.stride), (4 * self.width, 1, 1)


def shortcut(x: jax.Array, channels: int, stride: int, norm: Normalization, dtype: Any) -> jax.Array:
    """Returns `x`, or a 1x1 convolution of it if the block's output has another shape."""
    if x.shape[-1] == channels and stride == 1:
        return x
    return norm(name="shortcut_norm")(convolution(channels, 1, stride, dtype=dtype, name="shortcut")(x))


class Stage(nn.Module):
    """Residual blocks block1, block2, ... at one resolution; the first has the stride."""

    block: Callable[..., ResidualBlock]
    width: int
    stride: int
    stochastic_depth: Sequence[float]  # drop probability per block

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for index, rate in enumerate(self.stochastic_depth):
            stride = self.stride if index == 0 else 1
            x = self.block(self.width, stride, rate, name=f"block{index + 1}")(x, train=train)
        return x


class Stem(nn.Module):
    """Stem before the stages (see `ResNet.stem`), [batch, h, w, c] -> [batch, h', w', width]."""

    width: int
    kind: StemKind
    norm: Normalization
    activation: Activation
    dtype: Any

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        norm = functools.partial(self.norm, train=train, dtype=jnp.dtype(self.dtype))
        size, stride = {"small": (3, 1), "strided": (3, 2), "imagenet": (7, 2)}[self.kind]
        x = convolution(self.width, size, stride, dtype=self.dtype, name="conv", input_axis=None)(image)
        x = constrain(self.activation(norm(name="norm")(x)))
        if self.kind == "strided":
            x = convolution(self.width, 3, 2, dtype=self.dtype, name="conv2")(x)
            return constrain(self.activation(norm(name="norm2")(x)))
        if self.kind == "small":
            return x
        return nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]


class ResNet(Backbone):
    """Residual network, version 1.5 (stride in the 3x3 convolution of a bottleneck).

    Submodules are `stem`, `stage1`, `stage2`, ..., `head`. `classify(features(image))` equals the network's output.

    Attributes:
      stage_sizes: Number of blocks per stage. Every stage after the first halves height and width and doubles `width`.
      num_classes: Number of classes.
      width: Channels of the first stage. Outputs of a `Bottleneck` have four times as many.
      block: `BasicBlock` or `Bottleneck`.
      stem: "small" (3x3, for images up to 64x64), "imagenet" (7x7 with stride 2, 3x3 max pooling with stride 2) or
        "strided" (two 3x3 with stride 2, which costs less on CPU than max pooling).
      zero_init: The last scale of each block is initially 0, so that blocks are the identity (arXiv:1706.02677).
      dropout: Dropout rate on the pooled features.
      stochastic_depth: Drop probability of the last block, increasing linearly from 0 at the input.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation after each normalization and each residual sum.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
      frozen_stages: Number of stages that, with the stem, run in evaluation mode and get no gradient. 0 for none.
        Weight decay still applies (see `jaxdl.training.optimizers.freeze`).
    """

    stage_sizes: Sequence[int]
    num_classes: int
    width: int = 64
    block: Any = BasicBlock
    stem: StemKind = "small"
    zero_init: bool = True
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    norm: Normalization = batch_norm
    activation: Activation = nn.relu
    dtype: Any = "float32"
    frozen_stages: int = 0

    def setup(self):
        if self.stem not in get_args(StemKind):
            raise ValueError(f"ResNet(stem={self.stem!r}) is unknown; use one of {', '.join(get_args(StemKind))}")
        if not 0 <= self.frozen_stages <= len(self.stage_sizes):
            raise ValueError(f"frozen_stages={self.frozen_stages}, but there are {len(self.stage_sizes)} stages")
        options: dict[str, Any] = {"norm": self.norm, "activation": self.activation, "dtype": self.dtype}
        self.entry = Stem(self.width, self.stem, **options, name="stem")
        block, total = functools.partial(self.block, zero_init=self.zero_init, **options), sum(self.stage_sizes)
        rates = [self.stochastic_depth * (number + 1) / total for number in range(total)]
        ends = [sum(self.stage_sizes[: index + 1]) for index in range(len(self.stage_sizes))]
        self.stages = [
            Stage(
                block,
                self.width * 2**index,
                stride=1 if index == 0 else 2,
                stochastic_depth=tuple(rates[end - size : end]),
                name=f"stage{index + 1}",
            )
            for index, (size, end) in enumerate(zip(self.stage_sizes, ends))
        ]
        self.drop = nn.Dropout(self.dropout)
        self.head = classifier_head(self.num_classes)

    def scales(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of every stage [batch, h_i, w_i, channels_i], finest first."""
        x, outputs = image, []
        for index, part in enumerate((self.entry, *self.stages)):
            frozen = 0 < self.frozen_stages >= index
            x = part(x, train=train and not frozen)
            x = jax.lax.stop_gradient(x) if frozen else x
            outputs.append(x)
        return tuple(outputs[1:])


def resnet50(num_classes: int = 1000, **arguments: Any) -> ResNet:
    """Returns ResNet-50 (version 1.5), 25,557,032 parameters with 1,000 classes.

    `arguments` are those of `ResNet`.
    """
    arguments = {"stage_sizes": (3, 4, 6, 3), "width": 64, "block": Bottleneck, "stem": "imagenet", **arguments}
    return ResNet(num_classes=num_classes, **arguments)
