"""The Transformer: one block whose parts are choices, and a stack of it (arXiv:1706.03762).

What reads and writes by such stacks: `jaxdl.models.gpt`, `bert`, `t5` and `vit`.

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
from jaxdl.models.layers.dense import Activation, Embedding
from jaxdl.models.layers.mixture_of_experts import Experts

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "relative")
NORMS = ("layer", "rms")
ORDERS = ("pre", "post")
REMATS = ("nothing", "all", "dots")
UNKNOWN = 3  # the token's id, as in jaxdl.data.text.tokenizers
tanh_gelu = functools.partial(nn.gelu, approximate=True)
exact_gelu = functools.partial(nn.gelu, approximate=False)


class FeedForward(nn.Module):
    """Two dense layers on every token by itself; [..., features] -> [..., features].

    Attributes:
      hidden: numbers between the layers.
      activation: on them.
      gated: it is on the numbers of a third layer instead, by which they are multiplied (GLU, arXiv:2002.05202): with
        silu that is SwiGLU.
      use_bias, deviation, out_deviation, dtype: see `MultiHeadAttention`.
    """

    hidden: int
    activation: Activation = tanh_gelu
    gated: bool = False
    use_bias: bool = True
    deviation: float | None = None
    out_deviation: float | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = self._dense(self.hidden, ("embed", "mlp"), self.deviation, "in")(x)
        if self.gated:
            h = h * self.activation(self._dense(self.hidden, ("embed", "mlp"), self.deviation, "gate")(x))
        else:
            h = self.activation(h)
        return self._dense(x.shape[-1], ("mlp", "embed"), self.out_deviation or self.deviation, "out")(h)

    def _dense(self, features: int, axes: tuple[str, str], deviation: float | None, name: str) -> nn.Dense:
        return drawn_dense(features, axes, deviation, use_bias=self.use_bias, dtype=self.dtype, name=name)


def normalization(kind: str, epsilon: float, use_bias: bool, dtype: Any) -> nn.Module:
    """Layer normalization (arXiv:1607.06450), or by the root mean square alone (arXiv:1910.07467)."""
    scale = nn.with_logical_partitioning(nn.initializers.ones, ("embed",))
    if kind == "rms":
        return nn.RMSNorm(epsilon=epsilon, scale_init=scale, dtype=dtype)
    bias = nn.with_logical_partitioning(nn.initializers.zeros, ("embed",))
    return nn.LayerNorm(epsilon=epsilon, use_bias=use_bias, scale_init=scale, bias_init=bias, dtype=dtype)


class Block(nn.Module):
    """Attention and a feed-forward network, each added to what went into it; between them a look at a memory, if asked.

    Attributes:
      attention: to the tokens themselves; a module of its own for each block.
      feed_forward: likewise.
      cross: attention to a memory; None: there is none.
      norm: "layer" or "rms".
      order: "pre", before each part (arXiv:2002.04745), or "post", after each sum, as at first.
      epsilon, norm_bias: of the normalization.
      dropout: rate on what each part adds, in training.
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
        """[batch, n, features], and further arguments as of `MultiHeadAttention`; also the cache after it, if any.

        Args:
          memory: what `project_memory` made of it; where its mask [batch, 1, n or 1, m] is False, it is not seen.
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
        """What the block looks at of a memory [batch, m, features]."""
        assert self.cross is not None
        return self.cross.project_memory(memory)


class Stack(nn.Module):
    """Blocks, one after the other; tokens [batch, n, features] -> the same, normalized in the end if `order` is "pre".

    Attributes:
      features: of a token.
      layers: blocks.
      heads, kv_heads, head_size, causal, window, scaled: see `MultiHeadAttention`.
      cross: each block looks at a memory, too.
      hidden: of the feed-forward networks; None: four times `features`.
      positions: "rotary", "relative" (T5's bias) or "none"; also "learned" and "sinusoidal", which are added to the
        tokens' vectors by what makes these.
      rotary_base: of "rotary".
      norm, order, epsilon, norm_bias: see `Block`.
      activation, gated: see `FeedForward`.
      experts: feed-forward networks of which each token is given to `experts_per_token` (see
      `jaxdl.models.layers.mixture_of_experts`); 0: one.
      use_bias: of the blocks' dense layers.
      lora: of the attention to tokens, see `MultiHeadAttention`.
      dropout: rate on what blocks add.
      deviation: standard deviation of the drawn kernels and vectors; those of layers that add to the stream are divided
        by sqrt(2 * layers), as in GPT-2. None: LeCun's.
      dtype: to compute in, such as "bfloat16"; parameters, softmax and normalization at the end are float32.
      remat: what of a block is computed again on the way back instead of remembered, to save memory: "nothing", "all",
        or "dots", for which what matrices gave is remembered.
      scan: one block is compiled, whose parameters have a leading axis of `layers`; for stacks without `cross`.
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
    deviation: float | None = 0.02
    dtype: Any = "float32"
    remat: str = "nothing"
    scan: bool = False

    @nn.nowrap
    def empty_caches(self, batch: int, length: int) -> Any:
        """Room for `length` tokens of each of `batch` sequences: a cache for each block, or with `scan` one for all,
        whose second axis is `layers`. Every leaf is [batch, ...]."""
        size = self.head_size or self.features // self.heads
        room = min(length, self.window) if self.window else length
        one = empty_cache(batch, room, self.kv_heads or self.heads, size, jnp.dtype(self.dtype))
        if not self.scan:
            return [one] * self.layers
        return jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], self.layers, axis=1), one)

    def setup(self):
        self._check()
        saved = {"nothing": None, "all": jax.checkpoint_policies.nothing_saveable}
        policy = saved.get(self.remat, jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
        block: Any = Block if policy is None else nn.remat(Block, static_argnums=(9,), policy=policy)
        options = {name: getattr(self, name) for name in ("norm", "order", "epsilon", "norm_bias", "dropout")}
        if self.scan:
            along: Any = (*[nn.broadcast] * 6, 1, nn.broadcast)
            scanned = nn.scan(
                block,
                variable_axes={"params": 0, "balance": 0, SEEN: 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=along,
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
        """
        Args:
          x: [batch, n, features].
          positions: int32 [batch, n], below 0: not there; None: 0, 1, ....
          mask: bool, broadcasts to [batch, 1, n, n]: where False nobody looks, whatever else holds.
          segments: see `MultiHeadAttention`; positions, if not given, begin anew in each.
          memory: what `project_memory` made of it, with `cross`.
          memory_mask: bool, broadcasts to [batch, 1, n, m], which of it is seen.
          caches: what `empty_caches` or the call before gave.
          train: whether dropout draws, from the key "dropout".

        Returns:
          float32 [batch, n, features], and the caches after x, None without them.
        """
        x = x.astype(self.dtype)
        if positions is None and segments is not None:
            positions = position_ids(segments)
        place = jnp.arange(x.shape[1])[None] if positions is None else positions
        bias = None
        if self.positions == "relative":
            cache = caches if self.scan or caches is None else caches[0]
            cache = jax.tree.map(lambda leaf: leaf[:, 0], cache) if self.scan else cache
            bias = self.relative(place, place if cache is None else _looked_at(cache, place))
        if self.scan:
            x, caches = self.blocks(x, positions, mask, bias, segments, None, None, caches, train)
        else:
            after = []
            for number, block in enumerate(self.block):
                seen = None if memory is None else memory[number]
                cache = None if caches is None else caches[number]
                x, cache = block(x, positions, mask, bias, segments, seen, memory_mask, cache, train)
                after.append(cache)
            caches = None if caches is None else after
        x = self.norm_out(x) if self.order == "pre" else x
        return x.astype(jnp.float32), caches

    def project_memory(self, memory: Array) -> list[Cache]:
        """What each block looks at of a memory [batch, m, features]."""
        return [block.project_memory(memory.astype(self.dtype)) for block in self.block]

    def _parts(self) -> tuple[MultiHeadAttention, nn.Module, MultiHeadAttention | None]:
        deviation = self.deviation
        shared = {
            "use_bias": self.use_bias,
            "deviation": deviation,
            "out_deviation": None if deviation is None else deviation * (2 * self.layers) ** -0.5,
            "dtype": jnp.dtype(self.dtype),
        }
        sizes = (self.features, self.heads, self.kv_heads, self.head_size)
        attention = MultiHeadAttention(
            *sizes,
            causal=self.causal,
            window=self.window,
            rotary=self.rotary_base if self.positions == "rotary" else 0.0,
            scaled=self.scaled,
            lora=self.lora,
            parent=None,
            **shared,
        )
        inner = (self.hidden or 4 * self.features, self.activation, self.gated)
        if self.experts:
            drawn = {name: value for name, value in shared.items() if name != "use_bias"}
            network: nn.Module = Experts(self.experts, self.experts_per_token, *inner, parent=None, **drawn)
        else:
            network = FeedForward(*inner, parent=None, **shared)
        cross = MultiHeadAttention(*sizes, scaled=self.scaled, parent=None, **shared) if self.cross else None
        return attention, network, cross

    def _check(self) -> None:
        for name, known in (("positions", POSITIONS), ("norm", NORMS), ("order", ORDERS), ("remat", REMATS)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"Stack: {name}={value!r}; one of {', '.join(known)}")
        if self.scan and self.cross:
            raise ValueError("Stack: with cross every block has a memory of its own: set scan=False")


class Tokens(nn.Module):
    """A vector for each token, and for where it stands; int32 [batch, n] -> float32 [batch, n, features].

    Attributes:
      vocabulary: number of tokens.
      length: with learned positions, the most there can be.
      features: of a vector.
      positions: "learned" and "sinusoidal" are added; the others are not.
      types: kinds of segments, whose vectors are added (BERT); 0: none.
      norm: the sum is normalized, with `epsilon` (BERT).
      dropout: rate.
      deviation: standard deviation of the drawn vectors.
    """

    vocabulary: int
    length: int
    features: int
    positions: str = "none"
    types: int = 0
    norm: bool = False
    epsilon: float = 1e-5
    dropout: float = 0.0
    deviation: float = 0.02

    def setup(self):
        self.word = Embedding(self.vocabulary, self.features, deviation=self.deviation)
        if self.positions == "learned":
            self.place = Embedding(self.length, self.features, deviation=self.deviation)
        if self.types:
            self.type = Embedding(self.types, self.features, deviation=self.deviation)
        if self.norm:
            self.norm_out = normalization("layer", self.epsilon, True, jnp.float32)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, tokens: Array, positions: Array | None, types: Array | None = None, *, train: bool) -> Array:
        """Positions int32 [batch, n], None: 0, 1, ...; types int32 [batch, n], None: all 0.

        Raises:
          ValueError: more tokens than learned positions.
        """
        place = jnp.arange(tokens.shape[1])[None] if positions is None else positions
        x = self.word(tokens)
        if self.positions == "learned":
            if tokens.shape[1] > self.length:
                raise ValueError(f"{tokens.shape[1]} tokens, but learned positions for {self.length}: set length")
            x = x + self.place(place)
        elif self.positions == "sinusoidal":
            x = x + waves(place, self.features)
        if self.types:
            x = x + self.type(jnp.zeros_like(tokens) if types is None else types)
        return self.drop(self.norm_out(x) if self.norm else x, deterministic=not train)

    def attend(self, x: Array) -> Array:
        """[..., features] -> logits [..., vocabulary] with the tokens' own vectors (arXiv:1608.05859)."""
        return self.word.attend(x)


def tokens_of(vocabulary: int, length: int, stack: Stack, **more: Any) -> Tokens:
    """Vectors for the tokens that a stack reads."""
    options = {"positions": stack.positions, "dropout": stack.dropout, "epsilon": stack.epsilon, **more}
    return Tokens(vocabulary, length, stack.features, deviation=stack.deviation or 0.02, **options)


def there(tokens: Array, length: Array) -> Array:
    """bool [batch, time]: whether there is a token, where each row has `length` [batch]."""
    return jnp.arange(tokens.shape[1])[None] < length[:, None]


def _looked_at(cache: Cache, positions: Array) -> Array:
    """The positions of what tokens at `positions` [batch, n] look at, in the order of `MultiHeadAttention`."""
    if positions.shape[1] > 1:
        return jnp.concatenate([cache["position"], positions], axis=1)
    return extended({"position": cache["position"]}, positions)["position"]


def position_ids(segments: Array) -> Array:
    """int32 [batch, time]: how many tokens of its own segment come before a token; segments lie one after the other."""
    time = jnp.arange(segments.shape[1])[None]
    begins = jnp.concatenate([jnp.ones_like(segments[:, :1]), segments[:, 1:] != segments[:, :-1]], axis=1)
    return time - jax.lax.cummax(jnp.where(begins, time, 0), axis=1)


def waves(positions: Array, features: int) -> Array:
    """Sinusoids of the positions, [batch, n] -> [batch, n, features]: sines, then cosines (arXiv:1706.03762)."""
    half = features // 2
    angle = positions.astype(jnp.float32)[..., None] * 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
