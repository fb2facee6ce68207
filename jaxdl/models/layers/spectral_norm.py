"""Spectral normalization (Miyato et al. 2018, arXiv:1802.05957).

Kernels are divided by their largest singular value as matrices [other axes, output channels], which power iteration
estimates from a vector `u` [output channels] in the collection "spectral". Layers only read `u`. A task calls
`power_iteration` once per step, so that micro-batches and devices use equal values.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.layers.dense import gathered, normal, variance_scaling

COLLECTION = "spectral"
# Initial iterations from a random vector: after one only, kernels of the first steps would be too large.
_FIRST = 15


def spectral_norm(kernel: jax.Array, u: jax.Array) -> jax.Array:
    """Returns a lower bound [] of the largest singular value of a kernel [..., channels].

    As in the paper the singular vectors get no gradient; the value's gradient is their outer product.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    u = _unit(u)  # a moving average of unit vectors is shorter than 1
    v = jax.lax.stop_gradient(_unit(matrix @ u))
    return v @ (matrix @ u)


def power_iteration(params: Mapping[str, Any], spectral: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the collection "spectral" after one power iteration of each vector.

    Args:
      params: Parameters of the same module, with weights named `kernel`.
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
    """Returns the gathered parameter divided by its largest singular value."""
    kernel = gathered(parameter)

    def initial() -> jax.Array:
        start = normal(1.0)(module.make_rng("params"), kernel.shape[-1:])
        return jax.lax.fori_loop(0, _FIRST, lambda _, u: _iterate(kernel, u), start)

    return kernel / spectral_norm(kernel, module.variable(COLLECTION, "u", initial).value)


class SpectralConv(nn.Module):
    """Square convolution of spectral norm 1 with padding size // 2."""

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
    """Dense layer of spectral norm 1 in float32, [batch, c] -> [batch, features]."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.with_logical_partitioning(variance_scaling(1.0), ("embed", "classes"))
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("classes",))
        return x @ _normalized(self, kernel) + jnp.asarray(self.param("bias", zeros, (self.features,)))


class SpectralEmbedding(nn.Module):
    """Class embedding of spectral norm 1, int32 [batch] -> [batch, features]."""

    classes: int
    features: int

    @nn.compact
    def __call__(self, label: jax.Array) -> jax.Array:
        init = nn.with_logical_partitioning(normal(1.0), ("classes", "embed"))
        return _normalized(self, self.param("kernel", init, (self.classes, self.features)))[label]
