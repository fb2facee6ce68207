"""Geometry of `boxes`, `mask` and `instances` under transforms of `image`.

Features:
  boxes: float32 [batch, objects, 4], (top, left, bottom, right) in pixels with continuous edges; the whole image is
    (0, 0, height, width). With `box_label` int32, `box_weight` float32 and optionally `box_crowd` float32, all
    [batch, objects]. Boxes are clipped to the image. Boxes that keep less than a tenth (`KEPT_SHARE`) of their area
    become padding (all zeros); crowd regions remain while their area is positive.
  mask: uint8 [batch, height, width], class ids, nearest neighbour, 255 (unlabelled) outside the image.
  instances: int32 [batch, height, width], nearest neighbour, 0 (background) outside the image.

Each function returns only the changed features of the batch.
"""

import numpy as np

from jaxdl.data.source import Batch
from jaxdl.errors import UserError

KEPT_SHARE = 0.1
UNLABELLED = 255
_PLANES = {"mask": UNLABELLED, "instances": 0}  # feature -> value outside the image
_ROWS = ("box_label", "box_weight", "box_crowd")
_RAW = {"objects/bbox": "Objects", "segmentation_mask": "Mask"}


def cut(batch: Batch, windows: np.ndarray, height: int, width: int) -> Batch:
    """Crops and resizes boxes and masks like the image.

    Args:
      batch: Batch before the crop.
      windows: Crop of each image, [batch, 4] (top, left, bottom, right) in pixels. May exceed the image.
      height, width: Size of the result in pixels.
    """
    companions = _companions(batch)
    if not companions:
        return {}
    windows = np.asarray(windows, np.float64)
    start = windows[:, :2]
    scale = (windows[:, 2:] - start) / (height, width)
    moved: Batch = {}
    rows, columns = (
        np.floor(start[:, axis, None] + (np.arange(size) + 0.5) * scale[:, axis, None]).astype(np.int64)
        for axis, size in enumerate((height, width))
    )
    for name in companions & set(_PLANES):
        moved[name] = _sample(batch[name], rows[:, :, None], columns[:, None, :], _PLANES[name])
    if "boxes" in companions:
        boxes = (batch["boxes"] - np.tile(start, 2)[:, None]) / np.tile(scale, 2)[:, None]
        moved |= _settled(batch, boxes, height, width)
    return moved


def mirror(batch: Batch, flip: np.ndarray) -> Batch:
    """Mirrors boxes and masks left to right where `flip`, bool [batch]."""
    companions = _companions(batch)
    moved: Batch = {}
    for name in companions & set(_PLANES):
        moved[name] = batch[name].copy()
        moved[name][flip] = batch[name][flip, :, ::-1]
    if "boxes" in companions:
        height, width = batch["image"].shape[1:3]
        top, left, bottom, right = np.moveaxis(batch["boxes"].astype(np.float64), -1, 0)
        mirrored = np.stack([top, width - right, bottom, width - left], axis=-1)
        moved |= _settled(batch, np.where(flip[:, None, None], mirrored, batch["boxes"]), height, width)
    return moved


def warp(batch: Batch, matrix: np.ndarray, shift: np.ndarray) -> Batch:
    """Warps boxes and masks affinely: `out[p] = image[centre + matrix (p - centre - shift)]`.

    A box becomes the smallest axis-aligned box around its four corners, so a rotation enlarges it.

    Args:
      batch: Batch before the warp.
      matrix: Matrices over (row, column), [batch, 2, 2].
      shift: Translation (down, right) in pixels, [batch, 2].
    """
    companions = _companions(batch)
    if not companions:
        return {}
    height, width = batch["image"].shape[1:3]
    moved: Batch = {}
    if companions & set(_PLANES):
        nearest = np.floor(affine_sources(matrix, shift, height, width) + 0.5).astype(np.int64)
        for name in companions & set(_PLANES):
            moved[name] = _sample(batch[name], nearest[:, 0], nearest[:, 1], _PLANES[name])
    if "boxes" in companions:
        centre = np.array([height / 2, width / 2])
        corners = batch["boxes"].astype(np.float64)[..., [[0, 1], [0, 3], [2, 1], [2, 3]]]  # [batch, objects, 4, 2]
        corners = np.einsum("bij,bnkj->bnki", np.linalg.inv(matrix.astype(np.float64)), corners - centre)
        corners += centre + shift[:, None, None]
        moved |= _settled(batch, np.concatenate([corners.min(2), corners.max(2)], axis=-1), height, width)
    return moved


def affine_sources(matrix: np.ndarray, shift: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns sampling positions (row, column) of `warp`, float32 [batch, 2, height, width]."""
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    matrix = matrix.astype(np.float32)
    offset = (centre - np.einsum("bij,bj->bi", matrix, centre + shift)).astype(np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)
    return matrix[:, :, 0, None, None] * y + matrix[:, :, 1, None, None] * x + offset[:, :, None, None]


def _companions(batch: Batch) -> set[str]:
    """Returns the names of the features to transform with the image.

    Raises:
      UserError: A feature does not match the image, or is still in its stored form.
    """
    for name, needed in _RAW.items():
        if name in batch:
            raise UserError(
                f"feature '{name}' does not follow the image; apply {needed} of jaxdl.data.image.boxes_and_masks before"
                " transforms that move pixels, or omit the feature with Dataset(..., features=(...))"
            )
    companions = {"boxes", *_PLANES} & set(batch)
    for name in companions & set(_PLANES):
        if batch[name].shape != batch["image"].shape[:3]:
            raise UserError(
                f"feature '{name}' has shape {batch[name].shape}, but image has {batch['image'].shape}; it must be "
                "[batch, height, width]"
            )
    if "boxes" in companions:
        rows = batch["boxes"].shape[:2]
        for name in _ROWS:
            shape = batch[name].shape if name in batch else None
            if shape != rows and (name != "box_crowd" or shape is not None):
                raise UserError(f"feature '{name}' must have the shape {rows} of boxes; got {shape or 'no feature'}")
    return companions


def _sample(plane: np.ndarray, rows: np.ndarray, columns: np.ndarray, outside: int) -> np.ndarray:
    """Samples `plane` [batch, h, w] at integer positions that broadcast."""
    _, height, width = plane.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    number = np.arange(len(plane))[:, None, None]
    values = plane[number, np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    return np.where(inside, values, plane.dtype.type(outside))


def _settled(batch: Batch, boxes: np.ndarray, height: int, width: int) -> Batch:
    """Clips moved boxes, float64 [batch, objects, 4]; removed boxes become padding."""
    clipped = np.clip(boxes, 0, (height, width, height, width)).astype(np.float32)
    remaining = area(clipped)
    crowd = batch["box_crowd"] > 0 if "box_crowd" in batch else np.zeros(remaining.shape, bool)
    stays = (remaining > 0) & (crowd | ((batch["box_weight"] > 0) & (remaining >= KEPT_SHARE * area(boxes))))
    settled: Batch = {"boxes": np.where(stays[..., None], clipped, np.float32(0))}
    for name in _ROWS:
        if name in batch:
            settled[name] = np.where(stays, batch[name], batch[name].dtype.type(0))
    return settled


def area(boxes: np.ndarray) -> np.ndarray:
    """Returns the area of boxes [..., 4] in square pixels, [...]; 0 for inverted boxes."""
    return np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)
