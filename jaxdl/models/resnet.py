"""Convolutional networks for images: ConvNet (small) and ResNet (He et al. 2015, arXiv:1512.03385).

Images are float [batch, height, width, channels]. Parameters are float32; `dtype` is what convolutions compute in, and
logits are always float32. Padding is symmetric, as in the networks' published weights, not TensorFlow's "SAME".

Logical axis names. Parameters: "channels_in" and "channels" (a kernel's input and output channels; scales), "embed" and
"classes" (the head's kernel and bias). Activations: "batch", "channels_act". The first kernel's input channels (1 or 3)
have no name.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.convolution import classifier_head, constrain, convolution
from jaxdl.models.layers.dense import Activation, StochasticDepth
from jaxdl.models.layers.norms import Normalization, batch_norm

StemKind = Literal["small", "strided", "imagenet"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut. [batch, h, w, c] -> [batch, h / stride, w / stride, width]."""

    width: int
    stride: int
    norm: Normalization
    activation: Activation
    dtype: Any
    zero_init: bool
    stochastic_depth: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = functools.partial(self.norm, train=train, dtype=jnp.dtype(self.dtype))
        last_scale = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        y = convolution(self.width, 3, self.stride, dtype=self.dtype, name="conv1")(x)
        y = constrain(self.activation(norm(name="norm1")(y)))
        y = convolution(self.width, 3, dtype=self.dtype, name="conv2")(y)
        y = norm(name="norm2", scale_init=last_scale)(y)
        y = StochasticDepth(self.stochastic_depth, name="drop")(y, train=train)
        return constrain(self.activation(y + shortcut(x, self.width, self.stride, norm, self.dtype)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the stride is in the 3x3 (version 1.5).

    [batch, h, w, c] -> [batch, h / stride, w / stride, 4 * width].
    """

    width: int
    stride: int
    norm: Normalization
    activation: Activation
    dtype: Any
    zero_init: bool
    stochastic_depth: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = functools.partial(self.norm, train=train, dtype=jnp.dtype(self.dtype))
        last_scale = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        y = convolution(self.width, 1, dtype=self.dtype, name="conv1")(x)
        y = constrain(self.activation(norm(name="norm1")(y)))
        y = convolution(self.width, 3, self.stride, dtype=self.dtype, name="conv2")(y)
        y = constrain(self.activation(norm(name="norm2")(y)))
        y = convolution(4 * self.width, 1, dtype=self.dtype, name="conv3")(y)
        y = norm(name="norm3", scale_init=last_scale)(y)
        y = StochasticDepth(self.stochastic_depth, name="drop")(y, train=train)
        return constrain(self.activation(y + shortcut(x, 4 * self.width, self.stride, norm, self.dtype)))


def shortcut(x: jax.Array, channels: int, stride: int, norm: Normalization, dtype: Any) -> jax.Array:
    """`x` itself where its shape fits a block's output, else a 1x1 convolution of it. Called inside a block."""
    if x.shape[-1] == channels and stride == 1:
        return x
    return norm(name="shortcut_norm")(convolution(channels, 1, stride, dtype=dtype, name="shortcut")(x))


class Stage(nn.Module):
    """Blocks at one resolution, block1, block2, ...; the first one halves it if `stride` is 2."""

    blocks: int
    width: int
    stride: int
    block: Any
    norm: Normalization
    activation: Activation
    dtype: Any
    zero_init: bool
    stochastic_depth: Sequence[float]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for index in range(self.blocks):
            x = self.block(
                width=self.width,
                stride=self.stride if index == 0 else 1,
                norm=self.norm,
                activation=self.activation,
                dtype=self.dtype,
                zero_init=self.zero_init,
                stochastic_depth=self.stochastic_depth[index],
                name=f"block{index + 1}",
            )(x, train=train)
        return x


class Stem(nn.Module):
    """What comes before the stages, see `ResNet.stem`; [batch, h, w, c] -> [batch, h', w', width]."""

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


class ResNet(nn.Module):
    """Residual network, version 1.5 (stride in the 3x3 convolution of a bottleneck).

    Sub-modules `stem`, `stage1`, `stage2`, ..., `head`: a stage's output can be captured by its name, and
    `classify(features(image))` splits the network at the last one.

    Attributes:
      stage_sizes: blocks in each stage; every stage after the first halves height and width, doubles the width.
      num_classes: size of the output.
      width: channels of the first stage (a Bottleneck puts out 4 times as many).
      block: `BasicBlock` or `Bottleneck`.
      stem: "small" (3x3, no pooling; images up to 64x64), "imagenet" (7x7 stride 2, 3x3 maximum stride 2) or "strided"
        (twice 3x3 stride 2, which costs less on CPU than a maximum).
      zero_init: start the last scale of each block at 0, so that blocks start as the identity (arXiv:1706.02677).
      dropout: rate on the pooled features in training.
      stochastic_depth: probability to skip the last block in training; growing linearly from 0 at the input.
      norm: factory with the signature of `jaxdl.models.layers.norms.batch_norm`.
      activation: after each norm and each sum.
      dtype: what convolutions compute in, "float32" or "bfloat16".
      frozen_stages: run the stem and this many stages in training as in evaluation (norms use their running statistics
        and leave them as they are), and pass no gradient to them; 0: none. Weight decay moves them still: see
        `jaxdl.training.optimizers.freeze`.
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
            raise ValueError(f"ResNet(stem={self.stem!r}): use one of {', '.join(get_args(StemKind))}")
        if not 0 <= self.frozen_stages <= len(self.stage_sizes):
            raise ValueError(f"ResNet(frozen_stages={self.frozen_stages}): there are {len(self.stage_sizes)} stages")
        self.entry = Stem(self.width, self.stem, self.norm, self.activation, self.dtype, name="stem")
        total = sum(self.stage_sizes)
        self.stages = [
            Stage(
                blocks=blocks,
                width=self.width * 2**index,
                stride=1 if index == 0 else 2,
                block=self.block,
                norm=self.norm,
                activation=self.activation,
                dtype=self.dtype,
                zero_init=self.zero_init,
                stochastic_depth=tuple(
                    self.stochastic_depth * (before + 1) / total
                    for before in range(sum(self.stage_sizes[:index]), sum(self.stage_sizes[: index + 1]))
                ),
                name=f"stage{index + 1}",
            )
            for index, blocks in enumerate(self.stage_sizes)
        ]
        self.drop = nn.Dropout(self.dropout)
        self.head = classifier_head(self.num_classes)

    def features(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image [batch, h, w, c] -> the last stage's output [batch, h', w', features]."""
        return self.scales(image, train=train)[-1]

    def scales(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """image [batch, h, w, c] -> the output of every stage [batch, h_i, w_i, channels_i], finest first."""
        x, outputs = image, []
        for index, part in enumerate((self.entry, *self.stages)):
            frozen = 0 < self.frozen_stages >= index
            x = part(x, train=train and not frozen)
            x = jax.lax.stop_gradient(x) if frozen else x
            outputs.append(x)
        return tuple(outputs[1:])

    def classify(self, features: jax.Array, *, train: bool) -> jax.Array:
        """features [batch, h', w', features] -> logits [batch, classes]."""
        pooled = features.astype(jnp.float32).mean(axis=(1, 2))
        return self.head(self.drop(pooled, deterministic=not train))

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image [batch, h, w, c] float -> logits [batch, classes] float32. Draws from "dropout" in training."""
        return self.classify(self.features(image, train=train), train=train)


def resnet50(num_classes: int = 1000, **arguments: Any) -> ResNet:
    """ResNet-50 (version 1.5): 25,557,032 parameters with 1,000 classes. `arguments` are those of ResNet."""
    arguments = {"stage_sizes": (3, 4, 6, 3), "width": 64, "block": Bottleneck, "stem": "imagenet", **arguments}
    return ResNet(num_classes=num_classes, **arguments)
