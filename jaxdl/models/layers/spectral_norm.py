"""Spectral normalization: kernels divided by their largest singular value (Miyato et al. 2018, arXiv:1802.05957).

A kernel counts as the matrix [everything else, output channels]. Its largest singular value is found by power
iteration from a vector `u` [output channels] in the collection "spectral", which lies where the kernel does. Layers
only read `u`; whoever trains calls `power_iteration` once a step, so that micro-batches and devices share one value.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.layers.dense import gathered, normal, variance_scaling

COLLECTION = "spectral"
# Iterations at the start, from a random vector: one would make the first steps' kernels too large.
_FIRST = 15


def spectral_norm(kernel: jax.Array, u: jax.Array) -> jax.Array:
    """[] an estimate from below of the largest singular value of a kernel [..., channels], given `u` [channels].

    No gradient goes to the singular vectors, as in the paper: that of the value is theirs' outer product.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    u = _unit(u)  # a moving average of unit vectors is shorter than 1
    v = jax.lax.stop_gradient(_unit(matrix @ u))
    return v @ (matrix @ u)


def power_iteration(params: Mapping[str, Any], spectral: Mapping[str, Any]) -> dict[str, Any]:
    """The collection "spectral" after one more iteration of every vector in it.

    Args:
      params: of the same module, whose layers hold their weights as `kernel`.
      spectral: {layer: ... {"u": [channels]}}.
    """
    return {
        name: _iterate(gathered(params["kernel"]), value) if name == "u" else power_iteration(params[name], value)
        for name, value in spectral.items()
    }


def _iterate(kernel: jax.Array, u: jax.Array) -> jax.Array:
    matrix = jax.lax.stop_gradient(kernel).reshape(-1, kernel.shape[-1])
    return _unit(_unit(matrix @ u) @ matrix)


def _unit(vector: jax.Array) -> jax.Array:
    return vector * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(vector)), 1e-24))


def _normalized(module: nn.Module, parameter: Any) -> jax.Array:
    """The parameter, whole on every device, divided by its largest singular value."""
    kernel = gathered(parameter)

    def first() -> jax.Array:
        start = normal(1.0)(module.make_rng("params"), kernel.shape[-1:])
        return jax.lax.fori_loop(0, _FIRST, lambda _, u: _iterate(kernel, u), start)

    return kernel / spectral_norm(kernel, module.variable(COLLECTION, "u", first).value)


class SpectralConv(nn.Module):
    """A square convolution of spectral norm 1, padded by size // 2 on every side.

    [batch, h, w, c] -> [batch, h, w, channels]. Variable `u` [channels] in "spectral".
    """

    channels: int
    size: int
    input_axis: str | None = "channels_in"
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.with_logical_partitioning(variance_scaling(1.0), (None, None, self.input_axis, "channels"))
        kernel = self.param("kernel", init, (self.size, self.size, x.shape[-1], self.channels))
        zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("channels",))
        bias = self.param("bias", zeros, (self.channels,))
        kernel = with_logical_constraint(_normalized(self, kernel), (None, None, None, "channels"))
        x, kernel = x.astype(self.dtype), jnp.asarray(kernel, self.dtype)
        padding = ((self.size // 2, self.size // 2),) * 2
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return x + jnp.asarray(bias, self.dtype)


class SpectralDense(nn.Module):
    """[batch, c] -> [batch, features] by a matrix of spectral norm 1; float32."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.with_logical_partitioning(variance_scaling(1.0), ("embed", "classes"))
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("classes",))
        return x @ _normalized(self, kernel) + jnp.asarray(self.param("bias", zeros, (self.features,)))


class SpectralEmbedding(nn.Module):
    """A vector for each class, int32 [batch] -> [batch, features], rows of a matrix of spectral norm 1."""

    classes: int
    features: int

    @nn.compact
    def __call__(self, label: jax.Array) -> jax.Array:
        init = nn.with_logical_partitioning(normal(1.0), ("classes", "embed"))
        return _normalized(self, self.param("kernel", init, (self.classes, self.features)))[label]
