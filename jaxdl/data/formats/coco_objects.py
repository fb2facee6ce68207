"""Objects of COCO annotations: boxes, classes and outlines, validated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from jaxdl.errors import UserError, from_extra


def field(path: Path, owner: str, record: Any, name: str, kind: type) -> Any:
    """Returns a field of a record; raises UserError if it is missing or of another type."""
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{path}: {owner} has no '{name}' of type {kind.__name__}; got {short(value)}")
    return value


def short(value: Any) -> str:
    """Returns a value as text of at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def object_columns(
    path: Path,
    records: list[Any],
    categories: list[int],
    images: list[int],
    sizes: np.ndarray,
    skip: tuple[int, ...],
    outlined: bool,
) -> dict[str, Any]:
    """Returns the per-object columns of `_Scenes`, sorted by image.

    Raises:
      UserError: Annotations are invalid; the first is described and the ids of the others are listed.
    """
    label_of = {key: label for label, key in enumerate(categories)}
    row_of = {key: row for row, key in enumerate(images)}
    skipped, faults, order = set(skip), {}, []
    for number, record in enumerate(records):
        key = field(path, f"annotation number {number}", record, "id", int)
        if key in skipped:
            continue
        image = record.get("image_id")
        row = row_of.get(image, -1) if isinstance(image, int) else -1
        fault = _fault(record, label_of, sizes[row] if row >= 0 else None, outlined)
        if fault:
            faults[key] = fault
        else:
            order.append((row, number))
    if faults:
        first, *others = faults
        more = f"; so are {len(others)} more: {short(others)[1:-1]}" if others else ""
        raise UserError(
            f"{path}: annotation {first} {faults[first]}{more}; correct the file, or skip them with "
            f"jaxdl.data.formats.coco.Coco(PATH, SPLIT, skip=({first}, ...)) instead of Dataset"
        )
    order.sort()
    kept = [records[number] for _, number in order]
    rows = np.array([row for row, _ in order], np.int64)
    left, top, width, height = np.array([record["bbox"] for record in kept], np.float64).reshape(-1, 4).T
    boxes = np.stack([top, left, top + height, left + width], axis=1) / np.tile(sizes[rows], 2)
    return {
        "starts": np.searchsorted(rows, np.arange(len(images) + 1)),
        "boxes": np.clip(boxes, 0, 1).astype(np.float32),
        "labels": np.array([label_of[record["category_id"]] for record in kept], np.int32),
        "crowd": np.array([bool(record.get("iscrowd", 0)) for record in kept], bool),
        "ids": np.array([record["id"] for record in kept], np.int64),
        "outlines": tuple(record["segmentation"] for record in kept) if outlined else None,
    }


def _fault(record: Any, label_of: Mapping[int, int], size: np.ndarray | None, outlined: bool) -> str | None:
    """Returns the fault of an annotation, or None.

    `size` is (height, width), or None if the image is not listed.
    """
    if size is None:
        return f"refers to image {short(record.get('image_id'))}, which is not in the list of images"
    category = record.get("category_id")
    if not isinstance(category, int) or category not in label_of:
        return f"has the unknown category id {short(category)}; ids that exist: {', '.join(map(str, label_of))}"
    bbox = record.get("bbox")
    if not _numbers(bbox) or len(bbox) != 4:
        return f"has no bbox of four numbers; got {short(bbox)}"
    left, top, width, height = bbox
    if width <= 0 or height <= 0:
        return f"has a bbox of zero area: [x, y, width, height] = {bbox}"
    image_height, image_width = size.tolist()
    right, bottom = left + width, top + height
    if min(left, top) < -1 or right > image_width + 1 or bottom > image_height + 1:
        return f"has a bbox outside its image of {image_width} x {image_height} (width x height): {bbox}"
    if min(right, image_width) <= max(left, 0) or min(bottom, image_height) <= max(top, 0):
        return f"has a bbox of zero area within its image of {image_width} x {image_height} (width x height): {bbox}"
    return _outline_fault(record.get("segmentation"), image_height, image_width) if outlined else None


def _outline_fault(outline: Any, height: int, width: int) -> str | None:
    if isinstance(outline, list) and outline:
        for polygon in outline:
            if not _numbers(polygon) or len(polygon) < 6 or len(polygon) % 2:
                return f"has a polygon that is not [x, y, x, y, ..] of at least three points: {short(polygon)}"
            x, y = polygon[::2], polygon[1::2]
            # The rasterizer allocates memory in proportion to the length of the outline.
            if min(x) < -width or max(x) > 2 * width or min(y) < -height or max(y) > 2 * height:
                return f"has a polygon far outside its image: {short(polygon)}"
        return None
    if not isinstance(outline, dict):
        return f"has no segmentation (polygons or run lengths); got {short(outline)}"
    if outline.get("size") != [height, width]:
        return f"has run lengths of size {short(outline.get('size'))}, but the image has {[height, width]}"
    counts = outline.get("counts")
    lengths = run_lengths(counts) if isinstance(counts, str) else counts
    # The rasterizer does not check the sum and would write out of bounds.
    if not _numbers(lengths) or min(lengths) < 0 or sum(lengths) != height * width:
        return f"has run lengths that do not sum to the {height * width} pixels of the image"
    return None


def _numbers(value: Any) -> TypeGuard[list]:
    """Checks for a non-empty list of finite numbers."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(number, (int, float)) and abs(number) < 1e9 for number in value
        )  # NaN is not less than anything
    )


def run_lengths(text: str) -> list[int]:
    """Decodes compressed run lengths; [] if invalid.

    Base 32 with a continuation bit; from the fourth on, differences to the last but one.
    """
    lengths: list[int] = []
    value = place = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or place > 60:
            return []
        value |= (digit & 31) << place
        place += 5
        if not digit & 32:
            value -= (1 << place) if digit & 16 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = place = 0
    return [] if place else lengths


def rasterize(outline: Any, size: tuple[int, int], owner: str) -> np.ndarray:
    """Rasterizes an outline to bool [height, width]."""
    with from_extra("detection", "A COCO mask"):
        from pycocotools import mask as runs

    height, width = size
    if isinstance(outline, list):
        polygons: Any = [list(map(float, polygon)) for polygon in outline]
        encoded = runs.merge(runs.frPyObjects(polygons, height, width))
    elif isinstance(outline["counts"], list):
        encoded = runs.frPyObjects(outline, height, width)
    else:
        encoded = {"size": [height, width], "counts": outline["counts"].encode()}
    try:
        return np.asarray(runs.decode(encoded)).astype(bool)  # type: ignore
    except ValueError as error:
        raise UserError(f"the segmentation of {owner} cannot be rasterized ({error}); correct it") from None
