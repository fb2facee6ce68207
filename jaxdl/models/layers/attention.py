"""Scaled dot-product attention with several heads, and what says where its tokens stand (arXiv:1706.03762).

Positions are whole numbers that come with the tokens. Who may look at whom follows from them: so a cache of earlier
tokens, a window and packed sequences are all one mask.

Logical axis names. Parameters: "embed" for the features of tokens, "heads" for those of queries, keys and values.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import dense, normal, with_logical_sharding
from jaxdl.models.layers.dot_product import attention_weights, dot_product_attention

Array = jax.Array
Cache = Mapping[str, Array]
SEEN = "attention"  # the collection of who looked at whom, float32 [batch, heads, n, m], for those who ask for it


class MultiHeadAttention(nn.Module):
    """Tokens [batch, n, features] look at each other, or at a memory's; the result is [batch, n, features].

    Attributes:
      features: of a token.
      heads: of the queries.
      kv_heads: of keys and values, must divide `heads`: grouped queries (arXiv:2305.13245); None: as many.
      head_size: numbers of a head; None: features // heads.
      causal: a token looks at those before it and at itself.
      window: with `causal`, it looks at this many, itself included (arXiv:2004.05150); 0: at all.
      rotary: base of the wavelengths by which queries and keys are turned (RoPE, arXiv:2104.09864); 0: they are not.
      scaled: scores are divided by the square root of `head_size`; T5 leaves them as they are.
      use_bias: of the four dense layers.
      deviation: standard deviation of the drawn kernels; None: LeCun's. `out_deviation`: of the last layer's.
      lora: rank of matrices that are added to the kernels of queries and values, as `query_low` and `value_low`
        (LoRA, arXiv:2106.09685); 0: none. See `jaxdl.training.optimizers.train_only`.
      dtype: to compute in; softmax and sums are float32.
    """

    features: int
    heads: int
    kv_heads: int | None = None
    head_size: int | None = None
    causal: bool = False
    window: int = 0
    rotary: float = 0.0
    scaled: bool = True
    use_bias: bool = True
    deviation: float | None = None
    out_deviation: float | None = None
    lora: int = 0
    dtype: Any = None

    def setup(self):
        size = self.head_size or self.features // self.heads
        options = {"use_bias": self.use_bias, "dtype": self.dtype}
        self.query = drawn_dense(self.heads * size, ("embed", "heads"), self.deviation, **options)
        self.key = drawn_dense((self.kv_heads or self.heads) * size, ("embed", "heads"), self.deviation, **options)
        self.value = drawn_dense((self.kv_heads or self.heads) * size, ("embed", "heads"), self.deviation, **options)
        self.out = drawn_dense(self.features, ("heads", "embed"), self.out_deviation or self.deviation, **options)

        if self.lora:
            self.query_low = LowRank(self.heads * size, self.lora, self.dtype)
            self.value_low = LowRank((self.kv_heads or self.heads) * size, self.lora, self.dtype)

    def project_memory(self, memory: Array) -> Cache:
        """What tokens see of a memory [batch, m, features]: `key` and `value` [batch, m, kv_heads, head_size]."""
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
        """
        Args:
          x: [batch, n, features].
          memory: what `project_memory` made of it, which is looked at in place of x itself; then `causal` must be off.
          positions: int32 [batch, n] of x; None: 0, 1, ....
          mask: bool, broadcasts to [batch, 1, n, m]: where False nobody looks, whatever else holds. With a cache, m are
            its places, and after them, if there are several, x.
          bias: broadcasts to [batch, heads, n, m], added to the scores.
          segments: int32 [batch, n], which of several packed sequences, that lie one after the other, a token is of: it
            looks at no other; there is no cache then.
          cache: see `empty_cache`: x comes after what is in it.

        Returns:
          [batch, n, features]; with a cache also the cache with x in it.
        """
        query = self._heads(self.query(x) + self.query_low(x) if self.lora else self.query(x))
        key, value = (self.project_memory(x) if memory is None else memory).values()
        looked = positions
        if self.rotary and memory is None:
            at = jnp.arange(x.shape[1])[None] if positions is None else positions
            query, key = rotate(query, at, self.rotary), rotate(key, at, self.rotary)
        if cache is not None:
            assert positions is not None, "tokens after a cache have positions"
            before, cache = cache, extended(cache, positions, key=key, value=value)
            if x.shape[1] == 1:
                key, value, looked = cache["key"], cache["value"], cache["position"]
            else:  # some may have taken the place of what the first of them should see
                joined = {"key": key, "value": value, "position": positions}
                key, value, looked = (
                    jnp.concatenate([before[name], each.astype(before[name].dtype)], axis=1)
                    for name, each in joined.items()
                )
        # Then the fast kernels know what causal means.
        plain = memory is None and (positions is None or segments is not None)
        if memory is None and not plain:
            seen = visible(positions, looked, self.causal, self.window)  # type: ignore
            mask = seen if mask is None else mask & seen
        options: dict[str, Any] = {
            "bias": bias,
            "mask": mask,
            "segments": segments,
            "scale": query.shape[-1] ** -0.5 if self.scaled else 1.0,
            "causal": self.causal and plain,
            "window": self.window if plain else 0,
        }
        key = key.astype(query.dtype)
        if self.is_mutable_collection(SEEN) and not self.is_initializing():
            self.sow(SEEN, "weights", attention_weights(query, key, **options))
        y = dot_product_attention(query, key, value.astype(query.dtype), **options)
        y = self.out(y.reshape(*x.shape[:-1], -1))
        return y if cache is None else (y, cache)

    def _heads(self, x: Array) -> Array:
        x = x.reshape(*x.shape[:-1], -1, self.head_size or self.features // self.heads)
        return with_logical_sharding(x, ("batch", None, "heads", None))


class LowRank(nn.Module):
    """[..., c] -> [..., features] by two kernels of a small rank, zero at the start (LoRA, arXiv:2106.09685)."""

    features: int
    rank: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        down = dense(self.rank, ("embed", None), use_bias=False, dtype=self.dtype, name="down")(x)
        options: dict[str, Any] = {"use_bias": False, "kernel_init": nn.initializers.zeros, "dtype": self.dtype}
        return dense(self.features, (None, "heads"), name="up", **options)(down)


def merged(params: Any) -> Any:
    """Parameters in which LoRA's matrices are added to the kernels that they belong to, for models without them."""
    if not isinstance(params, Mapping):
        return params
    found = {name: merged(value) for name, value in params.items() if not name.endswith("_low")}
    for name, low in params.items():
        if name.endswith("_low"):
            whole = found[name.removesuffix("_low")]
            kernel = whole["kernel"] + low["down"]["kernel"] @ low["up"]["kernel"]
            found[name.removesuffix("_low")] = {**whole, "kernel": kernel}
    return found


def drawn_dense(
    features: int, axes: tuple[str | None, str | None], deviation: float | None, **options: Any
) -> nn.Dense:
    """`jaxdl.models.layers.dense.dense` with a kernel of this standard deviation; None: LeCun's."""
    return dense(features, axes, kernel_init=None if deviation is None else normal(deviation), **options)


def empty_cache(batch: int, length: int, kv_heads: int, head_size: int, dtype: Any = jnp.float32) -> Cache:
    """Room for the keys and values of `length` tokens: `key`, `value` [batch, length, kv_heads, head_size], `position`
    int32 [batch, length], -1 where there is none."""
    values = jnp.zeros((batch, length, kv_heads, head_size), dtype)
    return {"key": values, "value": values, "position": jnp.full((batch, length), -1, jnp.int32)}


def extended(cache: Cache, positions: Array, **tokens: Array) -> Cache:
    """The cache with tokens at `positions` [batch, n]; when it is full they take the place of the oldest ones.

    `tokens` are `key` and `value`, where the cache has them.

    Tokens at a position below 0 are not there, and are not kept.
    """
    length = cache["position"].shape[1]
    rows = jnp.arange(positions.shape[0])[:, None]
    stay = (positions >= 0) & (positions > positions.max(axis=1, keepdims=True) - length)
    places = jnp.where(stay, positions % length, length)  # `length`: nowhere
    new = {"position": positions, **tokens}
    return {name: old.at[rows, places].set(new[name].astype(old.dtype), mode="drop") for name, old in cache.items()}


def visible(query: Array, key: Array, causal: bool, window: int) -> Array:
    """bool [batch, 1, n, m]: who looks at whom, by their positions [batch, n] and [batch, m]; below 0: not there."""
    ahead = query[:, None, :, None] - key[:, None, None, :]
    seen = (key >= 0)[:, None, None, :]
    if causal:
        seen = seen & (ahead >= 0)
        if window:
            seen = seen & (ahead < window)
    return seen


def rotate(x: Array, positions: Array, base: float) -> Array:
    """Turns pairs of numbers by an angle in proportion to the position (arXiv:2104.09864).

    The pairs are number i of the first half and number i of the second, as in Llama.

    Args:
      x: [batch, n, heads, size], size even.
      positions: int32 [batch, n].
    """
    half = x.shape[-1] // 2
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = (positions.astype(jnp.float32)[..., None] * frequency)[:, :, None]
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    first, second = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    turned = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return turned.astype(x.dtype)


class RelativeBias(nn.Module):
    """T5's bias on scores, by how far away a token is (Raffel et al. 2019, arXiv:1910.10683, section 2.1).

    Attributes:
      heads: of the attention.
      buckets: distances are sorted into so many, near ones each for itself, far ones on a logarithmic scale.
      farthest: distances from here on are one bucket.
      causal: no token looks ahead, and all buckets are for those behind.
    """

    heads: int
    buckets: int = 32
    farthest: int = 128
    causal: bool = False

    @nn.compact
    def __call__(self, query: Array, key: Array) -> Array:
        """Positions [batch, n] and [batch, m] -> float32 [batch, heads, n, m]."""
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
        near = count // 2
        scale = jnp.log(jnp.maximum(away, 1) / near) / jnp.log(self.farthest / near)
        far = near + (scale * (count - near)).astype(jnp.int32)
        return offset + jnp.where(away < near, away, jnp.minimum(far, count - 1))
