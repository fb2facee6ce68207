"""Transforms from stored boxes and masks to the features that tasks read.

They precede transforms that move pixels, and report the example that is invalid.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxdl.data.image.geometry import UNLABELLED, area
from jaxdl.data.random import Draws
from jaxdl.data.source import Batch
from jaxdl.errors import UserError, nearest

_PREFIX = "objects/"


@dataclass(frozen=True)
class Objects:
    """TFDS objects as padded boxes in pixels.

    Input: `objects/bbox` float32 [batch, n, 4], normalized [ymin, xmin, ymax, xmax]; `objects/label` [batch, n];
    optionally `objects/is_crowd` [batch, n]. All features `objects/...` are removed.

    Output: `boxes` float32 [batch, limit, 4], (top, left, bottom, right) in pixels; `box_label` int32; `box_weight`
    float32, 1 for boxes, 0 for crowd regions and padding; `box_crowd` float32, 1 for crowd regions, if `is_crowd` is
    given; all [batch, limit].

    Images with more than `limit` boxes keep the largest in their order, crowd regions last.

    Example: in an image of 100 x 200 pixels, bbox [0.1, 0.5, 0.3, 1.0] becomes the box (10, 100, 30, 200).

    Attributes:
      limit: Boxes per image.
      classes: Number of classes; other ids are refused. None disables the check.
      drop_empty: Whether to drop boxes of zero area instead of refusing them.
    """

    only_labels: ClassVar[bool] = True

    limit: int
    classes: int | None = None
    drop_empty: bool = False

    def __post_init__(self):
        if self.limit < 1:
            raise UserError(f"Objects.limit={self.limit} must be at least 1")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        _check_pixels(batch)
        label = _labels(batch, "objects/label")
        size = np.tile(batch["image"].shape[1:3], 2)
        bbox = _feature(batch, "objects/bbox")
        bbox = bbox if bbox.size else np.zeros((*label.shape, 4))
        if bbox.shape != (*label.shape, 4):
            raise UserError(f"'objects/bbox' has shape {bbox.shape}, but 'objects/label' requires {(*label.shape, 4)}")
        boxes = bbox.astype(np.float64) * size
        self._check(batch, boxes, label, size)
        boxes = np.clip(boxes, 0, size)
        area_ = area(boxes)
        real = area_ > 0
        if not self.drop_empty:
            _refuse(batch, ~real, "box {number} has zero area; drop such boxes with Objects(..., drop_empty=True)")
        crowd = real & batch.get("objects/is_crowd", np.zeros(label.shape)).astype(bool)
        # Dropped boxes sort last, crowd regions before them, and larger boxes before smaller ones.
        order = np.lexsort((-area_, crowd, ~real), axis=-1)[:, : self.limit]
        order.sort(axis=-1)
        padded = {"boxes": boxes.astype(np.float32), "box_label": label}
        padded["box_weight"] = (real & ~crowd).astype(np.float32)
        if "objects/is_crowd" in batch:
            padded["box_crowd"] = crowd.astype(np.float32)
        kept = {name: value for name, value in batch.items() if not name.startswith(_PREFIX)}
        return kept | {name: self._pad(value, order, real) for name, value in padded.items()}

    def _check(self, batch: Batch, boxes: np.ndarray, label: np.ndarray, size: np.ndarray) -> None:
        numbers = f"box {{number}} at {{value}} (top, left, bottom, right, in pixels of {size[0]} x {size[1]})"
        _refuse(batch, np.asarray(~np.isfinite(boxes).all(-1)), f"{numbers} is not finite; correct the data", boxes)
        outside = ((boxes < -1) | (boxes > size + 1)).any(-1)
        reason = "exceeds the image by more than a pixel; objects/bbox must be normalized to 0..1"
        _refuse(batch, np.asarray(outside), f"{numbers} {reason}", boxes)
        _refuse(batch, label < 0, "box {number} has the negative class id {value}; correct the data", label)
        if self.classes is not None:
            reason = f"box {{number}} has class id {{value}}, but Objects.classes is {self.classes}"
            _refuse(batch, label >= self.classes, reason, label)

    def _pad(self, value: np.ndarray, order: np.ndarray, real: np.ndarray) -> np.ndarray:
        """Gathers `value` [batch, n, ...] by `order` and pads with 0 to [batch, limit, ...]."""
        rows = np.arange(len(value))[:, None]
        padded = np.zeros((len(value), self.limit, *value.shape[2:]), value.dtype)
        padded[:, : order.shape[1]] = value[rows, order]
        padded[:, : order.shape[1]][~real[rows, order]] = 0
        return padded


@dataclass(frozen=True)
class Relabel:
    """Renumbering or removal of box classes.

    Before `Objects`, it changes `objects/label`, and removed boxes do not count towards `Objects.limit`. After it, it
    changes `box_label`, and removed boxes become padding.

    Attributes:
      table: New id of each class, -1 to remove its boxes. `(-1, 0, 0)` removes class 0 and merges classes 1 and 2.
    """

    only_labels: ClassVar[bool] = True

    table: tuple[int, ...]

    def __post_init__(self):
        if not self.table or min(self.table) < -1:
            raise UserError(f"Relabel.table={self.table} must hold the new id of each class, or -1 to remove its boxes")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        name = "objects/label" if "objects/label" in batch else "box_label"
        label = _labels(batch, name)
        reason = f"box {{number}} has class id {{value}}, but Relabel.table ends at {len(self.table) - 1}"
        _refuse(batch, (label < 0) | (label >= len(self.table)), reason, label)
        new = np.asarray(self.table, np.int32)[label]
        stays = new >= 0
        if name == "objects/label":
            return _dropped(batch | {name: new}, stays)
        rows = {feature: batch[feature] for feature in ("boxes", "box_weight", "box_crowd") if feature in batch}
        padding = (_feature(batch, "box_weight") == 0) & (batch.get("box_crowd", np.zeros(label.shape)) == 0)
        rows["box_label"] = np.where(padding, 0, new).astype(np.int32)
        for feature, value in rows.items():
            keep = stays if value.ndim == 2 else stays[..., None]
            rows[feature] = np.where(keep, value, value.dtype.type(0))
        return batch | rows


def _dropped(batch: Batch, stays: np.ndarray) -> Batch:
    """Removes the objects where `stays`, bool [batch, n], is false."""
    if stays.all():
        return batch
    if len(stays) > 1:
        raise UserError(
            f"Relabel before Objects cannot drop boxes from batches of {len(stays)} examples; put it after Objects"
        )
    inside = {name for name in batch if name.startswith(_PREFIX) and batch[name].shape[1:2] == stays.shape[1:]}
    return batch | {name: batch[name][:, stays[0]] for name in inside}


@dataclass(frozen=True)
class RelabelMask:
    """Renumbering of the classes of `mask`; 255 (unlabelled) is kept.

    Attributes:
      table: New id of each class, 255 for unlabelled. `(0, 1, 1)` merges classes 1 and 2.
    """

    only_labels: ClassVar[bool] = True

    table: tuple[int, ...]

    def __post_init__(self):
        if not self.table or min(self.table) < 0 or max(self.table) > UNLABELLED:
            raise UserError(f"RelabelMask.table={self.table} must hold an id from 0 to {UNLABELLED} for each class")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        mask = _feature(batch, "mask")
        lookup = np.full(UNLABELLED + 1, -1, np.int16)
        lookup[: len(self.table)] = self.table
        lookup[UNLABELLED] = UNLABELLED
        new = lookup[mask]
        flat = (len(mask), -1)
        reason = f"mask has class id {{value}}, but RelabelMask.table ends at {len(self.table) - 1}"
        _refuse(batch, (new < 0).reshape(flat), reason, mask.reshape(flat))
        return batch | {"mask": new.astype(np.uint8)}


@dataclass(frozen=True)
class Mask:
    """TFDS segmentation mask as `mask` uint8 [batch, height, width].

    Classes count from 0; 255 is unlabelled.

    The defaults fit Oxford-IIIT Pets: 1 pet, 2 background, 3 outline become 0, 1, 2. Values of 255 are kept.

    Attributes:
      feature: Integer feature [batch, height, width] or [batch, height, width, 1]. It is removed.
      offset: Number added to its values.
      classes: Number of classes; other ids are refused. None disables the check.
      unlabelled: Values that become 255, such as (3,) for the outline of the pets.
    """

    only_labels: ClassVar[bool] = True

    feature: str = "segmentation_mask"
    offset: int = -1
    classes: int | None = None
    unlabelled: tuple[int, ...] = ()

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        _check_pixels(batch)
        value = _feature(batch, self.feature)
        value = value[..., 0] if value.ndim == 4 and value.shape[-1] == 1 else value
        size = batch["image"].shape[:3]
        if value.shape != size:
            reason = f"'{self.feature}' has shape {value.shape[1:]}, but the image has {size[1:]}; correct the data"
            _refuse(batch, np.ones((len(value), 1), bool), reason)
        if value.dtype.kind not in "iub":
            raise UserError(f"feature '{self.feature}' has dtype {value.dtype}; Mask needs integer class ids")
        ignored = np.isin(value, (UNLABELLED, *self.unlabelled))
        mask = np.where(ignored, UNLABELLED, value.astype(np.int64) + self.offset)
        top = UNLABELLED if self.classes is None else self.classes
        invalid = ~ignored & ((mask < 0) | (mask >= top))
        reason = f"'{self.feature}' yields class id {{value}}, outside 0 to {top - 1}; check Mask.offset"
        _refuse(batch, invalid.reshape(len(mask), -1), reason, mask.reshape(len(mask), -1))
        rest = {name: array for name, array in batch.items() if name != self.feature}
        return rest | {"mask": mask.astype(np.uint8)}


def _feature(batch: Batch, name: str) -> np.ndarray:
    if name not in batch:
        raise UserError(f"the examples have no feature '{name}'; {nearest(name, batch)}")
    return batch[name]


def _labels(batch: Batch, name: str) -> np.ndarray:
    """Returns class ids [batch, n].

    TFDS stores an untyped empty list for an example without objects.
    """
    label = _feature(batch, name)
    if label.size and label.dtype.kind not in "iu":
        raise UserError(f"feature '{name}' has dtype {label.dtype}; class ids must be integers")
    return label.reshape(len(label), -1 if label.size else 0).astype(np.int32)


def _check_pixels(batch: Batch) -> None:
    shape = _feature(batch, "image").shape
    if 0 in shape[1:3]:
        _refuse(batch, np.ones((len(batch["image"]), 1), bool), f"image of {shape[1]} x {shape[2]} has no pixels")


def _refuse(batch: Batch, invalid: np.ndarray, reason: str, values: np.ndarray | None = None) -> None:
    """Raises UserError for the first true entry of `wrong`, bool [batch, n].

    The message has its example, number and value.
    """
    if not invalid.any():
        return
    row, number = np.argwhere(invalid)[0]
    value = None if values is None else values[row, number].round(2).tolist()
    raise UserError(f"{_example(batch, row)}: {reason.format(number=number, value=value)}")


def _example(batch: Batch, row: int) -> str:
    """Returns the name of an example for error messages: its index, and its file if known."""
    name = f"example {batch['index'][row]}" if "index" in batch else f"row {row} of the batch"
    for feature in ("image/filename", "file_name"):
        if feature in batch:
            file = batch[feature][row]
            name += f" ({file.decode() if isinstance(file, bytes) else file})"
    return name
