"""Instances from centres and offsets, with fixed shapes (Panoptic-DeepLab, arXiv:1911.10194)."""

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
    """Every pixel of an object goes to the centre that is nearest to where it points; `jax.vmap` for a batch.

    Args:
      foreground: [h, w] logits of "belongs to an object".
      heatmap: [h, w] logits of "is an object's centre".
      offset: [h, w, 2] (down, right) in pixels, to the centre of the pixel's object.
      window: pixels; a centre is the highest of the window x window pixels around it.
      threshold: a centre's probability is above.
      max_centers: the best so many are kept.
      min_pixels: smaller instances are dropped.

    Returns:
      instances int32 [h, w], numbered from 1 by falling probability of the centre, 0 for the background; score
      [max_centers] of instance n at n - 1, 0 where there is none; how many there are, int32 [].
    """
    width = heatmap.shape[1]
    logit = math.log(threshold / (1.0 - threshold))
    peaks = local_maxima(heatmap, window) & (heatmap > logit)
    height_of, place = jax.lax.top_k(jnp.where(peaks, heatmap, -jnp.inf).reshape(-1), max_centers)
    found = height_of > -jnp.inf
    row = jnp.where(found, (place // width).astype(jnp.float32), jnp.inf)
    column = (place % width).astype(jnp.float32)
    inside = (foreground > 0) & jnp.any(found)
    number = jnp.where(inside, 1 + nearest_center(offset, row, column), 0)
    flat = number.reshape(-1)
    pixels = jax.ops.segment_sum(jnp.ones_like(flat), flat, max_centers + 1)[1:]
    chance = jax.ops.segment_sum(jax.nn.sigmoid(foreground).reshape(-1), flat, max_centers + 1)[1:]
    kept = pixels >= min_pixels
    renumbered = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.where(kept, jnp.cumsum(kept), 0).astype(jnp.int32)])
    score = jnp.where(kept, jax.nn.sigmoid(height_of) * chance / jnp.maximum(pixels, 1), 0.0)
    return renumbered[number], score[jnp.argsort(~kept)], jnp.sum(kept).astype(jnp.int32)


def local_maxima(heatmap: Array, window: int) -> Array:
    """Whether a pixel is the highest of the window x window around it, bool [h, w]; of equal ones the first counts."""
    best = heatmap == _max_pool(heatmap, window, -jnp.inf)
    last_first = jnp.arange(heatmap.size, 0, -1, dtype=jnp.int32).reshape(heatmap.shape)
    order = jnp.where(best, last_first, 0)
    return best & (order == _max_pool(order, window, 0))


def _max_pool(values: Array, window: int, lowest: float) -> Array:
    """The maximum over window x window pixels, [h, w] -> [h, w]: down, then sideways."""
    for shape in ((window, 1), (1, window)):
        values = jax.lax.reduce_window(values, values.dtype.type(lowest), jax.lax.max, shape, (1, 1), "SAME")
    return values


def nearest_center(offset: Array, row: Array, column: Array) -> Array:
    """Which of the centres [k] is nearest to where each pixel points, int32 [h, w]; the first of equally near ones."""
    rows, columns = jnp.indices(offset.shape[:2])
    down, right = rows + offset[..., 0], columns + offset[..., 1]

    def compare(k: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        distance = jnp.square(down - row[k]) + jnp.square(right - column[k])
        nearer = distance < best[0]
        return jnp.where(nearer, distance, best[0]), jnp.where(nearer, k, best[1])

    # One centre after the other: [h, w, k] distances would be the largest array of all.
    start = (jnp.full(down.shape, jnp.inf), jnp.zeros(down.shape, jnp.int32))
    return jax.lax.fori_loop(0, len(row), compare, start)[1]
