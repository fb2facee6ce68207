"""Sparsely-gated mixture of experts (arXiv:1701.06538)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import (
    Activation,
    dense,
    gathered,
    normal,
    variance_scaling,
)
from jaxdl.models.layers.norms import bound_axis

Array = jax.Array


class Experts(nn.Module):
    """Dropless mixture of feed-forward experts with loss-free load balancing.

    Tokens are sorted by expert and multiplied in groups of different sizes (MegaBlocks, arXiv:2211.15841). No token is
    dropped, so that examples of a batch are independent.

    Loads are balanced without an auxiliary loss (Wang et al. 2024, arXiv:2408.15664): a bias per expert, in the
    collection "balance", is added to the scores that select experts, but not to the weights. In training it increases
    by `rate` for experts below the mean load of the global batch, and decreases for the others.

    Attributes:
      count: Number of experts.
      experts_per_token: Number of experts that process each token.
      hidden: Width of an expert's hidden layer.
      activation: Activation function.
      gated: Gated linear units (see `jaxdl.models.transformer.FeedForward`). There are no biases.
      init_std: Std of the initial kernels. None: LeCun initialization.
      out_init_std: Std of the initial output kernels. None: `init_std`.
      dtype: Computation dtype.
      rate: Update of the balancing biases per step.
    """

    count: int
    experts_per_token: int
    hidden: int
    activation: Activation
    gated: bool = False
    init_std: float | None = None
    out_init_std: float | None = None
    dtype: Any = None
    rate: float = 1e-3

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if not 1 <= self.experts_per_token <= self.count:
            raise ValueError(
                f"Experts: experts_per_token={self.experts_per_token} must be from 1 to count={self.count}"
            )
        features = x.shape[-1]
        tokens = x.reshape(-1, features)
        weights, experts = self._route(tokens)
        order = jnp.argsort(experts.reshape(-1), stable=True)  # [tokens * experts_per_token], by expert
        token_ids = order // self.experts_per_token
        sizes = jnp.bincount(experts.reshape(-1), length=self.count).astype(jnp.int32)
        inputs = tokens[token_ids].astype(self.dtype or x.dtype)
        h = jax.lax.ragged_dot(inputs, self._kernels("in", features, self.hidden, self.init_std), sizes)
        if self.gated:
            gate = jax.lax.ragged_dot(inputs, self._kernels("gate", features, self.hidden, self.init_std), sizes)
            h = h * self.activation(gate)
        else:
            h = self.activation(h)
        out = self._kernels("out", self.hidden, features, self.out_init_std or self.init_std)
        y = jax.lax.ragged_dot(h, out, sizes)
        y = y * weights.reshape(-1)[order][:, None].astype(y.dtype)
        return jnp.zeros_like(tokens, y.dtype).at[token_ids].add(y).reshape(x.shape)

    def _route(self, tokens: Array) -> tuple[Array, Array]:
        """Returns weights float32 and experts int32 [tokens, experts_per_token]."""
        router = dense(self.count, ("embed", None), use_bias=False, dtype=jnp.float32, name="router")
        scores = jax.nn.sigmoid(router(tokens))
        bias = self.variable("balance", "bias", jnp.zeros, (self.count,))
        _, experts = jax.lax.top_k(jax.lax.stop_gradient(scores) + bias.value, self.experts_per_token)
        weights = jnp.take_along_axis(scores, experts, axis=-1)
        if self.is_mutable_collection("balance") and not self.is_initializing():
            load = jnp.bincount(experts.reshape(-1), length=self.count).astype(jnp.float32)
            axis = bound_axis()
            load = load if axis is None else jax.lax.psum(load, axis)
            bias.value = bias.value + self.rate * jnp.sign(jnp.mean(load) - load)
        return weights / (weights.sum(-1, keepdims=True) + 1e-9), experts

    def _kernels(self, name: str, rows: int, columns: int, init_std: float | None) -> Array:
        """Returns kernels [count, rows, columns], gathered on each device."""
        init = normal(init_std) if init_std is not None else variance_scaling(1.0)
        axes = (None, "embed", "mlp") if name != "out" else (None, "mlp", "embed")
        shape = (self.count, rows, columns)
        kernel: Any = self.param(name, nn.with_logical_partitioning(init, axes), shape)
        return gathered(kernel).astype(self.dtype or kernel.dtype)
