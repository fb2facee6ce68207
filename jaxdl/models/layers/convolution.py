"""Convolutions with logical axis names, pooling, upsampling and pixel shuffling."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.layers.dense import variance_scaling


def convolution(
    channels: int,
    size: int,
    stride: int = 1,
    *,
    dtype: Any,
    name: str,
    input_axis: str | None = "channels_in",
    output_axis: str | None = "channels",
    use_bias: bool = False,
    padding: Any = None,
    kernel_init: nn.initializers.Initializer | None = None,
) -> nn.Conv:
    """Returns a square convolution whose kernel is gathered over FSDP axes before use.

    Without the gather XLA (jaxlib 0.10.2, CPU) computes a wrong gradient of the input if batch, input channels and
    output channels are sharded over three different axes.

    Args:
      channels: Number of output channels.
      size: Size of the kernel.
      stride: Stride.
      dtype: Computation dtype.
      name: Name of the module.
      input_axis: Logical name of the kernel's input channels.
      output_axis: Logical name of the kernel's output channels. None: too few to be sharded.
      use_bias: Adds a bias; without one, a normalization should follow.
      padding: Padding, as in `nn.Conv`. None: size // 2 on each side.
      kernel_init: Initializer of the kernel. None: `variance_scaling(2.0, "fan_out")`.
    """
    axes = (None, None, input_axis, output_axis)
    return nn.Conv(
        channels,
        (size, size),
        (stride, stride),
        padding=((size // 2, size // 2),) * 2 if padding is None else padding,
        use_bias=use_bias,
        dtype=jnp.dtype(dtype),
        kernel_init=nn.with_logical_partitioning(kernel_init or variance_scaling(2.0, "fan_out"), axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, axes[3:]),
        conv_general_dilated=functools.partial(_convolve_gathered, output_axis=output_axis),
        name=name,
    )


def _convolve_gathered(x: jax.Array, kernel: jax.Array, *arguments: Any, output_axis: str | None, **options: Any):
    kernel = with_logical_constraint(kernel, (None, None, None, output_axis))
    return jax.lax.conv_general_dilated(x, kernel, *arguments, **options)


def classifier_head(
    outputs: int, bias_init: nn.initializers.Initializer = nn.initializers.zeros, name: str | None = None
) -> nn.Dense:
    """Returns a dense layer from [..., features] to logits float32 [..., outputs]."""
    return nn.Dense(
        outputs,
        dtype=jnp.float32,
        kernel_init=nn.with_logical_partitioning(variance_scaling(1.0), ("embed", "classes")),
        bias_init=nn.with_logical_partitioning(bias_init, ("classes",)),
        name=name,
    )


def constrain(activations: jax.Array) -> jax.Array:
    """Constrains the sharding of activations [batch, height, width, channels]."""
    return with_logical_constraint(activations, ("batch", None, None, "channels_act"))


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Applies 2x2 max pooling; odd last rows and columns are dropped.

    Implemented as pairwise maxima: the backward pass of nn.max_pool on CPU is several times slower, and that of jnp.max
    divides by the number of values equal to the maximum, which is 0 if XLA recomputes them with other rounding.
    """
    batch, height, width, channels = x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
    x = x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, 2 * width, channels)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1]).reshape(batch, height, width, 2, channels)
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])


def upsample_2x(x: jax.Array) -> jax.Array:
    """Upsamples [batch, h, w, c] by nearest neighbour to [batch, 2 * h, 2 * w, c]."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


def unshuffle(image: jax.Array, factor: int) -> jax.Array:
    """Applies pixel unshuffle (arXiv:1710.04026), -> [batch, h / factor, w / factor, factor ** 2 * c]."""
    batch, height, width, channels = image.shape
    rows, columns = height // factor, width // factor
    x = image.reshape(batch, rows, factor, columns, factor, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows, columns, factor * factor * channels)


def shuffle(x: jax.Array, factor: int) -> jax.Array:
    """Applies pixel shuffle, the inverse of `unshuffle`."""
    batch, rows, columns, channels = x.shape
    x = x.reshape(batch, rows, columns, factor, factor, channels // factor**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows * factor, columns * factor, channels // factor**2)
