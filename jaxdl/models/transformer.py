"""Transformer blocks and stacks (arXiv:1706.03762).

Models with such stacks: `jaxdl.models.gpt`, `bert`, `t5` and `vit`.

Logical axis names. Parameters: "vocab", "embed", "heads", "mlp". Activations: "batch".
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.attention import (
    SEEN,
    Array,
    Cache,
    MultiHeadAttention,
    RelativeBias,
    drawn_dense,
    empty_cache,
    extended,
)
from jaxdl.models.layers.dense import Activation
from jaxdl.models.layers.mixture_of_experts import Experts
from jaxdl.models.layers.norms import normalization
from jaxdl.models.layers.token_embedding import Tokens, position_ids

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "relative")
NORMS = ("layer", "rms")
ORDERS = ("pre", "post")
REMATS = ("nothing", "all", "dots")
SCALES = ("standard", "mup")
tanh_gelu = functools.partial(nn.gelu, approximate=True)
exact_gelu = functools.partial(nn.gelu, approximate=False)


class FeedForward(nn.Module):
    """Position-wise feed-forward network, [..., features] -> [..., features].

    Attributes:
      hidden: Width between the two dense layers.
      activation: Activation function.
      gated: The output of the first layer is multiplied by an activated third layer (GLU, arXiv:2002.05202; SwiGLU with
        silu).
      use_bias: Biases of the dense layers.
      init_std: Std of the initial kernels (see `MultiHeadAttention`).
      out_init_std: Std of the last kernel (see `MultiHeadAttention`).
      dtype: Computation dtype.
    """

    hidden: int
    activation: Activation = tanh_gelu
    gated: bool = False
    use_bias: bool = True
    init_std: float | None = None
    out_init_std: float | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = self._dense(self.hidden, ("embed", "mlp"), self.init_std, "in")(x)
        if self.gated:
            h = h * self.activation(self._dense(self.hidden, ("embed", "mlp"), self.init_std, "gate")(x))
        else:
            h = self.activation(h)
        return self._dense(x.shape[-1], ("mlp", "embed"), self.out_init_std or self.init_std, "out")(h)

    def _dense(self, features: int, axes: tuple[str, str], init_std: float | None, name: str) -> nn.Dense:
        return drawn_dense(features, axes, init_std, use_bias=self.use_bias, dtype=self.dtype, name=name)


class Block(nn.Module):
    """Transformer block: self-attention, optional cross-attention and feed-forward network.

    Attributes:
      attention: Self-attention.
      feed_forward: Feed-forward network.
      cross: Cross-attention to a memory. None for none.
      norm: "layer" or "rms".
      order: "pre", normalization before each part (arXiv:2002.04745), or "post", after each residual sum.
      epsilon: Epsilon of the normalization.
      norm_bias: Biases of layer normalization.
      dropout: Dropout rate on the output of each part.
    """

    attention: MultiHeadAttention
    feed_forward: nn.Module
    cross: MultiHeadAttention | None = None
    norm: str = "layer"
    order: str = "pre"
    epsilon: float = 1e-5
    norm_bias: bool = True
    dropout: float = 0.0

    def setup(self):
        def norm() -> nn.Module:
            return normalization(self.norm, self.epsilon, self.norm_bias, self.attention.dtype)

        self.norm1, self.norm2 = norm(), norm()
        if self.cross is not None:
            self.norm_cross = norm()
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        x: Array,
        positions: Array | None = None,
        mask: Array | None = None,
        bias: Array | None = None,
        segments: Array | None = None,
        memory: Cache | None = None,
        memory_mask: Array | None = None,
        cache: Cache | None = None,
        train: bool = False,
    ) -> tuple[Array, Cache | None]:
        """Returns the output [batch, n, features] and the new cache, None without one.

        Args:
          x: [batch, n, features].
          positions: See `MultiHeadAttention`.
          mask: See `MultiHeadAttention`.
          bias: See `MultiHeadAttention`.
          segments: See `MultiHeadAttention`.
          memory: Keys and values of `project_memory`.
          memory_mask: bool, broadcasts to [batch, 1, n, m]. False masks the memory.
          cache: KV cache.
          train: Whether dropout is active.
        """

        def attend(x: Array) -> Array:
            nonlocal cache
            y = self.attention(x, positions=positions, mask=mask, bias=bias, segments=segments, cache=cache)
            if cache is not None:
                y, cache = y
            return y

        x = self._add(x, attend, self.norm1, train)
        if self.cross is not None:
            cross = self.cross
            x = self._add(x, lambda x: cross(x, memory, mask=memory_mask), self.norm_cross, train)
        return self._add(x, self.feed_forward, self.norm2, train), cache

    def _add(self, x: Array, part: Any, norm: Any, train: bool) -> Array:
        if self.order == "pre":
            return x + self.drop(part(norm(x)), deterministic=not train)
        return norm(x + self.drop(part(x), deterministic=not train))

    def project_memory(self, memory: Array) -> Cache:
        """Returns keys and values of a memory [batch, m, features]."""
        assert self.cross is not None
        return self.cross.project_memory(memory)


class Stack(nn.Module):
    """Stack of Transformer blocks, with a final normalization for `order="pre"`.

    Attributes:
      features: Width of the residual stream.
      layers: Number of blocks.
      heads: Number of query heads.
      kv_heads: Number of key and value heads (see `MultiHeadAttention`).
      head_size: Width of a head. None: features // heads.
      causal: Causal self-attention.
      window: Sliding window of causal attention (see `MultiHeadAttention`). 0 for none.
      scaled: Scores are divided by sqrt(head_size).
      cross: Blocks have cross-attention to a memory.
      hidden: Width of the feed-forward networks. None: 4 * features.
      positions: "rotary", "relative" (T5's bias) or "none"; or "learned" and "sinusoidal", which `Tokens` adds.
      rotary_base: Base of the rotary wavelengths.
      norm: See `Block`.
      order: See `Block`.
      epsilon: Epsilon of the normalization.
      norm_bias: Biases of layer normalization.
      activation: See `FeedForward`.
      gated: See `FeedForward`.
      experts: Number of feed-forward networks per block (see `jaxdl.models.layers.mixture_of_experts`). 0: one, without
        a router.
      experts_per_token: Number of experts that process each token.
      use_bias: Biases of the dense layers.
      lora: LoRA rank of self-attention (see `MultiHeadAttention`). 0 for none.
      dropout: Dropout rate of the residuals.
      init_std: Std of initial kernels. Layers that add to the residual stream have it divided by sqrt(2 * layers), as
        in GPT-2. None: LeCun initialization.
      dtype: Computation dtype, such as "bfloat16". Parameters, softmax and the final normalization are float32.
      remat: Rematerialization in the backward pass: "nothing", "all", or "dots", which keeps the outputs of matrix
        products.
      scan: Compiles one block, whose parameters have a leading axis [layers]. Not with `cross`.
      scale: Parametrization of widths: "standard", or "mup" (arXiv:2203.03466, table 8), in which the learning rate
        that is best for one width is best for all. With "mup" the variance of kernels is divided by m = features /
        base, scores are multiplied by 8 / head_size, which is the standard scale of heads of 64 features, and the
        output by 1 / m. Kernels need their learning rate divided by m: `scales=mup_scales(...)` of
        `jaxdl.training.optimizers`. `hidden`, `head_size` or `heads` are to grow in proportion to `features`.
      base: Width at which initialization and learning rates of "mup" equal the standard ones.
    """

    features: int
    layers: int
    heads: int
    kv_heads: int | None = None
    head_size: int | None = None
    causal: bool = False
    window: int = 0
    scaled: bool = True
    cross: bool = False
    hidden: int | None = None
    positions: str = "rotary"
    rotary_base: float = 10_000.0
    norm: str = "layer"
    order: str = "pre"
    epsilon: float = 1e-5
    norm_bias: bool = True
    activation: Activation = tanh_gelu
    gated: bool = False
    experts: int = 0
    experts_per_token: int = 2
    use_bias: bool = True
    lora: int = 0
    dropout: float = 0.0
    init_std: float | None = 0.02
    dtype: Any = "float32"
    remat: str = "nothing"
    scan: bool = False
    scale: str = "standard"
    base: int = 64

    @nn.nowrap
    def empty_caches(self, batch: int, length: int) -> Any:
        """Returns empty KV caches for `length` tokens, every leaf [batch, ...].

        A list with a cache per block, or with `scan` one cache whose second axis is [layers].
        """
        size = self.head_size or self.features // self.heads
        capacity = min(length, self.window) if self.window else length
        cache = empty_cache(batch, capacity, self.kv_heads or self.heads, size, jnp.dtype(self.dtype))
        if not self.scan:
            return [cache] * self.layers
        return jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], self.layers, axis=1), cache)

    def setup(self):
        self._check()
        policy = {
            "nothing": None,
            "all": jax.checkpoint_policies.nothing_saveable,
            "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        }[self.remat]
        block: Any = Block if policy is None else nn.remat(Block, static_argnums=(9,), policy=policy)
        options = {name: getattr(self, name) for name in ("norm", "order", "epsilon", "norm_bias", "dropout")}
        if self.scan:
            in_axes: Any = (*[nn.broadcast] * 6, 1, nn.broadcast)
            scanned = nn.scan(
                block,
                variable_axes={"params": 0, "balance": 0, SEEN: 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=in_axes,
                out_axes=1,
                length=self.layers,
                metadata_params={nn.PARTITION_NAME: "layers"},
            )
            self.blocks = scanned(*self._parts(), **options)
        else:
            self.block = [block(*self._parts(), **options) for _ in range(self.layers)]
        if self.positions == "relative":
            self.relative = RelativeBias(self.heads, causal=self.causal)
        if self.order == "pre":
            self.norm_out = normalization(self.norm, self.epsilon, self.norm_bias, jnp.float32)

    def __call__(
        self,
        x: Array,
        *,
        positions: Array | None = None,
        mask: Array | None = None,
        segments: Array | None = None,
        memory: Any = None,
        memory_mask: Array | None = None,
        caches: Any = None,
        train: bool,
    ) -> tuple[Array, Any]:
        """Returns float32 [batch, n, features] and the new caches, None without them.

        Args:
          x: [batch, n, features].
          positions: int32 [batch, n], negative for padding. None: 0, 1, ...
          mask: bool, broadcasts to [batch, 1, n, n]. False masks a key.
          segments: See `MultiHeadAttention`. Default positions restart in each segment.
          memory: Keys and values of `project_memory`, with `cross`.
          memory_mask: bool, broadcasts to [batch, 1, n, m]. False masks the memory.
          caches: KV caches of `empty_caches` or of the previous call.
          train: Whether dropout is active. It draws from the key "dropout".
        """
        x = x.astype(self.dtype)
        if positions is None and segments is not None:
            positions = position_ids(segments)
        queries = jnp.arange(x.shape[1])[None] if positions is None else positions
        bias = None
        if self.positions == "relative":
            cache = caches if self.scan or caches is None else caches[0]
            cache = jax.tree.map(lambda leaf: leaf[:, 0], cache) if self.scan else cache
            bias = self.relative(queries, queries if cache is None else _key_positions(cache, queries))
        if self.scan:
            x, caches = self.blocks(x, positions, mask, bias, segments, None, None, caches, train)
        else:
            new_caches = []
            for number, block in enumerate(self.block):
                block_memory = None if memory is None else memory[number]
                cache = None if caches is None else caches[number]
                x, cache = block(x, positions, mask, bias, segments, block_memory, memory_mask, cache, train)
                new_caches.append(cache)
            caches = None if caches is None else new_caches
        x = self.norm_out(x) if self.order == "pre" else x
        x = x.astype(jnp.float32)
        return x * (self.base / self.features) if self.scale == "mup" else x, caches

    def project_memory(self, memory: Array) -> list[Cache]:
        """Returns each block's keys and values of a memory [batch, m, features]."""
        return [block.project_memory(memory.astype(self.dtype)) for block in self.block]

    def _parts(self) -> tuple[MultiHeadAttention, nn.Module, MultiHeadAttention | None]:
        init_std, mup = self.init_std, self.scale == "mup"
        if mup and init_std is not None:  # LeCun initialization has this variance already
            init_std *= (self.base / self.features) ** 0.5
        shared = {
            "use_bias": self.use_bias,
            "init_std": init_std,
            "out_init_std": None if init_std is None else init_std * (2 * self.layers) ** -0.5,
            "dtype": jnp.dtype(self.dtype),
        }
        sizes = (self.features, self.heads, self.kv_heads, self.head_size)
        attention = MultiHeadAttention(
            *sizes,
            causal=self.causal,
            window=self.window,
            rotary=self.rotary_base if self.positions == "rotary" else 0.0,
            scaled="size" if mup else self.scaled,
            lora=self.lora,
            parent=None,
            **shared,
        )
        inner = (self.hidden or 4 * self.features, self.activation, self.gated)
        if self.experts:
            options = {name: value for name, value in shared.items() if name != "use_bias"}
            network: nn.Module = Experts(self.experts, self.experts_per_token, *inner, parent=None, **options)
        else:
            network = FeedForward(*inner, parent=None, **shared)
        cross = MultiHeadAttention(*sizes, scaled=self.scaled, parent=None, **shared) if self.cross else None
        return attention, network, cross

    def _check(self) -> None:
        for name, known in (("positions", POSITIONS), ("norm", NORMS), ("order", ORDERS), ("remat", REMATS)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"Stack: {name}={value!r} must be one of {', '.join(known)}")
        if self.scale not in SCALES:
            raise ValueError(f"Stack: scale={self.scale!r} must be one of {', '.join(SCALES)}")
        if self.base <= 0:
            raise ValueError(f"Stack: base={self.base} must be positive")
        if self.scale == "mup" and (self.cross or self.experts or self.lora or not self.scaled):
            raise ValueError("Stack: scale='mup' supports none of cross, experts, lora and scaled=False; drop them")
        if self.scan and self.cross:
            raise ValueError("Stack: scan=True does not support cross=True; set scan=False")


def tokens_of(vocabulary: int, length: int, stack: Stack, **options: Any) -> Tokens:
    """Returns embeddings that fit a stack; `options` are further arguments of `Tokens`."""
    options = {"positions": stack.positions, "dropout": stack.dropout, "epsilon": stack.epsilon, **options}
    return Tokens(vocabulary, length, stack.features, init_std=stack.init_std or 0.02, **options)


def _key_positions(cache: Cache, positions: Array) -> Array:
    """Returns key positions for queries at `positions`, in the order of `MultiHeadAttention`."""
    if positions.shape[1] > 1:
        return jnp.concatenate([cache["position"], positions], axis=1)
    return extended({"position": cache["position"]}, positions)["position"]
