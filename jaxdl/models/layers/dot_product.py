"""softmax(queries keys^T) values: one function, and the way that is fast on the device at hand (arXiv:1706.03762).

NVIDIA GPUs in half precision: cuDNN's flash attention. TPUs: the splash kernel. All else: matrix products in which each
block of queries meets only the keys that it may see. All of them compute the same.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxdl.models.layers.dense import split

Array = jax.Array

BLOCKS = 4  # of queries under a causal mask: more of them see less that is masked, and are more small products
_LARGE = -1e30  # of a masked score, in place of an infinity: a row without any key is uniform, not NaN


def dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    bias: Array | None = None,
    mask: Array | None = None,
    segments: Array | None = None,
    scale: float,
    causal: bool = False,
    window: int = 0,
) -> Array:
    """
    Args:
      query: [batch, n, heads, size].
      key, value: [batch, m, kv_heads, size]; kv_heads divides heads, whose neighbours share a key.
      bias: broadcasts to [batch, heads, n, m], added to the scores.
      mask: bool, broadcasts to [batch, 1, n, m]: where False, nothing is seen.
      segments: int32 [batch, n], of which packed sequence each is: it sees keys of its own alone; n must be m.
      scale: factor of the scores.
      causal: query i sees keys 0 to i; n must be m.
      window: with `causal`, of those only the last `window`; 0: all.

    Returns:
      [batch, n, heads, size] in the queries' type; scores and softmax are float32. A query that sees nothing gets the
      mean of the values.
    """
    given = bias is not None or mask is not None
    if _cudnn(query, key):
        if segments is not None:
            mask = _both(mask, same(segments, segments))
        options: dict[str, Any] = {"implementation": "cudnn", "is_causal": causal, "scale": scale}
        options["local_window_size"] = (window - 1, 0) if window else None
        return jax.nn.dot_product_attention(query, key, value, bias, mask, **options)
    if _splash(query, key) and not given:
        return splash(query, key, value, segments=segments, scale=scale, causal=causal, window=window)
    options = {"bias": bias, "mask": mask, "segments": segments, "scale": scale, "causal": causal, "window": window}
    return by_blocks(query, key, value, **options)


def _platform() -> str:
    """That of the devices that this is traced for, which need not be here."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    platform = jax.default_backend() if device is None else device.platform
    return "gpu" if platform == "cuda" else platform


def _cudnn(query: Array, key: Array) -> bool:
    """Whether cuDNN's kernels take these: half precision, heads of at most 128 numbers in steps of 8, some length."""
    half = query.dtype in (jnp.bfloat16, jnp.float16)
    fits = query.shape[-1] % 8 == 0 and query.shape[-1] <= 128
    long = min(query.shape[1], key.shape[1]) >= 64 and query.shape[1] % 2 == 0 and key.shape[1] % 2 == 0
    return _platform() == "gpu" and half and fits and long


def _splash(query: Array, key: Array) -> bool:
    """Whether TPUs' splash kernel takes these: blocks of 128 tokens that attend to themselves."""
    return _platform() == "tpu" and query.shape[1] == key.shape[1] and query.shape[1] % 128 == 0


def splash(
    query: Array,
    key: Array,
    value: Array,
    *,
    segments: Array | None = None,
    scale: float,
    causal: bool = False,
    window: int = 0,
    interpret: bool = False,
) -> Array:
    """The splash kernel, which leaves out blocks that nobody sees; arguments as of `dot_product_attention`.

    Args:
      interpret: compute it without a TPU, slowly.
    """
    groups = query.shape[2] // key.shape[2]
    rows = [jnp.moveaxis(each, 2, 1) for each in (query * scale, key, value)]
    rows[1:] = [jnp.repeat(each, groups, axis=1) for each in rows[1:]]
    attend: Any = functools.partial(_splash_rows, causal=causal, window=window, interpret=interpret)
    cut = split(("batch", "heads", None, None), rows[0].shape)
    if cut is not None:  # XLA does not cut a kernel by itself
        specs = [cut] * 3 + ([] if segments is None else [PartitionSpec(cut[0], None)])
        attend = jax.shard_map(attend, in_specs=tuple(specs), out_specs=cut, check_vma=False)
    y = attend(*rows) if segments is None else attend(*rows, segments)
    return jnp.moveaxis(y, 1, 2).astype(query.dtype)


def _splash_rows(
    query: Array, key: Array, value: Array, segments: Array | None = None, *, causal: bool, window: int, interpret: bool
) -> Array:
    """All [batch, heads, length, size], of what one device has."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    heads, length = query.shape[1], query.shape[2]
    shape = (length, length)
    if not causal:
        seen: Any = masks.FullMask(shape)
    elif window:
        seen = masks.LocalMask(shape, (window - 1, 0), 0)
    else:
        seen = masks.CausalMask(shape)
    attend: Any = kernel.make_splash_mha_single_device(masks.MultiHeadMask([seen] * heads), interpret=interpret)
    if segments is None:
        return jax.vmap(attend)(query, key, value)
    apart = jax.vmap(lambda q, k, v, own: attend(q, k, v, kernel.SegmentIds(own, own)))
    return apart(query, key, value, segments)


def by_blocks(
    query: Array,
    key: Array,
    value: Array,
    *,
    bias: Array | None = None,
    mask: Array | None = None,
    segments: Array | None = None,
    scale: float,
    causal: bool = False,
    window: int = 0,
    blocks: int | None = None,
) -> Array:
    """Matrix products; arguments as of `dot_product_attention`.

    Args:
      blocks: of queries, if `causal`; None: `BLOCKS`, or one where that does not divide them.
    """
    length = query.shape[1]
    count = blocks or (BLOCKS if length % BLOCKS == 0 and length >= 16 * BLOCKS else 1)
    if not causal:
        mask = mask if segments is None else _both(mask, same(segments, segments))
        return _plain(query, key, value, bias, mask, scale)
    size, parts = length // count, []
    for first in range(0, length, size):
        end = first + size
        begin = max(0, first - window + 1) if window else 0
        ahead = jnp.arange(first, end)[:, None] - jnp.arange(begin, end)[None]
        seen = (ahead >= 0) & (ahead < window) if window else ahead >= 0
        part = functools.partial(_part, rows=slice(first, end), columns=slice(begin, end))
        seen = _both(part(mask), seen[None, None])
        if segments is not None:
            seen = seen & same(segments[:, first:end], segments[:, begin:end])
        parts.append(_plain(query[:, first:end], key[:, begin:end], value[:, begin:end], part(bias), seen, scale))
    return jnp.concatenate(parts, axis=1)


def attention_weights(
    query: Array,
    key: Array,
    *,
    bias: Array | None = None,
    mask: Array | None = None,
    segments: Array | None = None,
    scale: float,
    causal: bool = False,
    window: int = 0,
) -> Array:
    """How much each query looks at each key, float32 [batch, heads, n, m], to be looked at; arguments as above."""
    key = jnp.repeat(key, query.shape[2] // key.shape[2], axis=2)
    scores = jnp.einsum("bnhd,bmhd->bhnm", query, key, preferred_element_type=jnp.float32) * scale
    scores = scores if bias is None else scores + bias
    ahead = jnp.arange(query.shape[1])[:, None] - jnp.arange(key.shape[1])[None]
    seen = jnp.ones((1, 1, 1, 1), bool) if mask is None else mask
    if segments is not None:
        seen = seen & same(segments, segments)
    if causal:
        seen = seen & (ahead >= 0) & ((ahead < window) if window else True)
    return jax.nn.softmax(jnp.where(seen, scores, _LARGE), axis=-1)


def same(first: Array, second: Array) -> Array:
    """bool [batch, 1, n, m]: whether two tokens are of the same packed sequence, int32 [batch, n] and [batch, m]."""
    return (first[:, :, None] == second[:, None, :])[:, None]


def _both(mask: Array | None, other: Array) -> Array:
    return other if mask is None else mask & other


def _part(each: Array | None, rows: slice, columns: slice) -> Array | None:
    """Those rows and columns of [..., n, m], each of which may be 1, for all."""
    if each is None:
        return None
    each = each if each.shape[-2] == 1 else each[..., rows, :]
    return each if each.shape[-1] == 1 else each[..., columns]


def _plain(query: Array, key: Array, value: Array, bias: Array | None, mask: Array | None, scale: float) -> Array:
    batch, n, heads, size = query.shape
    groups = key.shape[2]
    q = (query * scale).reshape(batch, n, groups, heads // groups, size)
    scores = jnp.einsum("bngrd,bmgd->bgrnm", q, key, preferred_element_type=jnp.float32)
    if bias is not None:
        wide = jnp.broadcast_to(bias, (*bias.shape[:1], heads, *bias.shape[2:])) if bias.shape[1] != 1 else bias
        scores = scores + (
            wide[:, :, None] if wide.shape[1] == 1 else wide.reshape(wide.shape[0], groups, -1, *wide.shape[2:])
        )
    if mask is not None:
        scores = jnp.where(mask[:, :, None], scores, _LARGE)
    # Divided after the product with the values, which has fewer numbers.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    total = weights.sum(-1)
    y = jnp.einsum("bgrnm,bmgd->bngrd", weights.astype(query.dtype), value, preferred_element_type=jnp.float32)
    y = y / jnp.moveaxis(total, -1, 1)[..., None]
    return y.reshape(batch, n, heads, size).astype(query.dtype)
