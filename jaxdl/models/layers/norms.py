"""Normalization layers and factories: batch, group and layer normalization, and RMSNorm.

A normalization factory is a function with the signature of `batch_norm`, such as `group_norm` or
`functools.partial(batch_norm, momentum=0.95)`. Models take one as an argument.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Normalization = Callable[..., nn.Module]

# Axis of jax.pmap and shard_map over which a batch is sharded; see batch_norm.
DATA_AXIS = "data"


def bound_axis(name: str = DATA_AXIS) -> str | None:
    """Returns `name` if jax.pmap or shard_map binds an axis of that name, else None.

    Under `jax.jit` over a sharded batch no axis is bound, because arrays are global.
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
    """Returns batch normalization over the global batch (arXiv:1502.03167).

    Statistics are averaged over devices: by XLA under jit, and over a bound axis "data" in `jax.pmap` or `shard_map`.
    Call it inside a module's `__call__`, where the axis is bound.

    Args:
      train: Normalizes with batch statistics and updates the running statistics, which are used otherwise.
      dtype: Dtype of the output. Statistics, scale and bias are float32.
      momentum: Decay of the running statistics, `running = momentum * running + (1 - momentum) * batch`.
      epsilon: Epsilon added to the variance.
      scale_init: Initializer of the scale [channels].
      name: Name of the module. Parameters `scale` and `bias`, batch_stats `mean` and `var`, all [channels].
    """
    return BatchNorm(
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        dtype=dtype,
        scale_init=nn.with_logical_partitioning(scale_init, ("channels",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("channels",)),
        axis_name=bound_axis(),
        name=name,
    )


class BatchNorm(nn.BatchNorm):
    """Batch normalization over the last axis, computed as `x * factor + offset` (arXiv:1502.03167).

    Factor and offset are computed per channel, so the gradient needs two sums over the batch, of `dy` and `dy * x`;
    that of `nn.BatchNorm` needs three, and steps take 3 to 4% longer (ConvNet and U-Net, 2 cores). Attributes,
    parameters and variables are those of `nn.BatchNorm`.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalizes x [..., channels] in float32; raises a ValueError for attributes that are not supported."""
        if (self.axis, self.use_bias, self.use_scale, self.axis_index_groups) != (-1, True, True, None):
            raise ValueError("BatchNorm normalizes over the last axis with scale and bias; use flax.linen.BatchNorm")
        shape = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        values = x.astype(jnp.float32)
        mean, var = running_mean.value, running_var.value
        if not self.use_running_average:
            axes = range(x.ndim - 1)
            moments = jnp.stack([jnp.mean(values, axes), jnp.mean(jnp.square(values), axes)])
            if self.axis_name is not None and not self.is_initializing():
                moments = jax.lax.pmean(moments, self.axis_name)
            mean, var = moments[0], jnp.maximum(moments[1] - jnp.square(moments[0]), 0.0)
            if not self.is_initializing():
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var
        scale: Any = self.param("scale", self.scale_init, shape)
        bias: Any = self.param("bias", self.bias_init, shape)
        factor = jax.lax.rsqrt(var + self.epsilon) * scale
        return (values * factor + (bias - mean * factor)).astype(self.dtype)


def group_norm(
    *,
    train: bool,
    dtype: Any = jnp.float32,
    group_size: int = 8,
    epsilon: float = 1e-5,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
    name: str | None = None,
) -> nn.Module:
    """Returns group normalization (Wu & He 2018, arXiv:1803.08494).

    The other arguments are those of `batch_norm`.

    Args:
      group_size: Number of channels in a group, a divisor of the channels.
    """
    del train  # equal in training and evaluation
    return GroupNorm(group_size, epsilon, dtype, scale_init, name=name)


class GroupNorm(nn.Module):
    """Group normalization of [batch, ..., channels] (arXiv:1803.08494).

    Parameters are those of `nn.GroupNorm`. Sums run over positions first and then over the channels of a group: that
    memory order makes the forward pass on CPU faster than that of `nn.GroupNorm`.

    Attributes:
      group_size: Number of channels in a group, a divisor of the channels.
      epsilon: Epsilon added to the variance.
      dtype: Dtype of the output. Computation is in float32.
      scale_init: Initializer of the scale [channels].
    """

    group_size: int
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalizes x; raises a ValueError if `group_size` does not divide the channels."""
        channels, middle = x.shape[-1], tuple(range(1, x.ndim - 1))
        if channels % self.group_size:
            raise ValueError(f"group_size={self.group_size} does not divide {channels} channels")
        scale: Any = self.param("scale", nn.with_logical_partitioning(self.scale_init, ("channels",)), (channels,))
        bias: Any = self.param("bias", nn.with_logical_partitioning(nn.initializers.zeros, ("channels",)), (channels,))
        values = x.astype(jnp.float32)
        mean = self._group_mean(jnp.mean(values, axis=middle))
        variance = jnp.maximum(self._group_mean(jnp.mean(jnp.square(values), axis=middle)) - jnp.square(mean), 0.0)
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale
        wide = (x.shape[0], *(1,) * len(middle), channels)
        return (values * factor.reshape(wide) + (bias - mean * factor).reshape(wide)).astype(self.dtype)

    def _group_mean(self, x: jax.Array) -> jax.Array:
        """Replaces each channel of x [batch, channels] by its group's mean."""
        groups = x.reshape(x.shape[0], -1, self.group_size)
        return jnp.broadcast_to(groups.mean(-1, keepdims=True), groups.shape).reshape(x.shape)


def layer_norm(
    *,
    train: bool,
    dtype: Any = jnp.float32,
    epsilon: float = 1e-6,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
    name: str | None = None,
) -> nn.Module:
    """Returns layer normalization over the channels (Ba et al. 2016, arXiv:1607.06450).

    The arguments are those of `batch_norm`.
    """
    del train  # equal in training and evaluation
    return nn.LayerNorm(
        epsilon=epsilon,
        dtype=dtype,
        scale_init=nn.with_logical_partitioning(scale_init, ("channels",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("channels",)),
        name=name,
    )


def normalization(kind: str, epsilon: float, use_bias: bool, dtype: Any) -> nn.Module:
    """Returns layer normalization (arXiv:1607.06450), or RMSNorm for "rms" (arXiv:1910.07467)."""
    scale = nn.with_logical_partitioning(nn.initializers.ones, ("embed",))
    if kind == "rms":
        return nn.RMSNorm(epsilon=epsilon, scale_init=scale, dtype=dtype)
    bias = nn.with_logical_partitioning(nn.initializers.zeros, ("embed",))
    return nn.LayerNorm(epsilon=epsilon, use_bias=use_bias, scale_init=scale, bias_init=bias, dtype=dtype)
