"""Image classification data set in a folder, one subfolder per class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.files import Listing, check_links, is_hidden, list_files, reasons, subfolders_of
from jaxdl.data.formats.parts import Reading, identity, open_parts, sample
from jaxdl.data.image.files import SUFFIXES, Picture, decode
from jaxdl.data.source import ExampleSource, Source
from jaxdl.data.splits import Range
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError
from jaxdl.remote import local

_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing"})


@dataclass(frozen=True)
class _Files:
    """Examples of `image`, a `Picture` of 3 channels, and `label` int32 []."""

    files: tuple[Path, ...]
    labels: np.ndarray
    scale: tuple[float, float] | None

    def __len__(self) -> int:
        return len(self.files)

    def labels_of(self, rows: np.ndarray) -> np.ndarray:
        return self.labels[rows]

    def __getitem__(self, number: int) -> dict[str, Any]:
        image = Picture(decode(self.files[number], channels=3, scale=self.scale))
        return {"image": image, "label": self.labels[number]}


class _Split(NamedTuple):
    """Examples of one split, sorted by class and path, and the files that are not among them."""

    examples: _Files
    skipped: list[str]


def open_folder(path: str, split: str, reading: Reading | None = None) -> Source:
    """Opens the images below `path`, as `PATH/CLASS/*` or `PATH/SPLIT/CLASS/*`; see `Dataset`.

    The order is random and depends on the number of files only, so a part of a split is a fair sample. Hidden files and
    folders, and files that are not images, are skipped and reported.

    Example: with `pets/cat/1.png` and `pets/dog/1.png`, `open_folder("pets", "train")` has `image` uint8
    [height, width, 3], `label` int32 [] and the names `{"label": ("cat", "dog")}`.

    Raises:
      UserError: The folder or split does not exist, there are no images, a class has none, or a file is damaged.
    """
    root, reading = local(path), reading or Reading()
    if not root.is_dir():
        raise UserError(f"folder {root} does not exist; 'folder:PATH' needs one subfolder of images per class")
    folders = _split_folders(root)
    listings = {
        name: {folder.name: list_files(folder, SUFFIXES) for folder in subfolders_of(parent)}
        for name, parent in folders.items()
    }
    classes = _classes(root, folders, listings)
    splits = {name: _split(root, classes, by_class, reading) for name, by_class in listings.items()}
    splits = {name: files for name, files in splits.items() if len(files.examples)}
    beside = reasons(root, _loose(root, folders), "not in a class")

    def open_part(part: Range) -> Source:
        examples, skipped = splits[part.name]
        fingerprint = digest_of([identity(root, examples.files), classes, list(part), *reading.settings])
        rows, names = sample(part, len(examples)), {"label": tuple(classes)}
        return ExampleSource(examples, rows, fingerprint, names, skipped=(*skipped, *beside))

    return open_parts(split, {name: len(files.examples) for name, files in splits.items()}, f"folder:{path}", open_part)


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split: subfolders of splits, else `root` as `train`.

    The subfolders are splits if one is named train, or all have the name of a split, in any case, and the images are
    one level deeper. A subfolder that holds images directly is a class, or a split without classes, which is skipped.
    """
    folders = subfolders_of(root)
    known = [folder for folder in folders if folder.name.lower() in _SPLIT_NAMES]
    nested = [folder for folder in known if subfolders_of(folder) and not _has_images(folder)]
    trains = [folder for folder in nested if folder.name.lower() in ("train", "training")]
    if not trains and (not nested or len(nested) < len(folders)):
        return {"train": root}
    if mixed := [folder for folder in folders if folder not in known and _has_images(folder)]:
        raise UserError(
            f"{root} has splits ({nested[0].name}) beside images of a class ({mixed[0].name}); put every class below a "
            f"split, such as {nested[0]}/{mixed[0].name}"
        )
    folders = [folder for folder in folders if not _has_images(folder)]
    names = [folder.name.lower() if folder in known else folder.name for folder in folders]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f"{root} has two folders of the split '{repeated}', in upper and lower case; rename one")
    return dict(zip(names, folders))


def _has_images(folder: Path) -> bool:
    return any(file.suffix.lower() in SUFFIXES and file.is_file() for file in folder.iterdir())


def _classes(root: Path, folders: Mapping[str, Path], listings: Mapping[str, Mapping[str, Listing]]) -> list[str]:
    """Returns the class names, sorted: those of `train` if there is such a split.

    Raises:
      UserError: No class was found, or a class lacks images, or images in `train`.
    """
    found = {
        name: {label for label, listing in by_class.items() if listing.files or listing.broken}
        for name, by_class in listings.items()
    }
    classes = sorted(found.get("train", set()) or set().union(*found.values()))
    for name, by_class in listings.items():
        if name in _SPLIT_NAMES or found[name]:
            for label in sorted(set(by_class) - found[name] - set(classes)):
                _refuse_empty(folders[name] / label, by_class[label])
        for label in sorted(found[name] - set(classes)):
            raise UserError(
                f"{folders[name]} has the class '{label}', which {folders['train']} lacks; add or remove it"
            )
    if not classes:
        raise UserError(f"{root} has no images; expected one subfolder per class, such as {root}/cat/1.png")
    return classes


def _refuse_empty(folder: Path, listing: Listing) -> None:
    suffixes = sorted({file.suffix.lower() or file.name for file in listing.skipped})
    content = f" (it has {len(listing.skipped)} others: {', '.join(suffixes[:3])})" if suffixes else ""
    raise UserError(
        f"class folder {folder} has no images that can be read{content}; convert them to PNG or JPEG, or remove the "
        "folder"
    )


def _split(root: Path, classes: list[str], by_class: Mapping[str, Listing], reading: Reading) -> _Split:
    """Returns the files of one split; damaged ones are dropped with `on_error="skip"`."""
    files, labels, skipped = [], [], []
    for number, label in enumerate(classes):
        listing = by_class.get(label, Listing((), (), ()))
        if reading.on_error == "raise":
            check_links(listing.broken)
        files += sorted((*listing.files, *listing.broken))
        labels += [number] * (len(files) - len(labels))
        skipped += reasons(root, listing.skipped, "not an image")
    examples = _Files(tuple(files), np.array(labels, np.int32), reading.scale)
    kept, damaged = reading.readable(root, examples, [str(path.relative_to(root)) for path in files])
    files = tuple(files[row] for row in kept)
    return _Split(_Files(files, examples.labels[kept], reading.scale), skipped + damaged)


def _loose(root: Path, folders: Mapping[str, Path]) -> list[Path]:
    """Returns hidden folders and images beside the class folders, and split folders without classes."""
    places = {root, *folders.values()}
    unused = set() if root in folders.values() else {*subfolders_of(root)} - places
    return sorted(
        path
        for place in places
        for path in place.iterdir()
        if is_hidden(path.name) or path in unused or (path.suffix.lower() in SUFFIXES and not path.is_dir())
    )
