"""Normalization layers and factories: batch, group and layer normalization.

A normalization factory is any function with the signature of `batch_norm`: models take one as an argument, so
`functools.partial(batch_norm, momentum=0.95)` or `group_norm` can replace `batch_norm`.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Normalization = Callable[..., nn.Module]

# The axis of jax.pmap and shard_map over which a batch is split; see batch_norm.
DATA_AXIS = "data"


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
