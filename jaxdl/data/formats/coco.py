"""Detection and segmentation data in the COCO layout (Lin et al., arXiv:1405.0312)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeGuard

import numpy as np

from jaxdl.data.formats.parts import Reading, identity, open_parts, sample
from jaxdl.data.image.files import decode, to_array
from jaxdl.data.image.geometry import UNLABELLED
from jaxdl.data.source import Batch, ExampleSource, Source
from jaxdl.data.splits import Range
from jaxdl.data.store.prepared import digest, digest_of
from jaxdl.errors import UserError, from_extra, nearest

_DEFAULT = ("image", "objects/bbox", "objects/label", "objects/is_crowd")
_FEATURES = (*_DEFAULT, "mask", "instances", "image/id")


@dataclass(frozen=True)
class Coco:
    """One split of a folder in the COCO layout; also `Dataset("coco:PATH", split, features)`.

    Annotations: `PATH/annotations/instances_SPLIT.json` or `PATH/SPLIT.json`. Images: `PATH/SPLIT`,
    `PATH/images/SPLIT` or `PATH/images`. The features of an example, the first four by default:
      image: uint8 [height, width, 3], RGB, in the frame of its height and width in the JSON: as stored if the file has
        this size, else turned upright by its EXIF orientation.
      objects/bbox: float32 [objects, 4], normalized [ymin, xmin, ymax, xmax] as in TFDS.
      objects/label: int32 [objects], category ids renumbered from 0 in ascending order.
      objects/is_crowd: bool [objects].
      mask: uint8 [height, width], 0 background, 1 + class, 255 crowd. The smaller object wins where two overlap.
      instances: int32 [height, width], 0 background and crowd, 1 + row in `objects/bbox`.
      image/id: int32 [].
    Images without objects are kept. The order is random and fixed, so a part of a split is a fair sample.

    Example: for an 8 x 10 image of category 7 with `"bbox": [2, 2, 5, 4]` ([x, y, width, height] in pixels),
    `Coco("pets", "val").load().read(np.array([0]))["objects/bbox"]` is `[[[0.25, 0.2, 0.75, 0.7]]]`.

    Attributes:
      path: Folder.
      split: Split in TFDS syntax: `train2017[:1000]`, `train+val`.
      features: Features to load.
      skip: Ids of annotations to omit, such as the two boxes without area in COCO train2017.
      scale, on_error, skip_limit: As in `Dataset`.
    """

    path: str
    split: str
    features: tuple[str, ...] = ()
    skip: tuple[int, ...] = ()
    scale: tuple[float, float] | None = None
    on_error: str = "raise"
    skip_limit: float = 0.05

    def load(self) -> Source:
        """Reads the annotations and locates the images.

        Raises:
          UserError: The folder, split, feature or an image file does not exist, or the JSON or an annotation is
            invalid. A damaged image raises it on access.
        """
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise UserError(f"folder {root} does not exist; 'coco:PATH' needs a folder of annotations and images")
        features = self.features or _DEFAULT
        for feature in features:
            if feature not in _FEATURES:
                raise UserError(f"coco:{self.path} has no feature '{feature}'; {nearest(feature, _FEATURES)}")
        owner = f"coco:{self.path}"
        split_names = re.findall(r"(?:^|\+)\s*([\w.-]+)", self.split)
        requested = _splits(root) if split_names == ["all"] else split_names
        reading = Reading(self.scale, self.on_error, self.skip_limit)
        scenes_by_split = {name: _read(root, name, features, self.skip, reading) for name in dict.fromkeys(requested)}
        if any(scenes.names != next(iter(scenes_by_split.values())).names for scenes in scenes_by_split.values()):
            raise UserError(f"the parts of '{self.split}' of {owner} differ in their categories; use one part")

        readable = {
            name: reading.readable(owner, scenes, [str(file.relative_to(root)) for file in scenes.files])
            for name, scenes in scenes_by_split.items()
        }

        def open_part(part: Range) -> Source:
            scenes, (rows, skipped) = scenes_by_split[part.name], readable[part.name]
            fingerprint = digest_of([scenes.fingerprint, list(part), list(features), sorted(self.skip), *skipped])
            rows = rows[sample(part, len(rows))]
            return ExampleSource(scenes, rows, fingerprint, scenes.names, features, skipped=tuple(skipped))

        return open_parts(self.split, {name: len(rows) for name, (rows, _) in readable.items()}, owner, open_part)


@dataclass(frozen=True)
class _Scenes:
    """Examples of one split, with the objects of all images concatenated.

    Attributes:
      files: Image files, [images].
      image_ids: COCO ids, [images].
      sizes: (height, width) in the annotations, [images, 2].
      starts: First object of each image, [images + 1].
      boxes: Normalized (top, left, bottom, right), [objects, 4].
      labels, crowd, ids: Class, crowd flag and annotation id, [objects].
      outlines: Polygons or run lengths, [objects]. None unless masks are loaded.
      scale: As in `Dataset`.
    """

    json: Path
    files: tuple[Path, ...]
    image_ids: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    ids: np.ndarray
    outlines: tuple[Any, ...] | None
    names: Mapping[str, tuple[str, ...]]
    fingerprint: str
    scale: tuple[float, float] | None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Batch:
        file, size = self.files[number], tuple(self.sizes[number].tolist())
        image = to_array(decode(file, channels=3, scale=self.scale, stored_size=size))
        if image.shape[:2] != size:
            raise UserError(
                f"{file} has {image.shape[0]} x {image.shape[1]} pixels (upright), but {self.json} has {size[0]} x "
                f"{size[1]} (height x width) for image {self.image_ids[number]}; correct one of them"
            )
        rows = slice(self.starts[number], self.starts[number + 1])
        example = {"image": image, "objects/bbox": self.boxes[rows], "objects/label": self.labels[rows]}
        example |= {"objects/is_crowd": self.crowd[rows], "image/id": self.image_ids[number]}
        return example | (self._planes(rows, size) if self.outlines is not None else {})

    def labels_of(self, rows: np.ndarray) -> np.ndarray:
        """Returns the classes of all objects in images, int32 [objects]."""
        return np.concatenate([self.labels[self.starts[row] : self.starts[row + 1]] for row in rows.tolist()])

    def _planes(self, rows: slice, size: tuple[int, int]) -> Batch:
        """Rasterizes `mask` and `instances`: crowd regions first, then objects by decreasing area."""
        mask, instances = np.zeros(size, np.uint8), np.zeros(size, np.int32)
        numbers = range(rows.start, rows.stop)
        outlines = self.outlines or ()
        regions = [_raster(outlines[n], size, f"annotation {self.ids[n]} of {self.json}") for n in numbers]
        for row in sorted(range(len(regions)), key=lambda row: (not self.crowd[rows][row], -regions[row].sum())):
            crowd = self.crowd[rows][row]
            mask[regions[row]] = UNLABELLED if crowd else 1 + self.labels[rows][row]
            instances[regions[row]] = 0 if crowd else 1 + row
        return {"mask": mask, "instances": instances}


def _splits(root: Path) -> list[str]:
    stems = [path.stem.removeprefix("instances_") for path in sorted((root / "annotations").glob("instances_*.json"))]
    return list(dict.fromkeys([*stems, *(path.stem for path in sorted(root.glob("*.json")))]))


def _read(root: Path, name: str, features: tuple[str, ...], skip: tuple[int, ...], reading: Reading) -> _Scenes:
    candidates = [root / "annotations" / f"instances_{name}.json", root / f"{name}.json"]
    path = next((place for place in candidates if place.is_file()), None)
    if path is None:
        searched = " and ".join(map(str, candidates))
        raise UserError(f"coco:{root} has no split '{name}'; searched {searched}; {nearest(name, _splits(root))}")
    content = _parse(path)
    categories = _by_id(path, "category", content["categories"])
    images = _by_id(path, "image", content["images"])
    if not categories or not images:
        raise UserError(f"{path} has an empty list of {'images' if categories else 'categories'}; add at least one")
    if "mask" in features and len(categories) > UNLABELLED - 1:
        raise UserError(f"{path} has {len(categories)} categories, but 'mask' holds at most {UNLABELLED - 1}; omit it")
    classes = tuple(str(_field(path, f"category {key}", categories[key], "name", str)) for key in categories)
    sizes = np.zeros((len(images), 2), np.int64)
    for row, (key, record) in enumerate(images.items()):
        sizes[row] = [_field(path, f"image {key}", record, side, int) for side in ("height", "width")]
        if sizes[row].min() < 1:
            raise UserError(f"{path}: image {key} has the size {sizes[row][0]} x {sizes[row][1]}; it must be positive")
    outlined = bool({"mask", "instances"} & set(features))
    columns = _annotations(path, content["annotations"], list(categories), list(images), sizes, skip, outlined)
    names = {"box_label": classes, "objects/label": classes, "mask": ("background", *classes)}
    files = _files(root, path, name, images)
    fingerprint = digest_of([digest(path), identity(root, files), *reading.settings])
    scenes = {"names": names, "fingerprint": fingerprint, "scale": reading.scale}
    return _Scenes(path, files, np.array(list(images)), sizes, **columns, **scenes)


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); check that the file is complete") from None
    for name in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise UserError(f"{path} has no list '{name}'; expected the COCO instances format")
    return content


def _by_id(path: Path, kind: str, records: list[Any]) -> dict[int, Any]:
    """Returns the records by id, in ascending order of ids."""
    by_id: dict[int, Any] = {}
    for number, record in enumerate(records):
        key = _field(path, f"{kind} number {number}", record, "id", int)
        if key in by_id:
            raise UserError(f"{path} repeats {kind} id {key}; make the ids unique")
        by_id[key] = record
    return dict(sorted(by_id.items()))


def _field(path: Path, owner: str, record: Any, name: str, kind: type) -> Any:
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{path}: {owner} has no '{name}' of type {kind.__name__}; got {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _files(root: Path, path: Path, name: str, images: Mapping[int, Any]) -> tuple[Path, ...]:
    folders = [root / name, root / "images" / name, root / "images"]
    files = []
    for key, record in images.items():
        file = _field(path, f"image {key}", record, "file_name", str)
        if PurePosixPath(file).is_absolute() or PureWindowsPath(file).is_absolute() or ".." in Path(file).parts:
            raise UserError(f"{path}: file '{file}' of image {key} must be a path below the image folder, without '..'")
        location = next((folder / file for folder in folders if (folder / file).is_file()), None)
        if location is None:
            searched = ", ".join(map(str, folders))
            raise UserError(f"{path}: file '{file}' of image {key} does not exist; searched {searched}")
        files.append(location)
    return tuple(files)


def _annotations(
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
        key = _field(path, f"annotation number {number}", record, "id", int)
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
        more = f"; so are {len(others)} more: {_short(others)[1:-1]}" if others else ""
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
        return f"refers to image {_short(record.get('image_id'))}, which is not in the list of images"
    category = record.get("category_id")
    if not isinstance(category, int) or category not in label_of:
        return f"has the unknown category id {_short(category)}; ids that exist: {', '.join(map(str, label_of))}"
    bbox = record.get("bbox")
    if not _numbers(bbox) or len(bbox) != 4:
        return f"has no bbox of four numbers; got {_short(bbox)}"
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
                return f"has a polygon that is not [x, y, x, y, ..] of at least three points: {_short(polygon)}"
            x, y = polygon[::2], polygon[1::2]
            # The rasterizer allocates memory in proportion to the length of the outline.
            if min(x) < -width or max(x) > 2 * width or min(y) < -height or max(y) > 2 * height:
                return f"has a polygon far outside its image: {_short(polygon)}"
        return None
    if not isinstance(outline, dict):
        return f"has no segmentation (polygons or run lengths); got {_short(outline)}"
    if outline.get("size") != [height, width]:
        return f"has run lengths of size {_short(outline.get('size'))}, but the image has {[height, width]}"
    counts = outline.get("counts")
    lengths = _run_lengths(counts) if isinstance(counts, str) else counts
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


def _run_lengths(text: str) -> list[int]:
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


def _raster(outline: Any, size: tuple[int, int], owner: str) -> np.ndarray:
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
