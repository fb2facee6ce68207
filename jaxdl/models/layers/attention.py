"""Multi-head attention with KV cache, grouped queries, RoPE, relative bias and LoRA.

The attention mask is computed from integer positions of queries and keys, so that KV caches, sliding windows and packed
sequences need one mask.

Logical axis names of parameters: "embed" for features of tokens, "heads" for features of queries, keys and values.
"""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import dense, normal, with_logical_sharding
from jaxdl.models.layers.dot_product import Scores, attention_weights, dot_product_attention

Array = jax.Array
Cache = Mapping[str, Array]
SEEN = "attention"  # collection of attention weights, float32 [batch, heads, n, m], if mutable


class MultiHeadAttention(nn.Module):
    """Multi-head self-attention or cross-attention (arXiv:1706.03762).

    Attributes:
      features: Width of the tokens.
      heads: Number of query heads.
      kv_heads: Number of key and value heads, a divisor of `heads` (grouped queries, arXiv:2305.13245). None: `heads`.
      head_size: Width of a head. None: features // heads.
      causal: Causal mask.
      window: Sliding window of a causal mask, the token itself included (arXiv:2004.05150). 0 for none.
      rotary: Base of the wavelengths of rotary positions (RoPE, arXiv:2104.09864). 0 for none.
      scaled: Scores are divided by sqrt(head_size); not in T5. "size" divides by head_size / 8, as muP does
        (arXiv:2203.03466), which is the same for heads of 64 features.
      use_bias: Biases of the four dense layers.
      init_std: Std of the initial kernels. None: LeCun initialization.
      out_init_std: Std of the initial output kernel. None: `init_std`.
      lora: Rank of the LoRA weights `query_low` and `value_low` (arXiv:2106.09685). 0 for none.
      dtype: Computation dtype. Softmax and sums are float32.
    """

    features: int
    heads: int
    kv_heads: int | None = None
    head_size: int | None = None
    causal: bool = False
    window: int = 0
    rotary: float = 0.0
    scaled: bool | Literal["size"] = True
    use_bias: bool = True
    init_std: float | None = None
    out_init_std: float | None = None
    lora: int = 0
    dtype: Any = None

    def setup(self):
        size = self.head_size or self.features // self.heads
        options = {"use_bias": self.use_bias, "dtype": self.dtype}
        self.query = drawn_dense(self.heads * size, ("embed", "heads"), self.init_std, **options)
        self.key = drawn_dense((self.kv_heads or self.heads) * size, ("embed", "heads"), self.init_std, **options)
        self.value = drawn_dense((self.kv_heads or self.heads) * size, ("embed", "heads"), self.init_std, **options)
        self.out = drawn_dense(self.features, ("heads", "embed"), self.out_init_std or self.init_std, **options)

        if self.lora:
            self.query_low = LowRank(self.heads * size, self.lora, self.dtype)
            self.value_low = LowRank((self.kv_heads or self.heads) * size, self.lora, self.dtype)

    def project_memory(self, memory: Array) -> Cache:
        """Returns `key` and `value` [batch, m, kv_heads, head_size] of a memory."""
        value = self.value(memory) + self.value_low(memory) if self.lora else self.value(memory)
        return {"key": self._heads(self.key(memory)), "value": self._heads(value)}

    def __call__(
        self,
        x: Array,
        memory: Cache | None = None,
        *,
        positions: Array | None = None,
        mask: Array | None = None,
        bias: Array | None = None,
        segments: Array | None = None,
        cache: Cache | None = None,
    ) -> Any:
        """Returns [batch, n, features], and with a cache also the new cache.

        Args:
          x: [batch, n, features].
          memory: Keys and values of `project_memory`, for cross-attention; `causal` must be False.
          positions: int32 [batch, n] of x. None: 0, 1, ...
          mask: bool, broadcasts to [batch, 1, n, m]. False masks a key. With a cache, keys are those of the cache,
            followed by those of x if n > 1.
          bias: Added to the scores, broadcasts to [batch, heads, n, m].
          segments: int32 [batch, n], the number of the packed sequence that a token belongs to. Sequences are
            consecutive and do not attend to each other. Not with a cache.
          cache: KV cache of the preceding tokens (see `empty_cache`).
        """
        query = self._heads(self.query(x) + self.query_low(x) if self.lora else self.query(x))
        key, value = (self.project_memory(x) if memory is None else memory).values()
        key_positions = positions
        if self.rotary and memory is None:
            places = jnp.arange(x.shape[1])[None] if positions is None else positions
            query, key = rotate(query, places, self.rotary), rotate(key, places, self.rotary)
        if cache is not None:
            assert positions is not None, "a cache needs positions"
            old, cache = cache, extended(cache, positions, key=key, value=value)
            if x.shape[1] == 1:
                key, value, key_positions = cache["key"], cache["value"], cache["position"]
            else:  # the new tokens may have replaced keys that the first of them attends to
                new = {"key": key, "value": value, "position": positions}
                key, value, key_positions = (
                    jnp.concatenate([old[name], leaf.astype(old[name].dtype)], axis=1) for name, leaf in new.items()
                )
        # With default positions the kernels apply the causal mask themselves, which is faster.
        plain = memory is None and (positions is None or segments is not None)
        if memory is None and not plain:
            causal_mask = position_mask(positions, key_positions, self.causal, self.window)  # type: ignore
            mask = causal_mask if mask is None else mask & causal_mask
        scale = query.shape[-1] ** -0.5 if self.scaled else 1.0
        if self.scaled == "size":
            scale = 8 / query.shape[-1]
        scores = Scores(bias, mask, segments, scale, self.causal and plain, self.window if plain else 0)
        key = key.astype(query.dtype)
        if self.is_mutable_collection(SEEN) and not self.is_initializing():
            self.sow(SEEN, "weights", attention_weights(query, key, scores))
        y = dot_product_attention(query, key, value.astype(query.dtype), scores)
        y = self.out(y.reshape(*x.shape[:-1], -1))
        return y if cache is None else (y, cache)

    def _heads(self, x: Array) -> Array:
        x = x.reshape(*x.shape[:-1], -1, self.head_size or self.features // self.heads)
        return with_logical_sharding(x, ("batch", None, "heads", None))


class LowRank(nn.Module):
    """Low-rank linear map, initially zero, [..., c] -> [..., features] (LoRA, arXiv:2106.09685)."""

    features: int
    rank: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        down = dense(self.rank, ("embed", None), use_bias=False, dtype=self.dtype, name="down")(x)
        options: dict[str, Any] = {"use_bias": False, "kernel_init": nn.initializers.zeros, "dtype": self.dtype}
        return dense(self.features, (None, "heads"), name="up", **options)(down)


def merged(params: Any) -> Any:
    """Merges LoRA weights into the base kernels."""
    if not isinstance(params, Mapping):
        return params
    base = {name: merged(value) for name, value in params.items() if not name.endswith("_low")}
    for name, low in params.items():
        if name.endswith("_low"):
            layer = base[name.removesuffix("_low")]
            kernel = layer["kernel"] + low["down"]["kernel"] @ low["up"]["kernel"]
            base[name.removesuffix("_low")] = {**layer, "kernel": kernel}
    return base


def drawn_dense(features: int, axes: tuple[str | None, str | None], init_std: float | None, **options: Any) -> nn.Dense:
    """Returns a dense layer with a normal initial kernel; `init_std` None: LeCun initialization."""
    return dense(features, axes, kernel_init=None if init_std is None else normal(init_std), **options)


def empty_cache(batch: int, length: int, kv_heads: int, head_size: int, dtype: Any = jnp.float32) -> Cache:
    """Returns an empty KV cache for `length` tokens.

    Leaves: `key` and `value` [batch, length, kv_heads, head_size], and `position` int32 [batch, length], -1 if empty.
    """
    values = jnp.zeros((batch, length, kv_heads, head_size), dtype)
    return {"key": values, "value": values, "position": jnp.full((batch, length), -1, jnp.int32)}


def extended(cache: Cache, positions: Array, **tokens: Array) -> Cache:
    """Returns the cache with new tokens; in a full cache they replace the oldest ones.

    Args:
      cache: See `empty_cache`.
      positions: int32 [batch, n]. Tokens with a negative position are padding and are dropped.
      tokens: `key` and `value` [batch, n, kv_heads, head_size].
    """
    length = cache["position"].shape[1]
    rows = jnp.arange(positions.shape[0])[:, None]
    stored = (positions >= 0) & (positions > positions.max(axis=1, keepdims=True) - length)
    places = jnp.where(stored, positions % length, length)  # index `length` is out of bounds and dropped
    new = {"position": positions, **tokens}
    return {name: old.at[rows, places].set(new[name].astype(old.dtype), mode="drop") for name, old in cache.items()}


def position_mask(query: Array, key: Array, causal: bool, window: int) -> Array:
    """Returns the attention mask from query and key positions, bool [batch, 1, n, m].

    Args:
      query: int32 [batch, n].
      key: int32 [batch, m]. Keys with a negative position are masked.
      causal: Masks later keys.
      window: Masks keys that are `window` or more positions earlier. 0 for none.
    """
    distance = query[:, None, :, None] - key[:, None, None, :]
    mask = (key >= 0)[:, None, None, :]
    if causal:
        mask = mask & (distance >= 0)
        if window:
            mask = mask & (distance < window)
    return mask


def rotate(x: Array, positions: Array, base: float) -> Array:
    """Applies rotary position embeddings (RoPE, arXiv:2104.09864).

    A pair is feature i of the first half and feature i of the second half, as in Llama.

    Args:
      x: [batch, n, heads, size]. The size is even.
      positions: int32 [batch, n].
      base: Base of the wavelengths.
    """
    half = x.shape[-1] // 2
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = (positions.astype(jnp.float32)[..., None] * frequency)[:, :, None]
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    first, second = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    rotated = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return rotated.astype(x.dtype)


class RelativeBias(nn.Module):
    """Relative position bias (T5, Raffel et al. 2019, arXiv:1910.10683, section 2.1).

    Attributes:
      heads: Number of heads.
      buckets: Number of distance buckets. Small distances have their own bucket, larger ones share logarithmic buckets.
      farthest: Distance from which on all share one bucket.
      causal: All buckets are for earlier keys.
    """

    heads: int
    buckets: int = 32
    farthest: int = 128
    causal: bool = False

    @nn.compact
    def __call__(self, query: Array, key: Array) -> Array:
        """Returns the bias float32 [batch, heads, n, m] of query and key positions."""
        init = nn.with_logical_partitioning(normal(1.0), (None, None))
        table: Any = self.param("table", init, (self.buckets, self.heads))
        distance = key[:, None, :] - query[:, :, None]
        return jnp.moveaxis(table[self._bucket(distance)], -1, 1)

    def _bucket(self, distance: Array) -> Array:
        count, offset = self.buckets, jnp.zeros_like(distance)
        if self.causal:
            away = jnp.maximum(-distance, 0)
        else:
            count //= 2
            offset, away = jnp.where(distance > 0, count, 0), jnp.abs(distance)
        exact = count // 2
        scale = jnp.log(jnp.maximum(away, 1) / exact) / jnp.log(self.farthest / exact)
        logarithmic = exact + (scale * (count - exact)).astype(jnp.int32)
        return offset + jnp.where(away < exact, away, jnp.minimum(logarithmic, count - 1))
