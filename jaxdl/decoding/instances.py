"""Instance grouping by centres and offsets (Panoptic-DeepLab, arXiv:1911.10194)."""

import math

import jax
import jax.numpy as jnp

Array = jax.Array


def group_image(
    foreground: Array,
    heatmap: Array,
    offset: Array,
    *,
    window: int,
    threshold: float,
    max_centers: int,
    min_pixels: int,
) -> tuple[Array, Array, Array]:
    """Assigns every foreground pixel to the centre nearest to its predicted one.

    Shapes are fixed; use `jax.vmap` for batches.

    Args:
      foreground: Logits of foreground, [h, w].
      heatmap: Logits of object centres, [h, w].
      offset: Offset (down, right) from each pixel to its centre, in pixels, [h, w, 2].
      window: Side of the window for local maxima, in pixels.
      threshold: Smallest probability of a centre (exclusive).
      max_centers: Largest number of centres.
      min_pixels: Smallest size of an instance.

    Returns:
      Instances int32 [h, w], numbered from 1 by decreasing centre probability, 0 for background; scores [max_centers],
      0 where unused; the number of instances, int32 [].
    """
    width = heatmap.shape[1]
    logit = math.log(threshold / (1.0 - threshold))
    peaks = local_maxima(heatmap, window) & (heatmap > logit)
    peak_logits, positions = jax.lax.top_k(jnp.where(peaks, heatmap, -jnp.inf).reshape(-1), max_centers)
    valid = peak_logits > -jnp.inf
    row = jnp.where(valid, (positions // width).astype(jnp.float32), jnp.inf)
    column = (positions % width).astype(jnp.float32)
    inside = (foreground > 0) & jnp.any(valid)
    number = jnp.where(inside, 1 + nearest_center(offset, row, column), 0)
    flat = number.reshape(-1)
    pixels = jax.ops.segment_sum(jnp.ones_like(flat), flat, max_centers + 1)[1:]
    chance = jax.ops.segment_sum(jax.nn.sigmoid(foreground).reshape(-1), flat, max_centers + 1)[1:]
    kept = pixels >= min_pixels
    renumbered = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.where(kept, jnp.cumsum(kept), 0).astype(jnp.int32)])
    score = jnp.where(kept, jax.nn.sigmoid(peak_logits) * chance / jnp.maximum(pixels, 1), 0.0)
    return renumbered[number], score[jnp.argsort(~kept)], jnp.sum(kept).astype(jnp.int32)


def local_maxima(heatmap: Array, window: int) -> Array:
    """Marks pixels that are the maximum of their window, bool [h, w].

    The first of equal maxima counts.
    """
    best = heatmap == _max_pool(heatmap, window, -jnp.inf)
    last_first = jnp.arange(heatmap.size, 0, -1, dtype=jnp.int32).reshape(heatmap.shape)
    order = jnp.where(best, last_first, 0)
    return best & (order == _max_pool(order, window, 0))


def _max_pool(values: Array, window: int, lowest: float) -> Array:
    """Max-pools [h, w] -> [h, w] over window x window pixels, separably."""
    for shape in ((window, 1), (1, window)):
        values = jax.lax.reduce_window(values, values.dtype.type(lowest), jax.lax.max, shape, (1, 1), "SAME")
    return values


def nearest_center(offset: Array, row: Array, column: Array) -> Array:
    """Returns the centre [k] nearest to each pixel's predicted one, int32 [h, w].

    The first if several are equidistant.
    """
    rows, columns = jnp.indices(offset.shape[:2])
    down, right = rows + offset[..., 0], columns + offset[..., 1]

    def compare(k: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        distance = jnp.square(down - row[k]) + jnp.square(right - column[k])
        nearer = distance < best[0]
        return jnp.where(nearer, distance, best[0]), jnp.where(nearer, k, best[1])

    # Sequential over centres, because an array of [h, w, k] distances would dominate memory.
    start = (jnp.full(down.shape, jnp.inf), jnp.zeros(down.shape, jnp.int32))
    return jax.lax.fori_loop(0, len(row), compare, start)[1]
