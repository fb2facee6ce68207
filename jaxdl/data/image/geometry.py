"""What moves along when the pixels of `image` move: `boxes`, `mask` and `instances`, whichever the batch has.

  boxes: float32 [batch, objects, 4], (top, left, bottom, right) in pixels, continuous edges: a box that covers the
    whole image is (0, 0, height, width). With box_label int32, box_weight float32 and, if any, box_crowd float32, all
    [batch, objects]. Boxes are cut at the image's border. A box of which less than a tenth (`KEPT_SHARE`) of its area
    is left becomes padding: all of its row is 0. A crowd region stays for as long as it has an area.
  mask: uint8 [batch, height, width], class ids; of the nearest pixel, 255 (not labelled) where there is no image.
  instances: int32 [batch, height, width], of the nearest pixel, 0 (background) where there is no image.

Each function here gives the changed features alone, and nothing for a batch without any.
"""

import numpy as np

from jaxdl.data.source import Batch
from jaxdl.errors import UserError

KEPT_SHARE = 0.1
UNLABELLED = 255
_PLANES = {"mask": UNLABELLED, "instances": 0}  # feature -> what lies outside of the image
_ROWS = ("box_label", "box_weight", "box_crowd")
_RAW = {"objects/bbox": "Objects", "segmentation_mask": "Mask"}


def cut(batch: Batch, windows: np.ndarray, height: int, width: int) -> Batch:
    """For images of which a window was cut out and resized.

    Args:
      batch: before the cut.
      windows: [batch, 4] (top, left, bottom, right) in pixels of the image; may reach beyond it.
      height, width: size of the result in pixels.
    """
    found = _companions(batch)
    if not found:
        return {}
    windows = np.asarray(windows, np.float64)
    start = windows[:, :2]
    scale = (windows[:, 2:] - start) / (height, width)
    moved: Batch = {}
    rows, columns = (
        np.floor(start[:, axis, None] + (np.arange(size) + 0.5) * scale[:, axis, None]).astype(np.int64)
        for axis, size in enumerate((height, width))
    )
    for name in found & set(_PLANES):
        moved[name] = _sample(batch[name], rows[:, :, None], columns[:, None, :], _PLANES[name])
    if "boxes" in found:
        boxes = (batch["boxes"] - np.tile(start, 2)[:, None]) / np.tile(scale, 2)[:, None]
        moved |= _settled(batch, boxes, height, width)
    return moved


def mirror(batch: Batch, flip: np.ndarray) -> Batch:
    """For images that were mirrored left to right where `flip`, bool [batch]."""
    found = _companions(batch)
    moved: Batch = {}
    for name in found & set(_PLANES):
        moved[name] = batch[name].copy()
        moved[name][flip] = batch[name][flip, :, ::-1]
    if "boxes" in found:
        height, width = batch["image"].shape[1:3]
        top, left, bottom, right = np.moveaxis(batch["boxes"].astype(np.float64), -1, 0)
        mirrored = np.stack([top, width - right, bottom, width - left], axis=-1)
        moved |= _settled(batch, np.where(flip[:, None, None], mirrored, batch["boxes"]), height, width)
    return moved


def warp(batch: Batch, matrix: np.ndarray, shift: np.ndarray) -> Batch:
    """For images that were turned, scaled and slanted: `out[p] = image[centre + matrix (p - centre - shift)]`.

    A box becomes the smallest upright box around its four corners, so after a turn it is larger than its object.

    Args:
      batch: before the change.
      matrix: [batch, 2, 2] over (row, column).
      shift: [batch, 2] pixels, (down, right).
    """
    found = _companions(batch)
    if not found:
        return {}
    height, width = batch["image"].shape[1:3]
    moved: Batch = {}
    if found & set(_PLANES):
        nearest = np.floor(affine_sources(matrix, shift, height, width) + 0.5).astype(np.int64)
        for name in found & set(_PLANES):
            moved[name] = _sample(batch[name], nearest[:, 0], nearest[:, 1], _PLANES[name])
    if "boxes" in found:
        centre = np.array([height / 2, width / 2])
        corners = batch["boxes"].astype(np.float64)[..., [[0, 1], [0, 3], [2, 1], [2, 3]]]  # [batch, objects, 4, 2]
        corners = np.einsum("bij,bnkj->bnki", np.linalg.inv(matrix.astype(np.float64)), corners - centre)
        corners += centre + shift[:, None, None]
        moved |= _settled(batch, np.concatenate([corners.min(2), corners.max(2)], axis=-1), height, width)
    return moved


def affine_sources(matrix: np.ndarray, shift: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where `warp` takes each pixel from: float32 [batch, 2, height, width], (row, column), whole at pixel centres."""
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    matrix = matrix.astype(np.float32)
    offset = (centre - np.einsum("bij,bj->bi", matrix, centre + shift)).astype(np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)
    return matrix[:, :, 0, None, None] * y + matrix[:, :, 1, None, None] * x + offset[:, :, None, None]


def _companions(batch: Batch) -> set[str]:
    """Which features move along with the image.

    Raises:
      UserError: one of them does not fit the image, or is still as the data set has it.
    """
    for name, needed in _RAW.items():
        if name in batch:
            raise UserError(
                f"feature '{name}' does not move along with the image; put {needed} of"
                " jaxdl.data.image.boxes_and_masks before transforms that move pixels, or leave it out:"
                " Dataset(..., features=(...)) names the rest"
            )
    found = {"boxes", *_PLANES} & set(batch)
    for name in found & set(_PLANES):
        if batch[name].shape != batch["image"].shape[:3]:
            raise UserError(
                f"feature '{name}' has shape {batch[name].shape} and image {batch['image'].shape}; it must be [batch, "
                "height, width] of the image"
            )
    if "boxes" in found:
        rows = batch["boxes"].shape[:2]
        for name in _ROWS:
            shape = batch[name].shape if name in batch else None
            if shape != rows and (name != "box_crowd" or shape is not None):
                raise UserError(f"feature '{name}' must go with boxes in the shape {rows}, not {shape or 'missing'}")
    return found


def _sample(plane: np.ndarray, rows: np.ndarray, columns: np.ndarray, outside: int) -> np.ndarray:
    """`plane` [batch, h, w] at whole positions that broadcast to [batch, height, width]."""
    _, height, width = plane.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    number = np.arange(len(plane))[:, None, None]
    values = plane[number, np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    return np.where(inside, values, plane.dtype.type(outside))


def _settled(batch: Batch, boxes: np.ndarray, height: int, width: int) -> Batch:
    """Moved boxes, float64 [batch, objects, 4], cut at the border of the image; what is lost becomes padding."""
    clipped = np.clip(boxes, 0, (height, width, height, width)).astype(np.float32)
    left = area(clipped)
    crowd = batch["box_crowd"] > 0 if "box_crowd" in batch else np.zeros(left.shape, bool)
    stays = (left > 0) & (crowd | ((batch["box_weight"] > 0) & (left >= KEPT_SHARE * area(boxes))))
    settled: Batch = {"boxes": np.where(stays[..., None], clipped, np.float32(0))}
    for name in _ROWS:
        if name in batch:
            settled[name] = np.where(stays, batch[name], batch[name].dtype.type(0))
    return settled


def area(boxes: np.ndarray) -> np.ndarray:
    """Square pixels of boxes [..., 4], [...]; 0 for one that is inside out."""
    return np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)
