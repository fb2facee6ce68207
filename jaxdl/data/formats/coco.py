"""Detection and segmentation data in the COCO layout (Lin et al., arXiv:1405.0312)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from jaxdl.data.formats.coco_objects import field, object_columns, rasterize
from jaxdl.data.formats.parts import Reading, identity, open_parts, sample
from jaxdl.data.image.files import decode, to_array
from jaxdl.data.image.geometry import UNLABELLED
from jaxdl.data.source import Batch, ExampleSource, Source
from jaxdl.data.splits import Range
from jaxdl.data.store.prepared import digest, digest_of
from jaxdl.errors import UserError, nearest
from jaxdl.remote import local

_DEFAULT = ("image", "objects/bbox", "objects/label", "objects/is_crowd")
_FEATURES = (*_DEFAULT, "mask", "instances", "image/id")


@dataclass(frozen=True)
class Coco:
    """One split of a folder in the COCO layout; also `Dataset("coco:PATH", split, features)`.

    Annotations: `PATH/annotations/instances_SPLIT.json` or `PATH/SPLIT.json`. Images: `PATH/SPLIT`,
    `PATH/images/SPLIT` or `PATH/images`. Images without objects are kept. The order is random and fixed, so a part of a
    split is a fair sample. By default the first four features are loaded.

    Features:
      image: uint8 [height, width, 3], RGB, in the frame of its height and width in the JSON: as stored if the file has
        this size, else turned upright by its EXIF orientation.
      objects/bbox: float32 [objects, 4], normalized [ymin, xmin, ymax, xmax] as in TFDS.
      objects/label: int32 [objects], category ids renumbered from 0 in ascending order.
      objects/is_crowd: bool [objects].
      mask: uint8 [height, width], 0 background, 1 + class, 255 crowd. The smaller object wins where two overlap.
      instances: int32 [height, width], 0 background and crowd, 1 + row in `objects/bbox`.
      image/id: int32 [].

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
        root = local(self.path)
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
        regions = [rasterize(outlines[n], size, f"annotation {self.ids[n]} of {self.json}") for n in numbers]
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
    classes = tuple(str(field(path, f"category {key}", categories[key], "name", str)) for key in categories)
    sizes = np.zeros((len(images), 2), np.int64)
    for row, (key, record) in enumerate(images.items()):
        sizes[row] = [field(path, f"image {key}", record, side, int) for side in ("height", "width")]
        if sizes[row].min() < 1:
            raise UserError(f"{path}: image {key} has the size {sizes[row][0]} x {sizes[row][1]}; it must be positive")
    outlined = bool({"mask", "instances"} & set(features))
    columns = object_columns(path, content["annotations"], list(categories), list(images), sizes, skip, outlined)
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
        key = field(path, f"{kind} number {number}", record, "id", int)
        if key in by_id:
            raise UserError(f"{path} repeats {kind} id {key}; make the ids unique")
        by_id[key] = record
    return dict(sorted(by_id.items()))


def _files(root: Path, path: Path, name: str, images: Mapping[int, Any]) -> tuple[Path, ...]:
    folders = [root / name, root / "images" / name, root / "images"]
    files = []
    for key, record in images.items():
        file = field(path, f"image {key}", record, "file_name", str)
        if PurePosixPath(file).is_absolute() or PureWindowsPath(file).is_absolute() or ".." in Path(file).parts:
            raise UserError(f"{path}: file '{file}' of image {key} must be a path below the image folder, without '..'")
        location = next((folder / file for folder in folders if (folder / file).is_file()), None)
        if location is None:
            searched = ", ".join(map(str, folders))
            raise UserError(f"{path}: file '{file}' of image {key} does not exist; searched {searched}")
        files.append(location)
    return tuple(files)
