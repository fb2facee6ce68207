"""Initializers, dense layers, embeddings and stochastic depth, with logical axis names."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.spmd import get_logical_axis_rules
from flax.linen.spmd import logical_to_mesh_axes, with_logical_constraint
from jax.sharding import AxisType, PartitionSpec

from jaxdl.models.layers.cpu import product

Activation = Callable[[jax.Array], jax.Array]


def variance_scaling(scale: float, mode: Literal["fan_in", "fan_out"] = "fan_in") -> nn.initializers.Initializer:
    """`nn.initializers.variance_scaling(scale, mode, "truncated_normal")` for kernels [..., in, out]; the same numbers.

    They are drawn as one vector: XLA takes seconds on CPU to compile each draw with several small dimensions.
    """

    def initialize(key: jax.Array, shape: Any, dtype: Any = jnp.float32, **_: Any) -> jax.Array:
        fan = math.prod(shape[:-2]) * (shape[-2] if mode == "fan_in" else shape[-1])
        # 0.87962566 is the standard deviation of the normal distribution cut off at -2 and 2.
        deviation = math.sqrt(scale / fan) / 0.87962566103423978
        draws = jax.random.truncated_normal(key, -2.0, 2.0, (math.prod(shape),), dtype)
        return (draws * jnp.asarray(deviation, dtype)).reshape(shape)

    return initialize


def normal(deviation: float) -> nn.initializers.Initializer:
    """`nn.initializers.normal(deviation)`, drawn as one vector for the reason given at `variance_scaling`."""

    def initialize(key: jax.Array, shape: Any, dtype: Any = jnp.float32, **_: Any) -> jax.Array:
        return (jax.random.normal(key, (math.prod(shape),), dtype) * jnp.asarray(deviation, dtype)).reshape(shape)

    return initialize


def gathered(parameter: Any) -> jax.Array:
    """A parameter that is stored cut over devices, whole on each of them."""
    return with_logical_constraint(parameter, (None,) * parameter.ndim)


def split(names: Sequence[str | None], shape: Sequence[int]) -> PartitionSpec | None:
    """How an array with those logical axes is cut over the mesh that this is traced for; None without a mesh or rules.
    An axis that does not divide stays whole."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not get_logical_axis_rules() or any(kind == AxisType.Manual for kind in mesh.axis_types):
        return None
    found = []
    for axes, size in zip(logical_to_mesh_axes(tuple(names)) or (), shape):
        parts = math.prod(mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes or ()))
        found.append(axes if size % parts == 0 else None)
    return PartitionSpec(*found)


def with_logical_sharding(x: jax.Array, names: Sequence[str | None]) -> jax.Array:
    """Says how an array lies on the mesh, by a logical name for each axis; see `split`."""
    spec = split(names, x.shape)
    return x if spec is None else jax.lax.with_sharding_constraint(x, spec)


def dense(
    features: int,
    axes: tuple[str | None, str | None] = ("embed", "mlp"),
    *,
    use_bias: bool = True,
    kernel_init: nn.initializers.Initializer | None = None,
    dtype: Any = None,
    name: str | None = None,
) -> nn.Dense:
    """[batch, ..., c] -> [batch, ..., features] by a kernel that FSDP keeps cut along "embed", put together before use.

    Left to itself XLA computes a wrong gradient of the input where batch, input and output features are each cut over
    another mesh axis (see `jaxdl.models.layers.convolution.convolve_gathered`). A pair of ("embed", "mlp") and ("mlp",
    "embed") is cut over the tensor axis as in Megatron-LM (arXiv:1909.08053): what is between them is, and one sum is
    exchanged.

    Args:
      axes: logical names of the kernel's two axes.
      kernel_init: by default `variance_scaling(1.0)` (LeCun).
      dtype: to compute in, such as "bfloat16"; None: that of input and parameters.
    """

    def dot_general(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
        inside, outside = (None if axis == "embed" else axis for axis in axes)
        y = product(x, with_logical_sharding(kernel, (inside, outside)))
        return with_logical_sharding(y, ("batch", *[None] * (y.ndim - 2), outside))

    return nn.Dense(
        features,
        use_bias=use_bias,
        kernel_init=nn.with_logical_partitioning(kernel_init or variance_scaling(1.0), axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, axes[1:]),
        dtype=None if dtype is None else jnp.dtype(dtype),
        dot_general=dot_general,
        name=name,
    )


class Embedding(nn.Module):
    """A vector for each token: int32 [...] -> float32 [..., features]; `attend` gives logits with the same vectors.

    Attributes:
      vocabulary: number of tokens.
      features: size of a vector.
      deviation: standard deviation of the drawn vectors.
    """

    vocabulary: int
    features: int
    deviation: float = 0.02

    def setup(self):
        init = nn.with_logical_partitioning(normal(self.deviation), ("vocab", "embed"))
        self.embedding = self.param("embedding", init, (self.vocabulary, self.features))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return gathered(self.embedding)[tokens]

    def attend(self, x: jax.Array) -> jax.Array:
        """[..., features] -> logits [..., vocabulary]: Press & Wolf 2017, arXiv:1608.05859."""
        return x @ gathered(self.embedding).T


class StochasticDepth(nn.Module):
    """Zeroes the whole residual of an example with probability `rate` in training; [batch, ...] -> [batch, ...].

    What is kept is divided by `1 - rate`. Draws from the "dropout" key. Huang et al. 2016, arXiv:1603.09382.
    """

    rate: float

    @nn.compact
    def __call__(self, residual: jax.Array, *, train: bool) -> jax.Array:
        dropout = nn.Dropout(self.rate, broadcast_dims=tuple(range(1, residual.ndim)))
        return dropout(residual, deterministic=not train)
