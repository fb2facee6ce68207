"""Center heatmaps and offsets of instances (Panoptic-DeepLab, arXiv:1911.10194): targets and losses."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.training.task import Array


class Maps(NamedTuple):
    """Outputs of a model for a batch.

    Attributes:
      foreground: Logits of the foreground, [batch, h, w].
      heatmap: Logits of object centers, [batch, h, w].
      offset: Offset (down, right) from each pixel to the center of its object in pixels, [batch, h, w, 2].
    """

    foreground: Array
    heatmap: Array
    offset: Array


class Targets(NamedTuple):
    """Targets of `Maps` for a batch.

    Attributes:
      foreground: float32 [batch, h, w], 1 on objects.
      heatmap: float32 [batch, h, w] in [0, 1], 1 at the pixel nearest to a center.
      offset: float32 [batch, h, w, 2] in pixels, 0 on the background.
      objects: Number of objects, float32 [batch].
    """

    foreground: Array
    heatmap: Array
    offset: Array
    objects: Array


def center_targets(instances: Array, *, limit: int, sigma: float) -> Targets:
    """Returns the targets of label images [batch, h, w]; an object's center is its center of mass.

    `limit` is the largest valid instance number, `sigma` the std of the heatmap's Gaussians in pixels.
    """
    return jax.vmap(functools.partial(_image_targets, limit=limit, sigma=sigma))(instances)


def _image_targets(instances: Array, *, limit: int, sigma: float) -> Targets:
    height, width = instances.shape
    number = instances.astype(jnp.int32)
    rows, columns = jnp.indices((height, width))
    # Integer sums do not depend on their order; relative to the image's middle they stay below 2^31 to 2,500 x 2,500.
    middle = np.array([height // 2, width // 2])
    moments = jnp.stack([jnp.ones_like(rows), rows - middle[0], columns - middle[1]], axis=-1)
    sums = jax.ops.segment_sum(moments.reshape(-1, 3), number.reshape(-1), limit + 1)
    present = (sums[:, 0] > 0) & (jnp.arange(limit + 1) > 0)
    size = jnp.maximum(sums[:, :1], 1)
    center = sums[:, 1:] / size + middle
    foreground = (number > 0).astype(jnp.float32)
    offset = (center[number] - jnp.stack([rows, columns], axis=-1)) * foreground[..., None]
    # Integer division: for centers halfway between two pixels, rounding of a quotient would decide.
    peak = (sums[:, 1:] + size // 2) // size + middle
    peaks = jnp.zeros((height, width)).at[peak[:, 0], peak[:, 1]].max(present.astype(jnp.float32))
    heatmap = _spread(_spread(peaks, sigma).T, sigma).T
    return Targets(foreground, heatmap, offset, jnp.sum(present).astype(jnp.float32))


def _spread(peaks: Array, sigma: float) -> Array:
    """Returns the maximum over Gaussians around all pixels along axis 0, scaled by the pixels' values."""
    reach = math.ceil(3 * sigma)
    padded = jnp.pad(peaks, ((reach, reach), (0, 0)))
    gaussian = jnp.exp(-0.5 * jnp.square(jnp.arange(-reach, reach + 1) / sigma))

    def raised(shift: Array, highest: Array) -> Array:
        near = jax.lax.dynamic_slice_in_dim(padded, shift, len(peaks))
        return jnp.maximum(highest, gaussian[shift] * near)

    # An unrolled loop compiles slowly.
    return jax.lax.fori_loop(0, len(gaussian), raised, jnp.zeros_like(peaks))


def heatmap_focal_loss(logits: Array, target: Array) -> Array:
    """Computes the penalty-reduced focal loss of each pixel (CornerNet, arXiv:1808.01244), alpha 2 and beta 4."""
    probability = jax.nn.sigmoid(logits)
    positive = jnp.square(1.0 - probability) * jax.nn.softplus(-logits)
    negative = (1.0 - target) ** 4 * jnp.square(probability) * jax.nn.softplus(logits)
    return jnp.where(target >= 1.0, positive, negative)
