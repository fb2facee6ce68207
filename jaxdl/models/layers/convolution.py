"""Convolutions with logical axis names, pooling and upsampling."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.layers.dense import gathered, variance_scaling


def convolution(
    channels: int, size: int, stride: int = 1, *, dtype: Any, name: str, input_axis: str | None = "channels_in"
) -> nn.Conv:
    """Returns a square convolution without bias, to be normalized, with padding size // 2."""
    return nn.Conv(
        channels,
        (size, size),
        (stride, stride),
        padding=((size // 2, size // 2),) * 2,
        use_bias=False,
        dtype=jnp.dtype(dtype),
        kernel_init=nn.with_logical_partitioning(
            variance_scaling(2.0, "fan_out"), (None, None, input_axis, "channels")
        ),
        conv_general_dilated=convolve_gathered,
        name=name,
    )


def convolve_gathered(x: jax.Array, kernel: jax.Array, *arguments: Any, **options: Any) -> jax.Array:
    """Applies a convolution after gathering an FSDP kernel over its input channels.

    Without the gather XLA (jaxlib 0.10.2, CPU) computes a wrong gradient of `x` if batch, input channels and output
    channels are sharded over three different axes.
    """
    kernel = with_logical_constraint(kernel, (None, None, None, "channels"))
    return jax.lax.conv_general_dilated(x, kernel, *arguments, **options)


def convolve_whole(x: jax.Array, kernel: jax.Array, *arguments: Any, **options: Any) -> jax.Array:
    """Applies `convolve_gathered` with a kernel whose output channels are too few to be sharded."""
    return jax.lax.conv_general_dilated(x, gathered(kernel), *arguments, **options)


def classifier_head(num_classes: int) -> nn.Dense:
    """Returns a dense layer from [batch, features] to logits float32 [batch, classes]."""
    return nn.Dense(
        num_classes,
        dtype=jnp.float32,
        kernel_init=nn.with_logical_partitioning(variance_scaling(1.0), ("embed", "classes")),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("classes",)),
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
