"""Scenes: 7,000 synthetic 96x96 images of 1 to 5 objects with exact boxes and masks.

262 photographic cut-outs of animals, flowers, foods and artifacts on 45 photographs (landscapes, sky, water, textures).
`scenes.txt` lists every file with its SHA-256, category and split. No two splits share a cut-out or photograph, and
cut-outs of the same subject (both herons, all three ceps) are in one split, so evaluation measures generalization to
unseen objects.

Random numbers depend on the split and the scene number only. Decoding and resampling are PIL's, so another version may
change values by one or two, and thereby the fingerprint.

Licences: cut-outs, Tux Paint stamps, GPL-2. Photographs: Tux Paint templates, GPL-2 or later; MyPaint backgrounds, CC0;
MATE and Plasma wallpapers, GPL-2 or later; Lomiri wallpapers, CC-BY-4.0, the bridge CC-BY-SA-4.0, with each author in
the file name.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxdl.data.builders._base import ExamplesBuilder, array
from jaxdl.data.builders._compose import Scenes, compose, trim
from jaxdl.data.image.files import decode
from jaxdl.data.store.packages import Debian

PACKAGES = {  # package -> folder of its files
    "tuxpaint-stamps-default": "usr/share/tuxpaint/stamps/",
    "tuxpaint-data": "usr/share/tuxpaint/templates/",
    "mypaint-data-extras": "usr/share/mypaint/backgrounds/",
    "mate-backgrounds": "usr/share/backgrounds/mate/",
    "plasma-workspace-wallpapers": "usr/share/wallpapers/",
    "lomiri-wallpapers-16.04": "usr/share/backgrounds/",  # after the package whose files lie below
}
CATEGORIES = ("animal", "flower", "food", "artifact")
BACKGROUND = "background"
COUNTS = {"train": 6000, "validation": 500, "test": 500}
SCENES = Scenes()
CUTOUT_LENGTH = 128  # longer side in pixels, about twice the largest rendered size
PHOTOGRAPH_LENGTH = 448  # shorter side of the photographs in pixels


class Entry(NamedTuple):
    """Line of `scenes.txt`."""

    sha256: str
    category: str
    split: str
    path: str


class Builder(ExamplesBuilder, skip_registration=True):
    """Features as returned by `jaxdl.data.builders._compose.compose`."""

    name = "scenes"
    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {"1.1.0": "20 more photographs to train on; validation and test as before"}
    NAMES = {"box_label": CATEGORIES, "mask": (BACKGROUND, *CATEGORIES)}
    FEATURES = {
        "image": array(SCENES.size, SCENES.size, 3),
        "mask": array(SCENES.size, SCENES.size, encoding="zlib"),
        "instances": array(SCENES.size, SCENES.size, encoding="zlib"),
        "boxes": tfds.features.Tensor(shape=(SCENES.most, 4), dtype=np.float32),
        "box_label": tfds.features.Tensor(shape=(SCENES.most,), dtype=np.int32),
        "box_weight": tfds.features.Tensor(shape=(SCENES.most,), dtype=np.float32),
    }

    def examples(self) -> dict[str, Any]:
        entries = read_table()
        folders = {package: _source(package, entries).fetch() for package in PACKAGES}
        return {split: _examples(folders, entries, split) for split in COUNTS}


def read_table() -> list[Entry]:
    """Reads `scenes.txt`; the order of lines is part of the data set."""
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return [Entry(*line.split(" ", 3)) for line in lines]


def package_of(entry: Entry) -> str:
    """Returns the package of a file."""
    return next(package for package, prefix in PACKAGES.items() if entry.path.startswith(prefix))


def _source(package: str, entries: list[Entry]) -> Debian:
    return Debian(package, {entry.path: entry.sha256 for entry in entries if package_of(entry) == package})


def _examples(folders: dict[str, Path], entries: list[Entry], split: str) -> Iterator[dict[str, Any]]:
    members = [entry for entry in entries if entry.split == split]
    paths = {entry: folders[package_of(entry)] / entry.path for entry in members}
    cutouts = [
        [trim(Image.open(paths[entry]), CUTOUT_LENGTH) for entry in members if entry.category == category]
        for category in CATEGORIES
    ]
    photographs = [_photograph(paths[entry]) for entry in members if entry.category == BACKGROUND]
    for number in range(COUNTS[split]):
        generator = np.random.default_rng([list(COUNTS).index(split), number])
        yield compose(cutouts, photographs, generator, SCENES)


def _photograph(path: Path) -> np.ndarray:
    """Decodes a photograph and reduces its shorter side, uint8 [height, width, 3]."""
    image = decode(path, channels=3)
    scale = PHOTOGRAPH_LENGTH / min(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    return np.asarray(image)
