"""Layers that several model families share: initializers, normalization, stochastic depth, with logical axis names.

A normalization factory is any function with the signature of `batch_norm`: models take one as an argument, so
`functools.partial(batch_norm, momentum=0.95)` or `group_norm` go where `batch_norm` stands.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core.spmd import get_logical_axis_rules
from flax.linen.spmd import logical_to_mesh_axes, with_logical_constraint
from jax.sharding import AxisType, PartitionSpec

Normalization = Callable[..., nn.Module]
Activation = Callable[[jax.Array], jax.Array]

# The axis of jax.pmap and shard_map over which a batch is split; see batch_norm.
DATA_AXIS = "data"


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


def bound_axis(name: str = DATA_AXIS) -> str | None:
    """`name` if a mapped axis of that name is bound here (in jax.pmap or shard_map), else None.

    Under `jax.jit` over a sharded batch nothing is bound: there the arrays are global already.
    """
    try:
        jax.lax.axis_size(name)
    except NameError:
        return None
    return name


def batch_norm(
    *,
    train: bool,
    dtype: Any = jnp.float32,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
    name: str | None = None,
) -> nn.Module:
    """Batch normalization whose statistics cover the GLOBAL batch (Ioffe & Szegedy 2015, arXiv:1502.03167).

    Under jit over a sharded batch XLA averages over the devices; inside `jax.pmap` or `shard_map` with an axis "data"
    the statistics are averaged over that axis. Call it inside a module's `__call__`: it looks for the axis there.

    Args:
      train: normalize with the batch's statistics and update the running ones; else use the running ones.
      dtype: of the output. Statistics, scale and bias are float32 always.
      momentum: of the running statistics, `running = momentum * running + (1 - momentum) * batch`.
      epsilon: added to the variance.
      scale_init: initializer of the scale [channels].
      name: of the module; parameters `scale`, `bias`, batch_stats `mean`, `var`, all [channels].
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        dtype=dtype,
        scale_init=nn.with_logical_partitioning(scale_init, ("channels",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("channels",)),
        axis_name=bound_axis(),
        name=name,
    )


def group_norm(
    *,
    train: bool,
    dtype: Any = jnp.float32,
    group_size: int = 8,
    epsilon: float = 1e-5,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
    name: str | None = None,
) -> nn.Module:
    """Group normalization (Wu & He 2018, arXiv:1803.08494): each example by itself, so examples stay independent.

    Args as in `batch_norm`; `group_size` is the number of channels in a group and must divide the channels.
    """
    del train  # the same in training and evaluation
    return GroupNorm(group_size, epsilon, dtype, scale_init, name=name)


class GroupNorm(nn.Module):
    """Group normalization of [batch, ..., channels] with a scale and a bias for each channel (arXiv:1803.08494).

    It adds up over positions first, channel by channel, and only then over the channels of a group: in that order XLA's
    sums run over neighbours in memory. On CPU its forward pass is faster than that of `nn.GroupNorm`, whose parameters
    it has.

    Attributes:
      group_size: channels of a group; must divide the channels.
      epsilon: added to the variance.
      dtype: of the output; all is computed in float32.
      scale_init: of the scale [channels].
    """

    group_size: int
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Raises ValueError if the groups do not divide the channels."""
        channels, middle = x.shape[-1], tuple(range(1, x.ndim - 1))
        if channels % self.group_size:
            raise ValueError(f"groups of {self.group_size} do not divide {channels} channels")
        scale: Any = self.param("scale", nn.with_logical_partitioning(self.scale_init, ("channels",)), (channels,))
        bias: Any = self.param("bias", nn.with_logical_partitioning(nn.initializers.zeros, ("channels",)), (channels,))
        values = x.astype(jnp.float32)
        mean = self._group_mean(jnp.mean(values, axis=middle))
        variance = jnp.maximum(self._group_mean(jnp.mean(jnp.square(values), axis=middle)) - jnp.square(mean), 0.0)
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale
        wide = (x.shape[0], *(1,) * len(middle), channels)
        return (values * factor.reshape(wide) + (bias - mean * factor).reshape(wide)).astype(self.dtype)

    def _group_mean(self, each: jax.Array) -> jax.Array:
        """[batch, channels] -> the mean over the channels of a group, for each of them."""
        groups = each.reshape(each.shape[0], -1, self.group_size)
        return jnp.broadcast_to(groups.mean(-1, keepdims=True), groups.shape).reshape(each.shape)


def layer_norm(
    *,
    train: bool,
    dtype: Any = jnp.float32,
    epsilon: float = 1e-6,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
    name: str | None = None,
) -> nn.Module:
    """Layer normalization over each position's channels (Ba et al. 2016, arXiv:1607.06450).

    Args as in `batch_norm`.
    """
    del train  # the same in training and evaluation
    return nn.LayerNorm(
        epsilon=epsilon,
        dtype=dtype,
        scale_init=nn.with_logical_partitioning(scale_init, ("channels",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("channels",)),
        name=name,
    )


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


def laid_out(x: jax.Array, names: Sequence[str | None]) -> jax.Array:
    """Says how an array lies on the mesh, by a logical name for each axis; see `split`."""
    spec = split(names, x.shape)
    return x if spec is None else jax.lax.with_sharding_constraint(x, spec)


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., n] @ [n, m], whose gradient is fast on CPU. There is no forward-mode derivative.

    For the kernel's gradient XLA transposes one of two operands, and computes what came before it, such as an
    activation, once more along the wrong axis: a feed-forward network with GELU took 2.5 times as long. Here the
    narrower operand is the one that is transposed.
    """
    return x @ kernel


def _product_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel, (x, kernel)


def _product_backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    rows, columns = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    over = (((0,), (0,)), ((), ()))
    if rows.shape[1] <= columns.shape[1]:
        of_kernel = jax.lax.dot_general(rows, columns, over)
    else:
        of_kernel = jax.lax.dot_general(columns, rows, over).T
    of_x = jax.lax.dot_general(gradient, kernel, (((gradient.ndim - 1,), (1,)), ((), ())))
    return of_x, of_kernel


product.defvjp(_product_forward, _product_backward)


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
    another mesh axis (see `jaxdl.models.cnn.convolve_gathered`). A pair of ("embed", "mlp") and ("mlp", "embed") is cut
    over the tensor axis as in Megatron-LM (arXiv:1909.08053): what is between them is, and one sum is exchanged.

    Args:
      axes: logical names of the kernel's two axes.
      kernel_init: by default `variance_scaling(1.0)` (LeCun).
      dtype: to compute in, such as "bfloat16"; None: that of input and parameters.
    """

    def dot_general(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
        inside, outside = (None if axis == "embed" else axis for axis in axes)
        y = product(x, laid_out(kernel, (inside, outside)))
        return laid_out(y, ("batch", *[None] * (y.ndim - 2), outside))

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


def grid_waves(rows: int, columns: int, features: int) -> np.ndarray:
    """Sinusoids of row and column, a half for each, of a map's positions; float32 [rows * columns, features]."""
    frequency = 10000.0 ** (-np.arange(features // 4) / (features / 4))

    def waves(position: np.ndarray) -> np.ndarray:
        angle = position.reshape(-1)[:, None] * frequency
        return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)

    row, column = np.indices((rows, columns))
    return np.concatenate([waves(column), waves(row)], axis=1).astype(np.float32)


def upsample_2x(x: jax.Array) -> jax.Array:
    """[batch, h, w, c] -> [batch, 2 * h, 2 * w, c]: every value four times (nearest neighbour)."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


class StochasticDepth(nn.Module):
    """Zeroes the whole residual of an example with probability `rate` in training; [batch, ...] -> [batch, ...].

    What is kept is divided by `1 - rate`. Draws from the "dropout" key. Huang et al. 2016, arXiv:1603.09382.
    """

    rate: float

    @nn.compact
    def __call__(self, residual: jax.Array, *, train: bool) -> jax.Array:
        dropout = nn.Dropout(self.rate, broadcast_dims=tuple(range(1, residual.ndim)))
        return dropout(residual, deterministic=not train)
