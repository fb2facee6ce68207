"""Boxes and masks as data sets store them, brought to the features that tasks learn from.

These transforms stand before those that move pixels. They check what they read: an example that is wrong is named.
"""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.image.geometry import UNLABELLED, area
from jaxdl.data.random import Draws
from jaxdl.data.source import Batch
from jaxdl.errors import UserError, nearest

_PREFIX = "objects/"


@dataclass(frozen=True)
class Objects:
    """The objects of TFDS as boxes in pixels, padded to one number of them.

    Reads `objects/bbox` float32 [batch, n, 4], normalized [ymin, xmin, ymax, xmax], `objects/label` [batch, n] and, if
    there, `objects/is_crowd` [batch, n]. Gives `boxes` float32 [batch, limit, 4], (top, left, bottom, right) in pixels
    of the image as it is at this point; `box_label` int32, `box_weight` float32 (1 for a box; 0 for a crowd region and
    for padding) and, if `is_crowd` is there, `box_crowd` float32 (1 for a crowd region), all [batch, limit]; and drops
    all features `objects/...`. An image without objects has padding only.

    An image with more than `limit` boxes keeps the largest ones, crowd regions only where room is left, in their order.

    Attributes:
      limit: boxes an image.
      classes: how many there are, to refuse other class ids; None: not checked.
      drop_empty: leave out boxes without an area, which some sets have, instead of refusing them.
    """

    limit: int
    classes: int | None = None
    drop_empty: bool = False

    def __post_init__(self):
        if self.limit < 1:
            raise UserError(f"Objects.limit must be 1 or more, not {self.limit}")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        _check_pixels(batch)
        label = _labels(batch, "objects/label")
        size = np.tile(batch["image"].shape[1:3], 2)
        bbox = _feature(batch, "objects/bbox")
        bbox = bbox if bbox.size else np.zeros((*label.shape, 4))
        if bbox.shape != (*label.shape, 4):
            raise UserError(f"'objects/bbox' has shape {bbox.shape} where 'objects/label' asks for {(*label.shape, 4)}")
        boxes = bbox.astype(np.float64) * size
        self._check(batch, boxes, label, size)
        boxes = np.clip(boxes, 0, size)
        area_ = area(boxes)
        real = area_ > 0
        if not self.drop_empty:
            _refuse(batch, ~real, "box {number} has no area; Objects(..., drop_empty=True) leaves such boxes out")
        crowd = real & batch.get("objects/is_crowd", np.zeros(label.shape)).astype(bool)
        # What is left out comes last, then crowd regions; among equals the larger first.
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
        _refuse(batch, np.asarray(~np.isfinite(boxes).all(-1)), f"{numbers} is no box; mend the data", boxes)
        outside = ((boxes < -1) | (boxes > size + 1)).any(-1)
        reason = "lies outside of the image by more than a pixel; objects/bbox must be normalized to 0..1"
        _refuse(batch, np.asarray(outside), f"{numbers} {reason}", boxes)
        _refuse(batch, label < 0, "box {number} has the negative class id {value}; mend the data", label)
        if self.classes is not None:
            reason = f"box {{number}} has class id {{value}}, but Objects.classes is {self.classes}"
            _refuse(batch, label >= self.classes, reason, label)

    def _pad(self, value: np.ndarray, order: np.ndarray, real: np.ndarray) -> np.ndarray:
        """`value` [batch, n, ...] at `order`, 0 where not real, [batch, limit, ...]."""
        rows = np.arange(len(value))[:, None]
        padded = np.zeros((len(value), self.limit, *value.shape[2:]), value.dtype)
        padded[:, : order.shape[1]] = value[rows, order]
        padded[:, : order.shape[1]][~real[rows, order]] = 0
        return padded


@dataclass(frozen=True)
class Relabel:
    """Gives the classes of boxes other ids, or drops their boxes.

    Before `Objects` it changes `objects/label`, and dropped boxes take no room of `Objects.limit`; after it
    `box_label`, and dropped boxes become padding.

    Attributes:
      table: the new id of each old one, -1 to drop its boxes: `(-1, 0, 0)` drops class 0 and joins classes 1 and 2.
    """

    table: tuple[int, ...]

    def __post_init__(self):
        if not self.table or min(self.table) < -1:
            raise UserError(f"Relabel.table needs an id, or -1 to drop its boxes, for each class; not {self.table}")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        name = "objects/label" if "objects/label" in batch else "box_label"
        label = _labels(batch, name)
        reason = f"box {{number}} has class id {{value}}, but Relabel.table ends at {len(self.table) - 1}"
        _refuse(batch, (label < 0) | (label >= len(self.table)), reason, label)
        new = np.asarray(self.table, np.int32)[label]
        stays = new >= 0
        if name == "objects/label":
            return _dropped(batch | {name: new}, stays)
        rows = {each: batch[each] for each in ("boxes", "box_weight", "box_crowd") if each in batch}
        padding = (_feature(batch, "box_weight") == 0) & (batch.get("box_crowd", np.zeros(label.shape)) == 0)
        rows["box_label"] = np.where(padding, 0, new).astype(np.int32)
        for each, value in rows.items():
            keep = stays if value.ndim == 2 else stays[..., None]
            rows[each] = np.where(keep, value, value.dtype.type(0))
        return batch | rows


def _dropped(batch: Batch, stays: np.ndarray) -> Batch:
    """The batch without the objects where not `stays`, bool [batch, n]."""
    if stays.all():
        return batch
    if len(stays) > 1:
        raise UserError("Relabel can drop boxes before Objects in examples that are read one at a time; put it after")
    inside = {name for name in batch if name.startswith(_PREFIX) and batch[name].shape[1:2] == stays.shape[1:]}
    return batch | {name: batch[name][:, stays[0]] for name in inside}


@dataclass(frozen=True)
class RelabelMask:
    """Gives the classes of `mask` other ids, or takes their pixels out; 255 stays what it is, not labelled.

    Attributes:
      table: the new id of each old one, 255 for "not labelled": `(0, 1, 1)` joins classes 1 and 2.
    """

    table: tuple[int, ...]

    def __post_init__(self):
        if not self.table or min(self.table) < 0 or max(self.table) > UNLABELLED:
            raise UserError(f"RelabelMask.table needs an id from 0 to {UNLABELLED} for each class; not {self.table}")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        mask = _feature(batch, "mask")
        known = np.full(UNLABELLED + 1, -1, np.int16)
        known[: len(self.table)] = self.table
        known[UNLABELLED] = UNLABELLED
        new = known[mask]
        flat = (len(mask), -1)
        reason = f"mask has class id {{value}}, but RelabelMask.table ends at {len(self.table) - 1}"
        _refuse(batch, (new < 0).reshape(flat), reason, mask.reshape(flat))
        return batch | {"mask": new.astype(np.uint8)}


@dataclass(frozen=True)
class Mask:
    """The mask of TFDS as `mask` uint8 [batch, height, width], class ids from 0, 255 where not labelled.

    The default is that of Oxford-IIIT Pets: 1 pet, 2 background, 3 outline become 0, 1, 2. A value of 255 stays.

    Attributes:
      feature: integers [batch, height, width, 1] or [batch, height, width]; it is dropped.
      offset: what to add to its values.
      classes: how many there are, to refuse other class ids; None: not checked.
      unlabelled: values of `feature` that become 255, such as (3,) for the outline of the pets.
    """

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
            reason = f"'{self.feature}' has shape {value.shape[1:]} and its image {size[1:]}; mend the data"
            _refuse(batch, np.ones((len(value), 1), bool), reason)
        if value.dtype.kind not in "iub":
            raise UserError(f"feature '{self.feature}' is {value.dtype}; Mask takes integers, class ids")
        left_out = np.isin(value, (UNLABELLED, *self.unlabelled))
        mask = np.where(left_out, UNLABELLED, value.astype(np.int64) + self.offset)
        top = UNLABELLED if self.classes is None else self.classes
        wrong = ~left_out & ((mask < 0) | (mask >= top))
        reason = f"'{self.feature}' gives class id {{value}}, which is not from 0 to {top - 1}; check Mask.offset"
        _refuse(batch, wrong.reshape(len(mask), -1), reason, mask.reshape(len(mask), -1))
        rest = {name: each for name, each in batch.items() if name != self.feature}
        return rest | {"mask": mask.astype(np.uint8)}


def _feature(batch: Batch, name: str) -> np.ndarray:
    if name not in batch:
        raise UserError(f"the examples have no feature '{name}'; {nearest(name, batch)}")
    return batch[name]


def _labels(batch: Batch, name: str) -> np.ndarray:
    """Class ids [batch, n]; TFDS has a list without a type for an example without objects."""
    label = _feature(batch, name)
    if label.size and label.dtype.kind not in "iu":
        raise UserError(f"feature '{name}' is {label.dtype}; class ids must be integers")
    return label.reshape(len(label), -1 if label.size else 0).astype(np.int32)


def _check_pixels(batch: Batch) -> None:
    shape = _feature(batch, "image").shape
    if 0 in shape[1:3]:
        _refuse(batch, np.ones((len(batch["image"]), 1), bool), f"image of {shape[1]} x {shape[2]} has no pixels")


def _refuse(batch: Batch, wrong: np.ndarray, reason: str, values: np.ndarray | None = None) -> None:
    """Raises UserError for the first `wrong`, bool [batch, n], with its example, number and value."""
    if not wrong.any():
        return
    row, number = np.argwhere(wrong)[0]
    value = None if values is None else values[row, number].round(2).tolist()
    raise UserError(f"{_example(batch, row)}: {reason.format(number=number, value=value)}")


def _example(batch: Batch, row: int) -> str:
    """How an error names an example: its number in the source, and its file where the data set says it."""
    name = f"example {batch['index'][row]}" if "index" in batch else f"row {row} of the batch"
    for feature in ("image/filename", "file_name"):
        if feature in batch:
            file = batch[feature][row]
            name += f" ({file.decode() if isinstance(file, bytes) else file})"
    return name
