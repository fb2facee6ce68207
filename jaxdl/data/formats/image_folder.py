"""Folders of images, one a class, as a data set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxdl.data.image.files import SUFFIXES, decode, to_array
from jaxdl.data.random import shuffled
from jaxdl.data.source import Batch, ExampleSource, JoinedSource, Source
from jaxdl.data.splits import parse_split
from jaxdl.data.store.prepared import DIGEST_LIMIT, digest, digest_of
from jaxdl.errors import UserError


@dataclass(frozen=True)
class _Files:
    """`image` uint8 [height, width, 3], of whatever size the file has, and `label` int32 [], by number."""

    files: tuple[Path, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Batch:
        return {"image": to_array(decode(self.files[number], channels=3)), "label": self.labels[number]}


def open_folder(path: str, split: str) -> Source:
    """The images below `path`; see `Dataset`.

    Files are taken in a random order that depends on how many there are alone, so that part of a split is a fair
    sample of it.

    Raises:
      UserError: no such folder, no image in it, no such split.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"folder {root} does not exist; 'folder:PATH' needs one with a folder of images for each class")
    if (root / "train").is_dir():
        homes = {each.name: each for each in sorted(root.iterdir()) if each.is_dir()}
    else:
        homes = {"train": root}
    classes = sorted({each.name for home in homes.values() for each in home.iterdir() if each.is_dir()})
    files = {name: _list(home, classes) for name, home in homes.items()}
    files = {name: listed for name, listed in files.items() if listed}
    if not files:
        raise UserError(f"no images in {root}: expected a folder of images for each class, such as {root}/cat/1.png")
    parts = []
    for part in parse_split(split, {name: len(listed) for name, listed in files.items()}, f"folder:{path}"):
        listed = files[part.name]
        rows = shuffled(np.arange(len(listed)), len(listed), seed=0)[part.start : part.stop]
        labels = np.array([classes.index(file.relative_to(homes[part.name]).parts[0]) for file in listed], np.int32)
        fingerprint = digest_of([_identity(root, listed), classes, list(part)])
        parts.append(ExampleSource(_Files(tuple(listed), labels), rows, fingerprint, {"label": tuple(classes)}))
    return parts[0] if len(parts) == 1 else JoinedSource(tuple(parts), digest_of([p.fingerprint for p in parts]))


def _list(home: Path, classes: list[str]) -> list[Path]:
    return sorted(file for name in classes for file in (home / name).rglob("*") if file.suffix.lower() in SUFFIXES)


def _identity(root: Path, files: list[Path]) -> list:
    """Name and size of every file, and the SHA-256 of each when all of them are few bytes."""
    sizes = [file.stat().st_size for file in files]
    small = sum(sizes) <= DIGEST_LIMIT
    return [[str(file.relative_to(root)), size, digest(file) if small else None] for file, size in zip(files, sizes)]
