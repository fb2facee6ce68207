"""FCOS geometry (arXiv:1904.01355): locations of a feature pyramid, their targets, and boxes from distances."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxdl.decoding.nms import area
from jaxdl.errors import UserError
from jaxdl.training.task import Array


class Locations(NamedTuple):
    """All locations of a feature pyramid, level after level.

    Attributes:
      center: Position (row, column) in pixels, [locations, 2].
      stride: Pixels between neighbours of the level, [locations].
      min_distance, max_distance: Range of the distance to a box's farthest side that the level is for, [locations].
    """

    center: np.ndarray
    stride: np.ndarray
    min_distance: np.ndarray
    max_distance: np.ndarray


class Targets(NamedTuple):
    """Targets of the locations of one image.

    Attributes:
      label: Class, int32 [locations]; -1 without an assigned box, where the other targets are undefined.
      distances: Distances (top, left, bottom, right) to the box's sides in pixels, [locations, 4].
      centerness: Centerness in [0, 1], [locations].
    """

    label: Array
    distances: Array
    centerness: Array


def locate(shape: Sequence[int], sizes: Sequence[Sequence[int]], reach: float) -> Locations:
    """Returns the locations of a pyramid with levels of `sizes` over an image of `shape`.

    Args:
      shape: Height and width of the image.
      sizes: Rows and columns of each level.
      reach: Bound of the distance to a box's farthest side, in strides of the level.

    Raises:
      UserError: Strides that are not increasing powers of two.
    """
    levels, previous = [], 0.0
    for number, (rows, columns) in enumerate(sizes):
        strides = [2 ** round(np.log2(pixels / cells)) for pixels, cells in zip(shape, (rows, columns))]
        stride = strides[0]
        if strides[1] != stride or stride <= previous:
            raise UserError(
                f"levels of sizes {list(sizes)} do not form a pyramid over images {shape}; double the strides"
            )
        row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        center = (np.stack([row, column], axis=-1).reshape(-1, 2) + 0.5) * stride
        last = number == len(sizes) - 1
        bounds = (reach * previous if number else 0.0, np.inf if last else reach * stride)
        levels.append((center, *(np.full(len(center), value) for value in (stride, *bounds))))
        previous = stride
    return Locations(*(np.concatenate(column).astype(np.float32) for column in zip(*levels)))


def assign(locations: Locations, boxes: Array, label: Array, weight: Array, center_radius: float) -> Targets:
    """Assigns each location of one image to the smallest box that fits it.

    Args:
      locations: Locations of the pyramid.
      boxes: Boxes (top, left, bottom, right) in pixels, [objects, 4].
      label: Classes, int32 [objects].
      weight: Weights [objects], 0 on padding.
      center_radius: Largest distance to the box's center along each axis, in strides.
    """
    center = jnp.asarray(locations.center)[:, None]  # [locations, 1, 2]
    distances = jnp.concatenate([center - boxes[:, :2], boxes[:, 2:] - center], axis=-1)  # [locations, objects, 4]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = jnp.all(jnp.abs(center - middle) <= center_radius * locations.stride[:, None, None], axis=-1)
    farthest = distances.max(axis=-1)
    fits = (farthest >= locations.min_distance[:, None]) & (farthest < locations.max_distance[:, None])
    candidate = near & fits & (distances.min(axis=-1) > 0) & (weight > 0)
    owner = jnp.argmin(jnp.where(candidate, area(boxes), jnp.inf), axis=1)
    owned = jnp.take_along_axis(distances, owner[:, None, None], axis=1)[:, 0]
    assigned = jnp.any(candidate, axis=1)
    owned = jnp.where(assigned[:, None], owned, 1.0)
    lesser, greater = jnp.minimum(owned[:, :2], owned[:, 2:]), jnp.maximum(owned[:, :2], owned[:, 2:])
    return Targets(jnp.where(assigned, label[owner], -1), owned, jnp.sqrt(jnp.prod(lesser / greater, axis=-1)))


def to_boxes(locations: Locations, distances: Array) -> Array:
    """Returns boxes [..., locations, 4] from distances (top, left, bottom, right) of the same shape."""
    center = jnp.asarray(locations.center)
    return jnp.concatenate([center - distances[..., :2], center + distances[..., 2:]], axis=-1)


def flatten(outputs: Mapping[str, Sequence[Array]]) -> dict[str, Array]:
    """Concatenates the levels of each output, [batch, rows, columns, ...] -> [batch, locations, ...]."""
    return {
        name: jnp.concatenate([level.reshape(level.shape[0], -1, *level.shape[3:]) for level in levels], axis=1)
        for name, levels in outputs.items()
    }
