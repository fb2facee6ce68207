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
    """A square convolution without bias (a norm follows), padded by size // 2 on every side."""
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
    """`jax.lax.conv_general_dilated` by a kernel that FSDP keeps cut along its input channels, put together first.

    Left to itself XLA (jaxlib 0.10.2, CPU) computes a wrong gradient of `x` where batch, input channels and output
    channels are all cut, each over an axis of its own.
    """
    kernel = with_logical_constraint(kernel, (None, None, None, "channels"))
    return jax.lax.conv_general_dilated(x, kernel, *arguments, **options)


def convolve_whole(x: jax.Array, kernel: jax.Array, *arguments: Any, **options: Any) -> jax.Array:
    """As `convolve_gathered`, by a kernel with so few output channels that they are not cut either."""
    return jax.lax.conv_general_dilated(x, gathered(kernel), *arguments, **options)


def classifier_head(num_classes: int) -> nn.Dense:
    """[batch, features] -> logits [batch, classes], in float32."""
    return nn.Dense(
        num_classes,
        dtype=jnp.float32,
        kernel_init=nn.with_logical_partitioning(variance_scaling(1.0), ("embed", "classes")),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("classes",)),
    )


def constrain(activations: jax.Array) -> jax.Array:
    """Says how activations [batch, height, width, channels] lie on the mesh."""
    return with_logical_constraint(activations, ("batch", None, None, "channels_act"))


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """[batch, h, w, c] -> [batch, h // 2, w // 2, c]: 2x2 windows; an odd last row or column is dropped.

    Maxima of pairs: the backward pass of nn.max_pool on CPU is several times slower, and that of jnp.max divides by the
    number of values equal to the maximum, which is 0, so NaN, where XLA computes them twice and rounds differently.
    """
    batch, height, width, channels = x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
    x = x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, 2 * width, channels)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1]).reshape(batch, height, width, 2, channels)
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])


def upsample_2x(x: jax.Array) -> jax.Array:
    """[batch, h, w, c] -> [batch, 2 * h, 2 * w, c]: every value four times (nearest neighbour)."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)
