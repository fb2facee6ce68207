"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545).

Logical axis names are those of `jaxdl.models.resnet`. A depthwise kernel [size, size, 1, channels] names channels only.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.backbone import Backbone
from jaxdl.models.layers.convolution import classifier_head, constrain, convolution
from jaxdl.models.layers.dense import Activation, StochasticDepth, normal
from jaxdl.models.layers.norms import Normalization, layer_norm

Depthwise = Literal["shifted", "convolution"]


def exact_gelu(x: jax.Array) -> jax.Array:
    """Applies GELU without the tanh approximation of `nn.gelu`, which is faster on CPU."""
    return nn.gelu(x, approximate=False)


def _pad(x: jax.Array, size: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)))


def _shifted_sum(x: jax.Array, kernel: jax.Array) -> jax.Array:
    size, (height, width), padded = kernel.shape[0], x.shape[1:3], _pad(x, kernel.shape[0])
    taps = [(row, column) for row in range(size) for column in range(size)]
    terms = [padded[:, row : row + height, column : column + width] * kernel[row, column, 0] for row, column in taps]
    return functools.reduce(operator.add, terms).astype(x.dtype)


@jax.custom_vjp
def depthwise_shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes a depthwise convolution as a sum of shifted copies, fused into one loop.

    x [batch, h, w, c], kernel float32 [size, size, 1, c] with an odd size -> [batch, h, w, c] in the dtype of x, summed
    in float32. The kernel gradient is a loop over size**2 taps, several times faster than the automatic derivative;
    with several devices each tap is an all-reduce. Forward-mode derivatives (`jax.jvp`) are not supported.
    """
    return _shifted_sum(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _shifted_sum(x, kernel), (x, kernel)


def _backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    size, padded = kernel.shape[0], _pad(x, kernel.shape[0])

    def tap(number: jax.Array) -> jax.Array:
        shifted = jax.lax.dynamic_slice(padded, (0, number // size, number % size, 0), gradient.shape)
        return jnp.sum(shifted.astype(kernel.dtype) * gradient, axis=(0, 1, 2))

    taps = jax.lax.map(tap, jnp.arange(size * size))
    return _shifted_sum(gradient, kernel[::-1, ::-1]), taps.reshape(kernel.shape)


depthwise_shifted.defvjp(_forward, _backward)


class DepthwiseConv(nn.Module):
    """Depthwise convolution, padded by size // 2, [batch, h, w, c] -> the same shape.

    Methods are "shifted" (`depthwise_shifted`) and "convolution" (XLA's grouped convolution), with equal parameters and
    results. Forward and backward pass at [128, 14, 14, 64] on two CPU cores: 60 ms and 175 ms for size 7, 14 ms and 76
    ms for size 3.
    """

    size: int
    method: Depthwise
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, pad = x.shape[-1], (self.size // 2, self.size // 2)
        kernel_init = nn.with_logical_partitioning(normal(0.02), (None, None, None, "channels"))
        bias_init = nn.with_logical_partitioning(nn.initializers.zeros, ("channels",))
        kernel = jnp.asarray(self.param("kernel", kernel_init, (self.size, self.size, 1, channels)))
        bias = jnp.asarray(self.param("bias", bias_init, (channels,)), self.dtype)
        x = x.astype(self.dtype)
        if self.method == "shifted":
            return depthwise_shifted(x, kernel) + bias
        layout = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(
            x, kernel.astype(self.dtype), (1, 1), (pad, pad), dimension_numbers=layout, feature_group_count=channels
        )
        return y + bias


def convolve_patches(x: jax.Array, channels: int, size: int, **options: Any) -> jax.Array:
    """Applies a convolution with bias to non-overlapping patches; `options` are those of `convolution`.

    [batch, h, w, c] -> [batch, h // size, w // size, channels]; incomplete patches at the bottom and right are dropped.
    """
    height, width = x.shape[1:3]
    if min(height, width) < size:
        raise ValueError(
            f"ConvNeXt: {height}x{width} positions are smaller than a {size}x{size} patch; use larger images, a smaller"
            " patch or fewer stages"
        )
    options = {"use_bias": True, "padding": "VALID", "kernel_init": normal(0.02), **options}
    return convolution(channels, size, size, **options)(x)


def pointwise(channels: int, axes: tuple[str, str], *, dtype: Any, name: str) -> nn.Dense:
    """Returns a pointwise convolution with bias; `axes` name the kernel's two axes."""
    gathered = tuple(None if axis == "channels_in" else axis for axis in axes)

    def dot_general(x: jax.Array, kernel: jax.Array, *arguments: Any, **options: Any) -> jax.Array:
        # Needed for the gradient of x (see convolution).
        return jax.lax.dot_general(x, with_logical_constraint(kernel, gathered), *arguments, **options)

    return nn.Dense(
        channels,
        dtype=jnp.dtype(dtype),
        kernel_init=nn.with_logical_partitioning(normal(0.02), axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("channels",)),
        dot_general=dot_general,
        name=name,
    )


class Block(nn.Module):
    """ConvNeXt block: depthwise convolution, inverted bottleneck and layer scale."""

    kernel: int
    depthwise: Depthwise
    layer_scale: float
    stochastic_depth: float
    norm: Normalization
    activation: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1]
        y = DepthwiseConv(self.kernel, self.depthwise, self.dtype, name="depthwise_conv")(x)
        y = self.norm(train=train, dtype=jnp.dtype(self.dtype), name="norm")(y)
        y = pointwise(4 * channels, ("channels_in", "channels"), dtype=self.dtype, name="expand")(y)
        y = constrain(self.activation(y))
        y = pointwise(channels, ("channels", "channels_in"), dtype=self.dtype, name="project")(y)
        scale_init = nn.with_logical_partitioning(nn.initializers.constant(self.layer_scale), ("channels",))
        y = y * jnp.asarray(self.param("layer_scale", scale_init, (channels,)), y.dtype)
        return constrain(x + StochasticDepth(self.stochastic_depth, name="drop")(y, train=train))


class Stage(nn.Module):
    """ConvNeXt stage: downsampling by 2x2 patches if `halve`, then block1, block2, ...

    [batch, h, w, c] -> [batch, h // 2, w // 2, channels], or the input's shape.
    """

    channels: int
    halve: bool
    stochastic_depth: Sequence[float]  # drop probability per block
    kernel: int
    depthwise: Depthwise
    layer_scale: float
    norm: Normalization
    activation: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if self.halve:
            x = self.norm(train=train, dtype=jnp.dtype(self.dtype), name="downsample_norm")(x)
            x = constrain(convolve_patches(x, self.channels, 2, dtype=self.dtype, name="downsample"))
        for index, rate in enumerate(self.stochastic_depth):
            options = (self.norm, self.activation, self.dtype)
            block = Block(self.kernel, self.depthwise, self.layer_scale, rate, *options, name=f"block{index + 1}")
            x = block(x, train=train)
        return x


class Stem(nn.Module):
    """ConvNeXt stem, [batch, h, w, c] -> [batch, h // patch, w // patch, channels]."""

    channels: int
    patch: int
    norm: Normalization
    dtype: Any

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        x = convolve_patches(image, self.channels, self.patch, dtype=self.dtype, name="conv", input_axis=None)
        return constrain(self.norm(train=train, dtype=jnp.dtype(self.dtype), name="norm")(x))


class Head(nn.Module):
    """ConvNeXt head, [batch, h, w, c] -> logits float32 [batch, classes]."""

    num_classes: int
    dropout: float
    norm: Normalization

    def setup(self):
        self.classifier = classifier_head(self.num_classes)
        self.drop = nn.Dropout(self.dropout)

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> jax.Array:
        pooled = features.astype(jnp.float32).mean(axis=(1, 2))
        pooled = self.norm(train=train, dtype=jnp.float32, name="norm")(pooled)
        return self.classifier(self.drop(pooled, deterministic=not train))


class ConvNeXt(Backbone):
    """ConvNeXt with any number of stages.

    Submodules are `stem`, `stage1`, `stage2`, ..., `head`. `classify(features(image))` equals the network's output.

    Attributes:
      stage_sizes: Number of blocks per stage. Every stage after the first halves height and width.
      num_classes: Number of classes.
      channels: Channels of each stage.
      patch: Patch size of the stem; 4 for ImageNet, 2 or 1 for small images.
      kernel: Size of the depthwise convolutions, odd.
      depthwise: Implementation of the depthwise convolutions (see `DepthwiseConv`). "shifted" is faster on CPU.
      layer_scale: Initial layer scale.
      dropout: Dropout rate on the pooled features.
      stochastic_depth: Drop probability of the last block, increasing linearly from 0 at the first.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation in the blocks.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
    """

    stage_sizes: Sequence[int]
    num_classes: int
    channels: Sequence[int] = (96, 192, 384, 768)
    patch: int = 4
    kernel: int = 7
    depthwise: Depthwise = "shifted"
    layer_scale: float = 1e-6
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    norm: Normalization = layer_norm
    activation: Activation = exact_gelu
    dtype: Any = "float32"

    def setup(self):
        if self.depthwise not in ("shifted", "convolution"):
            raise ValueError(f"ConvNeXt(depthwise={self.depthwise!r}) is unknown; use 'shifted' or 'convolution'")
        if self.kernel % 2 == 0:
            raise ValueError(f"ConvNeXt(kernel={self.kernel}) is even; use an odd size")
        if len(self.stage_sizes) != len(self.channels):
            raise ValueError(
                f"ConvNeXt: {len(self.stage_sizes)} stage_sizes and {len(self.channels)} channels must be equally many"
            )
        self.entry = Stem(self.channels[0], self.patch, self.norm, self.dtype, name="stem")
        last = max(sum(self.stage_sizes) - 1, 1)
        rates = [self.stochastic_depth * number / last for number in range(sum(self.stage_sizes))]
        ends = [sum(self.stage_sizes[: index + 1]) for index in range(len(self.stage_sizes))]
        options = (self.kernel, self.depthwise, self.layer_scale, self.norm, self.activation, self.dtype)
        self.stages = [
            Stage(channels, index > 0, tuple(rates[end - size : end]), *options, name=f"stage{index + 1}")
            for index, (channels, size, end) in enumerate(zip(self.channels, self.stage_sizes, ends))
        ]
        self.head = Head(self.num_classes, self.dropout, self.norm)

    def scales(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of every stage [batch, h_i, w_i, channels[i]], finest first."""
        outputs = [self.entry(image, train=train)]
        for stage in self.stages:
            outputs.append(stage(outputs[-1], train=train))
        return tuple(outputs[1:])

    def classify(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [batch, classes] of features [batch, h', w', channels[-1]]."""
        return self.head(features, train=train)


def convnext_tiny(num_classes: int = 1000, **arguments: Any) -> ConvNeXt:
    """Returns ConvNeXt-T, 28,589,128 parameters with 1,000 classes.

    `arguments` are those of `ConvNeXt`.
    """
    arguments = {"stage_sizes": (3, 3, 9, 3), "channels": (96, 192, 384, 768), **arguments}
    return ConvNeXt(num_classes=num_classes, **arguments)
