"""Boxes (top, left, bottom, right) in pixels: overlap, and non-maximum suppression with fixed shapes."""

import jax
import jax.numpy as jnp

Array = jax.Array

_TINY = 1e-9  # square pixels; keeps quotients of empty boxes finite


def area(boxes: Array) -> Array:
    """[..., 4] -> [...] square pixels; 0 where bottom <= top or right <= left."""
    height, width = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return jnp.maximum(height, 0) * jnp.maximum(width, 0)


def _overlap(a: Array, b: Array) -> tuple[Array, Array]:
    """(intersection, union) in square pixels, element by element over broadcast [..., 4]."""
    upper, lower = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    intersection = area(jnp.concatenate([upper, lower], axis=-1))
    return intersection, area(a) + area(b) - intersection


def intersection_over_union(a: Array, b: Array) -> Array:
    """Element by element: [..., 4] and [..., 4], broadcast -> [...] in [0, 1]; 0 where both are empty."""
    intersection, union = _overlap(a, b)
    return intersection / jnp.maximum(union, _TINY)


def pairwise_iou(a: Array, b: Array) -> Array:
    """Every box of one set against every box of the other: [..., n, 4], [..., m, 4] -> [..., n, m]."""
    return intersection_over_union(a[..., :, None, :], b[..., None, :, :])


def generalized_iou(a: Array, b: Array) -> Array:
    """IoU - (hull - union) / hull, in (-1, 1] (Rezatofighi et al. 2019, arXiv:1902.09630); [..., 4], [..., 4] -> [...].

    The hull is the smallest box that holds both; unlike IoU it has a gradient where boxes do not meet.
    """
    intersection, union = _overlap(a, b)
    upper, lower = jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])
    hull = area(jnp.concatenate([upper, lower], axis=-1))
    return intersection / jnp.maximum(union, _TINY) - (hull - union) / jnp.maximum(hull, _TINY)


def suppress(boxes: Array, scores: Array, threshold: float) -> Array:
    """Greedy non-maximum suppression: which boxes stay, bool [n].

    From the best score down, a box stays unless its IoU with one that stays already is above `threshold`. Ties go to
    the earlier box. Shapes are fixed, so it compiles once; use `jax.vmap` over a batch.

    Args:
      boxes: [n, 4].
      scores: [n]; a box of score 0 or less neither stays nor suppresses.
      threshold: IoU in [0, 1].
    """
    order = jnp.argsort(-scores, stable=True)
    boxes, alive = boxes[order], scores[order] > 0
    rivals = jnp.tril(pairwise_iou(boxes, boxes) > threshold, k=-1)  # [i, j]: j is better than i and overlaps it

    def decide(kept: Array, index: Array) -> tuple[Array, None]:
        stays = alive[index] & ~jnp.any(rivals[index] & kept)
        return kept.at[index].set(stays), None

    kept, _ = jax.lax.scan(decide, jnp.zeros(len(scores), bool), jnp.arange(len(scores)))
    return jnp.zeros_like(kept).at[order].set(kept)


def detections(boxes: Array, scores: Array, *, threshold: float, candidates: int, limit: int) -> dict[str, Array]:
    """The best boxes of one image, classes apart.

    Args:
      boxes: [n, 4], one a location.
      scores: [n, classes] in [0, 1]; 0 for what is no candidate.
      threshold: IoU above which the lesser of two boxes of a class goes.
      candidates: boxes with the highest scores that suppression looks at.
      limit: boxes that are given back.

    Returns:
      `boxes` [limit, 4], `labels` int32 [limit], `scores` [limit], the best first; zeros where there are fewer.
    """
    count, classes = scores.shape
    best, flat = jax.lax.top_k(scores.reshape(-1), min(candidates, count * classes))
    labels, chosen = flat % classes, boxes[flat // classes]
    # Boxes of different classes are moved so far apart that they never overlap.
    apart = chosen + (labels * 2 * (jnp.max(jnp.abs(boxes)) + 1))[:, None]
    kept = jnp.where(suppress(apart, best, threshold), best, 0)
    last, where = jax.lax.top_k(jnp.pad(kept, (0, max(0, limit - len(kept)))), limit)
    found = last > 0
    where = jnp.minimum(where, len(kept) - 1)
    return {
        "boxes": jnp.where(found[:, None], chosen[where], 0.0),
        "labels": jnp.where(found, labels[where], 0).astype(jnp.int32),
        "scores": last,
    }
