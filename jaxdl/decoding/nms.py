"""IoU and non-maximum suppression of boxes (top, left, bottom, right), in pixels."""

import jax
import jax.numpy as jnp

Array = jax.Array

_TINY = 1e-9  # square pixels; avoids division by zero for empty boxes


def area(boxes: Array) -> Array:
    """Computes areas in square pixels, [..., 4] -> [...]; 0 for inverted boxes."""
    height, width = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return jnp.maximum(height, 0) * jnp.maximum(width, 0)


def _overlap(a: Array, b: Array) -> tuple[Array, Array]:
    """Computes (intersection, union) elementwise in square pixels, over broadcast [..., 4]."""
    upper, lower = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    intersection = area(jnp.concatenate([upper, lower], axis=-1))
    return intersection, area(a) + area(b) - intersection


def intersection_over_union(a: Array, b: Array) -> Array:
    """Computes IoU elementwise, [..., 4] and [..., 4] -> [...] in [0, 1]; 0 if empty."""
    intersection, union = _overlap(a, b)
    return intersection / jnp.maximum(union, _TINY)


def pairwise_iou(a: Array, b: Array) -> Array:
    """Computes IoU of all pairs, [..., n, 4] and [..., m, 4] -> [..., n, m]."""
    return intersection_over_union(a[..., :, None, :], b[..., None, :, :])


def generalized_iou(a: Array, b: Array) -> Array:
    """Computes generalized IoU, IoU - (hull - union) / hull in (-1, 1], elementwise.

    The hull is the smallest box around both, so disjoint boxes have a gradient (Rezatofighi et al. 2019,
    arXiv:1902.09630).
    """
    intersection, union = _overlap(a, b)
    upper, lower = jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])
    hull = area(jnp.concatenate([upper, lower], axis=-1))
    return intersection / jnp.maximum(union, _TINY) - (hull - union) / jnp.maximum(hull, _TINY)


def suppress(boxes: Array, scores: Array, threshold: float) -> Array:
    """Performs greedy non-maximum suppression with fixed shapes; use `jax.vmap` for batches.

    In order of decreasing score, a box is kept unless its IoU with a kept box exceeds `threshold`. Ties are resolved
    by position.

    Args:
      boxes: [n, 4].
      scores: [n]. Boxes with scores of at most 0 are dropped and do not suppress others.
      threshold: IoU in [0, 1].

    Returns:
      Whether each box is kept, bool [n].
    """
    order = jnp.argsort(-scores, stable=True)
    boxes, alive = boxes[order], scores[order] > 0
    rivals = jnp.tril(pairwise_iou(boxes, boxes) > threshold, k=-1)  # [i, j]: j ranks above i and overlaps it

    def decide(kept: Array, index: Array) -> tuple[Array, None]:
        stays = alive[index] & ~jnp.any(rivals[index] & kept)
        return kept.at[index].set(stays), None

    kept, _ = jax.lax.scan(decide, jnp.zeros(len(scores), bool), jnp.arange(len(scores)))
    return jnp.zeros_like(kept).at[order].set(kept)


def detections(boxes: Array, scores: Array, *, threshold: float, candidates: int, limit: int) -> dict[str, Array]:
    """Selects the best boxes of one image by class-wise non-maximum suppression.

    Args:
      boxes: [n, 4].
      scores: Scores in [0, 1], [n, classes]. 0 marks non-candidates.
      threshold: IoU above which the lower-scoring box of a class is suppressed.
      candidates: Number of highest-scoring boxes that enter suppression.
      limit: Number of boxes to return.

    Returns:
      `boxes` [limit, 4], `labels` int32 [limit], `scores` [limit], by decreasing score, padded with zeros.
    """
    count, classes = scores.shape
    best, flat = jax.lax.top_k(scores.reshape(-1), min(candidates, count * classes))
    labels, selected = flat % classes, boxes[flat // classes]
    # Offsets per class separate boxes of different classes, so that they never overlap.
    apart = selected + (labels * 2 * (jnp.max(jnp.abs(boxes)) + 1))[:, None]
    kept = jnp.where(suppress(apart, best, threshold), best, 0)
    last, indices = jax.lax.top_k(jnp.pad(kept, (0, max(0, limit - len(kept)))), limit)
    valid = last > 0
    indices = jnp.minimum(indices, len(kept) - 1)
    return {
        "boxes": jnp.where(valid[:, None], selected[indices], 0.0),
        "labels": jnp.where(valid, labels[indices], 0).astype(jnp.int32),
        "scores": last,
    }
