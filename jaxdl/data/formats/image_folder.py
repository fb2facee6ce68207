"""Image classification data set in a folder, one subfolder per class."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxdl.data.formats.parts import identity, open_parts, sample
from jaxdl.data.image.files import SUFFIXES, decode, to_array
from jaxdl.data.source import Batch, ExampleSource, Source
from jaxdl.data.splits import Range
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError


@dataclass(frozen=True)
class _Files:
    """Examples of `image` uint8 [height, width, 3] and `label` int32 []."""

    files: tuple[Path, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Batch:
        return {"image": to_array(decode(self.files[number], channels=3)), "label": self.labels[number]}


def open_folder(path: str, split: str) -> Source:
    """Opens the images below `path`, as `PATH/CLASS/*` or `PATH/SPLIT/CLASS/*`; see `Dataset`.

    The order is random and depends on the number of files only, so a part of a split is a fair sample.

    Example: with `pets/cat/1.png` and `pets/dog/1.png`, `open_folder("pets", "train")` has `image` uint8
    [height, width, 3], `label` int32 [] and the names `{"label": ("cat", "dog")}`.

    Raises:
      UserError: The folder or split does not exist, or there are no images.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"folder {root} does not exist; 'folder:PATH' needs one subfolder of images per class")
    if (root / "train").is_dir():
        folders = {folder.name: folder for folder in sorted(root.iterdir()) if folder.is_dir()}
    else:
        folders = {"train": root}
    classes = sorted({folder.name for parent in folders.values() for folder in parent.iterdir() if folder.is_dir()})
    files = {name: _list(folder, classes) for name, folder in folders.items()}
    files = {name: paths for name, paths in files.items() if paths}
    if not files:
        raise UserError(f"{root} has no images; expected one subfolder per class, such as {root}/cat/1.png")

    def open_part(part: Range) -> Source:
        paths = files[part.name]
        labels = np.array([classes.index(file.relative_to(folders[part.name]).parts[0]) for file in paths], np.int32)
        fingerprint = digest_of([identity(root, paths), classes, list(part)])
        examples, names = _Files(tuple(paths), labels), {"label": tuple(classes)}
        return ExampleSource(examples, sample(part, len(paths)), fingerprint, names)

    return open_parts(split, {name: len(paths) for name, paths in files.items()}, f"folder:{path}", open_part)


def _list(folder: Path, classes: list[str]) -> list[Path]:
    return sorted(file for name in classes for file in (folder / name).rglob("*") if file.suffix.lower() in SUFFIXES)
