"""A local folder in the layout of COCO (Lin et al., "Microsoft COCO", 2014, arXiv:1405.0312) as a data set."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from jaxdl.data.image.files import decode, to_array
from jaxdl.data.image.geometry import UNLABELLED
from jaxdl.data.random import shuffled
from jaxdl.data.source import Batch, ExampleSource, JoinedSource, Source
from jaxdl.data.splits import parse_split
from jaxdl.data.store.prepared import DIGEST_LIMIT, digest, digest_of
from jaxdl.errors import UserError, nearest

_DEFAULT = ("image", "objects/bbox", "objects/label", "objects/is_crowd")
_FEATURES = (*_DEFAULT, "mask", "instances", "image/id")


@dataclass(frozen=True)
class Coco:
    """One split of a folder in the layout of COCO; `Dataset("coco:PATH", split, features)` is the same.

    The annotations are in `PATH/annotations/instances_SPLIT.json` or `PATH/SPLIT.json`, the images in `PATH/SPLIT`,
    `PATH/images/SPLIT` or `PATH/images`. An example has, by default the first four of
      image: uint8 [height, width, 3], of whatever size the file has, upright, RGB.
      objects/bbox: float32 [objects, 4], normalized [ymin, xmin, ymax, xmax], as TFDS has it; what `Objects` reads.
      objects/label: int32 [objects]; category ids become 0, 1, .. in the order of ids.
      objects/is_crowd: bool [objects].
      mask: uint8 [height, width]: 0 background, 1 + class, of the smaller object where two meet; 255 in crowd regions.
      instances: int32 [height, width]: 0 background and crowd regions, 1 + row in `objects/bbox`.
      image/id: int32 [].
    Images without objects are examples, too. The order is random and fixed, so that part of a split is a fair sample.

    Attributes:
      path: the folder.
      split: in the syntax of TFDS: `train2017[:1000]`, `train+val`.
      features: those to load.
      skip: ids of annotations to leave out, such as the two of COCO's train2017 whose boxes have no area.
    """

    path: str
    split: str
    features: tuple[str, ...] = ()
    skip: tuple[int, ...] = ()

    def load(self) -> Source:
        """Reads the annotations and finds the images.

        Raises:
          UserError: no such folder, split or feature; a file that is missing or broken; an annotation that is wrong. Of
            an image's own faults it is raised when the image is read.
        """
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise UserError(f"folder {root} does not exist; 'coco:PATH' needs one with annotations and images")
        features = self.features or _DEFAULT
        for feature in features:
            if feature not in _FEATURES:
                raise UserError(f"coco:{self.path} has no feature '{feature}'; {nearest(feature, _FEATURES)}")
        owner = f"coco:{self.path}"
        mentioned = re.findall(r"(?:^|\+)\s*([\w.-]+)", self.split)
        names = _splits(root) if mentioned == ["all"] else mentioned
        scenes = {name: _read(root, name, features, self.skip) for name in dict.fromkeys(names)}
        parts = []
        for part in parse_split(self.split, {name: len(each) for name, each in scenes.items()}, owner):
            each = scenes[part.name]
            rows = shuffled(np.arange(len(each)), len(each), seed=0)[part.start : part.stop]
            print_ = digest_of([each.fingerprint, list(part), list(features), sorted(self.skip)])
            parts.append(ExampleSource(each, rows, print_, each.names, features))
        for part in parts[1:]:
            if part.names != parts[0].names:
                raise UserError(f"the parts of '{self.split}' of {owner} have different categories; use one of them")
        return parts[0] if len(parts) == 1 else JoinedSource(tuple(parts), digest_of([p.fingerprint for p in parts]))


@dataclass(frozen=True)
class _Scenes:
    """The examples of one split, objects of all of them one after the other.

    Attributes:
      files: [images].
      image_ids: [images].
      sizes: [images, 2], (height, width) as the annotations say.
      starts: [images + 1], where the objects of each image start.
      boxes: [objects, 4], normalized (top, left, bottom, right).
      labels, crowd, ids: [objects].
      outlines: [objects], polygons or run lengths, if masks are asked for.
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
    outlines: tuple[Any, ...]
    names: Mapping[str, tuple[str, ...]]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Batch:
        file, size = self.files[number], tuple(self.sizes[number].tolist())
        image = to_array(decode(file, channels=3))
        if image.shape[:2] != size:
            raise UserError(
                f"{file} has {image.shape[0]} x {image.shape[1]} pixels (upright), but {self.json} says {size[0]} x "
                f"{size[1]} (height x width) of image {self.image_ids[number]}; correct one of them"
            )
        rows = slice(self.starts[number], self.starts[number + 1])
        example = {"image": image, "objects/bbox": self.boxes[rows], "objects/label": self.labels[rows]}
        example |= {"objects/is_crowd": self.crowd[rows], "image/id": self.image_ids[number]}
        return example | (self._planes(rows, size) if self.outlines else {})

    def _planes(self, rows: slice, size: tuple[int, int]) -> Batch:
        """`mask` and `instances`: crowd regions first, then the larger objects before the smaller ones on them."""
        mask, instances = np.zeros(size, np.uint8), np.zeros(size, np.int32)
        numbers = range(rows.start, rows.stop)
        inside = [_raster(self.outlines[n], size, f"annotation {self.ids[n]} of {self.json}") for n in numbers]
        for row in sorted(range(len(inside)), key=lambda row: (not self.crowd[rows][row], -inside[row].sum())):
            crowd = self.crowd[rows][row]
            mask[inside[row]] = UNLABELLED if crowd else 1 + self.labels[rows][row]
            instances[inside[row]] = 0 if crowd else 1 + row
        return {"mask": mask, "instances": instances}


def _splits(root: Path) -> list[str]:
    found = [path.stem.removeprefix("instances_") for path in sorted((root / "annotations").glob("instances_*.json"))]
    return list(dict.fromkeys([*found, *(path.stem for path in sorted(root.glob("*.json")))]))


def _read(root: Path, name: str, features: tuple[str, ...], skip: tuple[int, ...]) -> _Scenes:
    places = [root / "annotations" / f"instances_{name}.json", root / f"{name}.json"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        looked = " and ".join(map(str, places))
        raise UserError(f"coco:{root} has no split '{name}'; looked for {looked}; {nearest(name, _splits(root))}")
    content = _parse(path)
    categories = _by_id(path, "category", content["categories"])
    images = _by_id(path, "image", content["images"])
    if not categories or not images:
        raise UserError(f"{path} lists no {'images' if categories else 'categories'}; a split needs one at least")
    if "mask" in features and len(categories) > UNLABELLED - 1:
        raise UserError(f"{path} has {len(categories)} categories; feature 'mask' has room for {UNLABELLED - 1}")
    classes = tuple(str(_field(path, f"category {key}", categories[key], "name", str)) for key in categories)
    sizes = np.zeros((len(images), 2), np.int64)
    for row, (key, record) in enumerate(images.items()):
        sizes[row] = [_field(path, f"image {key}", record, side, int) for side in ("height", "width")]
        if sizes[row].min() < 1:
            raise UserError(f"{path}: image {key} has {sizes[row][0]} x {sizes[row][1]} pixels; correct its size")
    outlined = bool({"mask", "instances"} & set(features))
    columns = _annotations(path, content["annotations"], list(categories), list(images), sizes, skip, outlined)
    names = {"box_label": classes, "objects/label": classes, "mask": ("background", *classes)}
    files = _files(root, path, name, images)
    fingerprint = digest_of([digest(path), _identity(root, files)])
    return _Scenes(path, files, np.array(list(images)), sizes, **columns, names=names, fingerprint=fingerprint)


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); is it complete?") from None
    for name in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise UserError(f"{path} has no list '{name}', so it is no file of COCO's instances")
    return content


def _by_id(path: Path, kind: str, records: list[Any]) -> dict[int, Any]:
    """Records by id, in the order of ids."""
    found: dict[int, Any] = {}
    for number, record in enumerate(records):
        key = _field(path, f"{kind} number {number}", record, "id", int)
        if key in found:
            raise UserError(f"{path} has two entries of {kind} {key}; ids must be unique")
        found[key] = record
    return dict(sorted(found.items()))


def _field(path: Path, what: str, record: Any, name: str, kind: type) -> Any:
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{path}: {what} has no '{name}' that is {kind.__name__}; found {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _files(root: Path, path: Path, name: str, images: Mapping[int, Any]) -> tuple[Path, ...]:
    folders = [root / name, root / "images" / name, root / "images"]
    files = []
    for key, record in images.items():
        file = _field(path, f"image {key}", record, "file_name", str)
        found = next((folder / file for folder in folders if (folder / file).is_file()), None)
        if found is None:
            looked = ", ".join(map(str, folders))
            raise UserError(f"{path}: image {key}, file '{file}', is missing; looked in {looked}")
        files.append(found)
    return tuple(files)


def _identity(root: Path, files: tuple[Path, ...]) -> list:
    """Name and size of every file, and the SHA-256 of each when all of them are few bytes."""
    sizes = [file.stat().st_size for file in files]
    small = sum(sizes) <= DIGEST_LIMIT
    return [[str(file.relative_to(root)), size, digest(file) if small else None] for file, size in zip(files, sizes)]


def _annotations(
    path: Path,
    records: list[Any],
    categories: list[int],
    images: list[int],
    sizes: np.ndarray,
    skip: tuple[int, ...],
    outlined: bool,
) -> dict[str, Any]:
    """The columns of `_Scenes` that tell of objects, sorted by image.

    Raises:
      UserError: an annotation is wrong; the first one is described, the ids of the others are listed.
    """
    label_of = {key: label for label, key in enumerate(categories)}
    row_of = {key: row for row, key in enumerate(images)}
    left_out, wrong, seen = set(skip), {}, []
    for number, record in enumerate(records):
        key = _field(path, f"annotation number {number}", record, "id", int)
        if key in left_out:
            continue
        image = record.get("image_id")
        row = row_of.get(image, -1) if isinstance(image, int) else -1
        fault = _fault(record, label_of, sizes[row] if row >= 0 else None, outlined)
        if fault:
            wrong[key] = fault
        else:
            seen.append((row, number))
    if wrong:
        first, *others = wrong
        more = f"; so are {len(others)} more: {_short(others)[1:-1]}" if others else ""
        raise UserError(
            f"{path}: annotation {first} {wrong[first]}{more}; correct the file, or leave them out with "
            f"jaxdl.data.formats.coco.Coco(PATH, SPLIT, skip=({first}, ...)) in place of Dataset"
        )
    seen.sort()
    kept = [records[number] for _, number in seen]
    rows = np.array([row for row, _ in seen], np.int64)
    left, top, width, height = np.array([record["bbox"] for record in kept], np.float64).reshape(-1, 4).T
    boxes = np.stack([top, left, top + height, left + width], axis=1) / np.tile(sizes[rows], 2)
    return {
        "starts": np.searchsorted(rows, np.arange(len(images) + 1)),
        "boxes": np.clip(boxes, 0, 1).astype(np.float32),
        "labels": np.array([label_of[record["category_id"]] for record in kept], np.int32),
        "crowd": np.array([bool(record.get("iscrowd", 0)) for record in kept], bool),
        "ids": np.array([record["id"] for record in kept], np.int64),
        "outlines": tuple(record["segmentation"] for record in kept) if outlined else (),
    }


def _fault(record: Any, label_of: Mapping[int, int], size: np.ndarray | None, outlined: bool) -> str | None:
    """What is wrong with an annotation of an image of `size`, (height, width); None of an image that is not known."""
    if size is None:
        return f"belongs to image {_short(record.get('image_id'))}, which is not in the list of images"
    category = record.get("category_id")
    if not isinstance(category, int) or category not in label_of:
        return f"has the unknown category id {_short(category)}; ids that exist: {', '.join(map(str, label_of))}"
    bbox = record.get("bbox")
    if not _numbers(bbox) or len(bbox) != 4:
        return f"has no bbox of four numbers, but {_short(bbox)}"
    left, top, width, height = bbox
    if width <= 0 or height <= 0:
        return f"has a bbox of no area: [x, y, width, height] = {bbox}"
    high, broad = size.tolist()
    right, bottom = left + width, top + height
    if min(left, top) < -1 or right > broad + 1 or bottom > high + 1:
        return f"has a bbox outside of its image of {broad} x {high} (width x height): [x, y, width, height] = {bbox}"
    if min(right, broad) <= max(left, 0) or min(bottom, high) <= max(top, 0):
        return f"has a bbox of no area within its image of {broad} x {high} (width x height): {bbox}"
    return _outline_fault(record.get("segmentation"), high, broad) if outlined else None


def _outline_fault(outline: Any, height: int, width: int) -> str | None:
    if isinstance(outline, list) and outline:
        for polygon in outline:
            if not _numbers(polygon) or len(polygon) < 6 or len(polygon) % 2:
                return f"has a polygon that is not x, y, x, y, .. of three points or more: {_short(polygon)}"
            x, y = polygon[::2], polygon[1::2]
            # The rasterizer takes memory in proportion to the length of the lines.
            if min(x) < -width or max(x) > 2 * width or min(y) < -height or max(y) > 2 * height:
                return f"has a polygon far outside of its image: {_short(polygon)}"
        return None
    if not isinstance(outline, dict):
        return f"has no segmentation (polygons or run lengths), but {_short(outline)}"
    if outline.get("size") != [height, width]:
        return f"has run lengths for size {_short(outline.get('size'))}, but the image has {[height, width]}"
    counts = outline.get("counts")
    lengths = _run_lengths(counts) if isinstance(counts, str) else counts
    # The rasterizer believes them, whatever memory lies behind.
    if not _numbers(lengths) or min(lengths) < 0 or sum(lengths) != height * width:
        return "has run lengths that do not add up to the image's pixels"
    return None


def _numbers(value: Any) -> TypeGuard[list]:
    """A list of finite numbers, not empty."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, (int, float)) and abs(each) < 1e9 for each in value)  # NaN is not less than anything
    )


def _run_lengths(text: str) -> list[int]:
    """Of the compressed form: base 32 with a continuation bit, from the fourth on less the last but one; broken: []."""
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


def _raster(outline: Any, size: tuple[int, int], what: str) -> np.ndarray:
    """bool [height, width]."""
    try:
        from pycocotools import mask as runs
    except ModuleNotFoundError:
        raise UserError("masks of COCO need pycocotools, which is not installed: pip install pycocotools") from None

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
        raise UserError(f"the segmentation of {what} cannot be read ({error}); correct it") from None
