"""Dot-product attention with cuDNN, TPU and XLA implementations (arXiv:1706.03762).

NVIDIA GPUs in half precision use cuDNN's flash attention, TPUs the splash attention kernel, and other devices blockwise
matrix products that skip masked keys. All compute the same function.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxdl.models.layers.dense import logical_partition_spec

Array = jax.Array

BLOCKS = 4  # query blocks under a causal mask: more blocks skip more masked keys, but their products are smaller
_LARGE = -1e30  # masked score; with -infinity a query without keys would be NaN instead of uniform


class Scores(NamedTuple):
    """Scale, bias and mask of attention scores.

    Attributes:
      bias: Added to the scores, broadcasts to [batch, heads, n, m].
      mask: bool, broadcasts to [batch, 1, n, m]. False masks a key.
      segments: int32 [batch, n], the number of the packed sequence that a token belongs to; n must be m. Sequences do
        not attend to each other.
      scale: Factor of the scores.
      causal: Query i attends to keys 0 to i; n must be m.
      window: With `causal`, query i attends to the last `window` of those. 0: all.
    """

    bias: Array | None = None
    mask: Array | None = None
    segments: Array | None = None
    scale: float = 1.0
    causal: bool = False
    window: int = 0

    def segment_mask(self) -> Array | None:
        """Returns the mask with that of the segments."""
        return self.mask if self.segments is None else _both(self.mask, same_segment(self.segments, self.segments))


def dot_product_attention(query: Array, key: Array, value: Array, scores: Scores) -> Array:
    """Computes softmax(scale * query key^T + bias) value with the fastest implementation.

    Args:
      query: [batch, n, heads, size].
      key: [batch, m, kv_heads, size]. `kv_heads` divides `heads`; neighbouring heads share a key.
      value: [batch, m, kv_heads, size].
      scores: Scale, bias and mask.

    Returns:
      [batch, n, heads, size] in the dtype of `query`. Scores and softmax are float32. A query without keys returns the
      mean of the values.
    """
    if _cudnn(query, key):
        options: dict[str, Any] = {"implementation": "cudnn", "is_causal": scores.causal, "scale": scores.scale}
        options["local_window_size"] = (scores.window - 1, 0) if scores.window else None
        return jax.nn.dot_product_attention(query, key, value, scores.bias, scores.segment_mask(), **options)
    if _splash(query, key) and scores.bias is None and scores.mask is None:
        return splash(query, key, value, scores)
    return by_blocks(query, key, value, scores)


def _platform() -> str:
    """Returns the platform that is traced for, which may be absent (ahead-of-time compilation)."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    platform = jax.default_backend() if device is None else device.platform
    return "gpu" if platform == "cuda" else platform


def _cudnn(query: Array, key: Array) -> bool:
    """Returns whether dtype, head size and lengths fit cuDNN's kernels."""
    half = query.dtype in (jnp.bfloat16, jnp.float16)
    fits = query.shape[-1] % 8 == 0 and query.shape[-1] <= 128
    long = min(query.shape[1], key.shape[1]) >= 64 and query.shape[1] % 2 == 0 and key.shape[1] % 2 == 0
    return _platform() == "gpu" and half and fits and long


def _splash(query: Array, key: Array) -> bool:
    """Returns whether the TPU splash kernel applies: equal lengths divisible by 128."""
    return _platform() == "tpu" and query.shape[1] == key.shape[1] and query.shape[1] % 128 == 0


def splash(query: Array, key: Array, value: Array, scores: Scores, interpret: bool = False) -> Array:
    """Computes attention with the TPU splash kernel, which skips masked blocks; without bias and mask.

    `interpret` runs the kernel in interpret mode, without a TPU.
    """
    segments = scores.segments
    groups = query.shape[2] // key.shape[2]
    operands = [jnp.moveaxis(x, 2, 1) for x in (query * scores.scale, key, value)]  # [batch, heads, length, size]
    operands[1:] = [jnp.repeat(x, groups, axis=1) for x in operands[1:]]
    attend: Any = functools.partial(_splash_heads, causal=scores.causal, window=scores.window, interpret=interpret)
    spec = logical_partition_spec(("batch", "heads", None, None), operands[0].shape)
    if spec is not None:  # XLA does not partition Pallas kernels
        specs = [spec] * 3 + ([] if segments is None else [PartitionSpec(spec[0], None)])
        attend = jax.shard_map(attend, in_specs=tuple(specs), out_specs=spec, check_vma=False)
    y = attend(*operands) if segments is None else attend(*operands, segments)
    return jnp.moveaxis(y, 1, 2).astype(query.dtype)


def _splash_heads(
    query: Array, key: Array, value: Array, segments: Array | None = None, *, causal: bool, window: int, interpret: bool
) -> Array:
    """Returns attention of one device's shard, [batch, heads, length, size]."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    heads, length = query.shape[1], query.shape[2]
    shape = (length, length)
    if not causal:
        mask: Any = masks.FullMask(shape)
    elif window:
        mask = masks.LocalMask(shape, (window - 1, 0), 0)
    else:
        mask = masks.CausalMask(shape)
    attend: Any = kernel.make_splash_mha_single_device(masks.MultiHeadMask([mask] * heads), interpret=interpret)
    if segments is None:
        return jax.vmap(attend)(query, key, value)
    segmented = jax.vmap(lambda q, k, v, ids: attend(q, k, v, kernel.SegmentIds(ids, ids)))
    return segmented(query, key, value, segments)


def by_blocks(query: Array, key: Array, value: Array, scores: Scores, blocks: int | None = None) -> Array:
    """Computes attention with XLA matrix products.

    The arguments are those of `dot_product_attention`, and `blocks`, the number of query blocks under a causal mask.
    None: `BLOCKS`, or 1 if that does not divide the length.
    """
    bias, mask, segments, scale, causal, window = scores
    length = query.shape[1]
    # Only an arbitrary mask can leave a query without keys: otherwise each attends to its own position.
    plain = functools.partial(_plain, scale=scale, may_lack_keys=mask is not None)
    if not causal:
        return plain(query, key, value, bias, scores.segment_mask())
    count = blocks or (BLOCKS if length % BLOCKS == 0 and length >= 16 * BLOCKS else 1)
    size, parts = length // count, []
    for first in range(0, length, size):
        end = first + size
        begin = max(0, first - window + 1) if window else 0
        part = functools.partial(_part, rows=slice(first, end), columns=slice(begin, end))
        visible = _both(part(mask), _causal_mask(range(first, end), range(begin, end), window)[None, None])
        if segments is not None:
            visible = visible & same_segment(segments[:, first:end], segments[:, begin:end])
        parts.append(plain(query[:, first:end], key[:, begin:end], value[:, begin:end], part(bias), visible))
    return jnp.concatenate(parts, axis=1)


def attention_weights(query: Array, key: Array, scores: Scores) -> Array:
    """Returns attention weights float32 [batch, heads, n, m], for visualization."""
    key = jnp.repeat(key, query.shape[2] // key.shape[2], axis=2)
    products = jnp.einsum("bnhd,bmhd->bhnm", query, key, preferred_element_type=jnp.float32) * scores.scale
    products = products if scores.bias is None else products + scores.bias
    visible = scores.segment_mask()
    if scores.causal:
        visible = _both(visible, _causal_mask(range(query.shape[1]), range(key.shape[1]), scores.window))
    return jax.nn.softmax(products if visible is None else jnp.where(visible, products, _LARGE), axis=-1)


def _causal_mask(queries: range, keys: range, window: int) -> Array:
    """Returns the causal mask of positions, bool [n, m]."""
    distance = jnp.arange(queries.start, queries.stop)[:, None] - jnp.arange(keys.start, keys.stop)[None]
    return (distance >= 0) & (distance < window) if window else distance >= 0


def same_segment(first: Array, second: Array) -> Array:
    """Returns the mask of equal segments, bool [batch, 1, n, m]."""
    return (first[:, :, None] == second[:, None, :])[:, None]


def _both(mask: Array | None, other: Array) -> Array:
    return other if mask is None else mask & other


def _part(x: Array | None, rows: slice, columns: slice) -> Array | None:
    """Returns rows and columns of [..., n, m]; axes of size 1 broadcast and stay."""
    if x is None:
        return None
    x = x if x.shape[-2] == 1 else x[..., rows, :]
    return x if x.shape[-1] == 1 else x[..., columns]


def _plain(
    query: Array,
    key: Array,
    value: Array,
    bias: Array | None,
    mask: Array | None,
    *,
    scale: float,
    may_lack_keys: bool,
) -> Array:
    batch, n, heads, size = query.shape
    m, groups = key.shape[1:3]
    # Products have the axes [batch, heads, length, size]: from [batch, length, heads, size] XLA:CPU copies operands in
    # several orders, and forward and backward pass take 1.3 to 1.5 times as long (jaxlib 0.10.2).
    q = jnp.moveaxis(query * scale, 1, 2).reshape(batch, groups, -1, size)
    k, v = jnp.moveaxis(key, 1, 2), jnp.moveaxis(value, 1, 2)
    scores = jnp.einsum("bgnd,bgmd->bgnm", q, k, preferred_element_type=jnp.float32).reshape(batch, heads, n, m)
    if bias is not None:
        scores = scores + bias
    if mask is not None and may_lack_keys:
        scores = jnp.where(mask, scores, _LARGE)  # the scores of a query without keys have no gradient
    elif mask is not None:
        scores = scores + jnp.where(mask, 0.0, _LARGE)  # equal, with a faster gradient
    # The division comes after the product with the values, which has fewer elements.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    total = weights.sum(-1, keepdims=True)
    weights = weights.astype(query.dtype).reshape(batch, groups, -1, m)
    y = jnp.einsum("bgnm,bgmd->bgnd", weights, v, preferred_element_type=jnp.float32)
    y = y.reshape(batch, heads, n, size) / total
    return jnp.moveaxis(y, 1, 2).astype(query.dtype)
