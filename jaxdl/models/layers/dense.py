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
    """Returns a truncated normal variance scaling initializer of kernels [..., in, out].

    Values equal Flax's, but are drawn as one vector: XLA:CPU takes seconds to compile draws with small dimensions.
    """

    def initialize(key: jax.Array, shape: Any, dtype: Any = jnp.float32, **_: Any) -> jax.Array:
        fan = math.prod(shape[:-2]) * (shape[-2] if mode == "fan_in" else shape[-1])
        # 0.87962566 is the std of the standard normal distribution truncated to [-2, 2].
        std = math.sqrt(scale / fan) / 0.87962566103423978
        draws = jax.random.truncated_normal(key, -2.0, 2.0, (math.prod(shape),), dtype)
        return (draws * jnp.asarray(std, dtype)).reshape(shape)

    return initialize


def normal(std: float) -> nn.initializers.Initializer:
    """Returns `nn.initializers.normal(std)`, drawn as one vector (see `variance_scaling`)."""

    def initialize(key: jax.Array, shape: Any, dtype: Any = jnp.float32, **_: Any) -> jax.Array:
        return (jax.random.normal(key, (math.prod(shape),), dtype) * jnp.asarray(std, dtype)).reshape(shape)

    return initialize


def gathered(parameter: Any) -> jax.Array:
    """Returns a sharded parameter gathered onto every device."""
    return with_logical_constraint(parameter, (None,) * parameter.ndim)


def logical_partition_spec(names: Sequence[str | None], shape: Sequence[int]) -> PartitionSpec | None:
    """Returns the partition spec of an array with logical axes on the current mesh.

    Axes that are not divisible by their mesh axes are not sharded. None without a mesh or axis rules.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not get_logical_axis_rules() or any(kind == AxisType.Manual for kind in mesh.axis_types):
        return None
    spec = []
    for axes, size in zip(logical_to_mesh_axes(tuple(names)) or (), shape):
        shards = math.prod(mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes or ()))
        spec.append(axes if size % shards == 0 else None)
    return PartitionSpec(*spec)


def with_logical_sharding(x: jax.Array, names: Sequence[str | None]) -> jax.Array:
    """Constrains the sharding of an array by logical axis names (see `logical_partition_spec`)."""
    spec = logical_partition_spec(names, x.shape)
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
    """Returns a dense layer whose kernel is gathered over FSDP axes ("embed") before use.

    Without the gather XLA computes a wrong input gradient if batch, input and output features are sharded over
    different mesh axes (see `jaxdl.models.layers.convolution.convolution`). A pair of layers with axes ("embed",
    "mlp") and ("mlp", "embed") is tensor-parallel as in Megatron-LM (arXiv:1909.08053), with one all-reduce.

    Args:
      features: Number of output features.
      axes: Logical names of the kernel's two axes.
      use_bias: Adds a bias.
      kernel_init: Initializer of the kernel. None: `variance_scaling(1.0)` (LeCun initialization).
      dtype: Computation dtype, such as "bfloat16". None: that of input and parameters.
      name: Name of the module.
    """

    def dot_general(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
        in_axis, out_axis = (None if axis == "embed" else axis for axis in axes)
        y = product(x, with_logical_sharding(kernel, (in_axis, out_axis)))
        return with_logical_sharding(y, ("batch", *[None] * (y.ndim - 2), out_axis))

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
    """Token embedding, int32 [...] -> float32 [..., features].

    Attributes:
      vocabulary: Number of tokens.
      features: Width of the embedding.
      init_std: Std of the initial embeddings.
    """

    vocabulary: int
    features: int
    init_std: float = 0.02

    def setup(self):
        init = nn.with_logical_partitioning(normal(self.init_std), ("vocab", "embed"))
        self.embedding = self.param("embedding", init, (self.vocabulary, self.features))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return gathered(self.embedding)[tokens]

    def attend(self, x: jax.Array) -> jax.Array:
        """Returns logits [..., vocabulary] with tied weights (arXiv:1608.05859)."""
        return x @ gathered(self.embedding).T


class StochasticDepth(nn.Module):
    """Stochastic depth (Huang et al. 2016, arXiv:1603.09382).

    [batch, ...] -> [batch, ...]. Other residuals are divided by `1 - rate`. Draws from the key "dropout".

    Attributes:
      rate: Probability of dropping a residual.
    """

    rate: float

    @nn.compact
    def __call__(self, residual: jax.Array, *, train: bool) -> jax.Array:
        dropout = nn.Dropout(self.rate, broadcast_dims=tuple(range(1, residual.ndim)))
        return dropout(residual, deterministic=not train)
