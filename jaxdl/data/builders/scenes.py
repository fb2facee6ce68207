"""Scenes: 7,000 made pictures, 96x96, of 1 to 5 animals, flowers, foods and artifacts, with exact boxes and masks.

262 photographic cut-outs on 45 photographs of landscapes, sky, water, bark, leaves, stone, cork and paper. Artifacts
are what people make: tools, instruments, vehicles, balls, ... `scenes.txt` lists every file used, with its SHA-256,
category and split. No two splits share a cut-out or a photograph: what is scored is whether a model knows objects that
it has never seen. Where two cut-outs may show the same thing (both herons, all three ceps) they are in one split.

Random numbers come from the split and the scene's number alone. The decoding and resampling are PIL's, so another
version of it may give other values by one or two; the fingerprint then differs.

Licences: the cut-outs, stamps of Tux Paint, GPL-2. The photographs: templates of Tux Paint, GPL-2 or later; backgrounds
of MyPaint, CC0; wallpapers of MATE and of Plasma, GPL-2 or later; wallpapers of Lomiri, CC-BY-4.0, the bridge
CC-BY-SA-4.0, each author in the file's name.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.builders._compose import Scenes, compose, trim
from jaxdl.data.image.files import decode
from jaxdl.data.store.packages import Debian

PACKAGES = {  # package -> where its files lie
    "tuxpaint-stamps-default": "usr/share/tuxpaint/stamps/",
    "tuxpaint-data": "usr/share/tuxpaint/templates/",
    "mypaint-data-extras": "usr/share/mypaint/backgrounds/",
    "mate-backgrounds": "usr/share/backgrounds/mate/",
    "plasma-workspace-wallpapers": "usr/share/wallpapers/",
    "lomiri-wallpapers-16.04": "usr/share/backgrounds/",  # after the one whose files lie below
}
CATEGORIES = ("animal", "flower", "food", "artifact")
BACKGROUND = "background"
COUNTS = {"train": 6000, "validation": 500, "test": 500}
SCENES = Scenes()
CUTOUT_LENGTH = 128  # pixels: cut-outs are kept at about twice the largest size they are shown at
PHOTOGRAPH_LENGTH = 448  # pixels: shorter side of the photographs that backgrounds are cut from


class Entry(NamedTuple):
    """A line of `scenes.txt`."""

    sha256: str
    category: str
    split: str
    path: str


class Builder(ExamplesBuilder, skip_registration=True):
    """`image`, `mask`, `instances`, `boxes`, `box_label`, `box_weight`, as `jaxdl.data.builders._compose.compose` gives
    them.
    """

    name = "scenes"
    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {"1.1.0": "20 more photographs to train on; validation and test as before"}
    NAMES = {"box_label": CATEGORIES, "mask": (BACKGROUND, *CATEGORIES)}

    def _info(self) -> tfds.core.DatasetInfo:
        plane, most = (SCENES.size, SCENES.size), SCENES.most
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(*plane, 3), dtype=np.uint8, encoding="bytes"),
                "mask": tfds.features.Tensor(shape=plane, dtype=np.uint8, encoding="zlib"),
                "instances": tfds.features.Tensor(shape=plane, dtype=np.uint8, encoding="zlib"),
                "boxes": tfds.features.Tensor(shape=(most, 4), dtype=np.float32),
                "box_label": tfds.features.Tensor(shape=(most,), dtype=np.int32),
                "box_weight": tfds.features.Tensor(shape=(most,), dtype=np.float32),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        entries = read_table()
        folders = {package: _source(package, entries).fetch() for package in PACKAGES}
        return {split: _examples(folders, entries, split) for split in COUNTS}


def read_table() -> list[Entry]:
    """The lines of `scenes.txt`; their order is part of the data set."""
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return [Entry(*line.split(" ", 3)) for line in lines]


def package_of(entry: Entry) -> str:
    """The package that the file is in."""
    return next(package for package, prefix in PACKAGES.items() if entry.path.startswith(prefix))


def _source(package: str, entries: list[Entry]) -> Debian:
    return Debian(package, {entry.path: entry.sha256 for entry in entries if package_of(entry) == package})


def _examples(folders: dict[str, Path], entries: list[Entry], split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    own = [entry for entry in entries if entry.split == split]
    paths = {entry: folders[package_of(entry)] / entry.path for entry in own}
    cutouts = [
        [trim(Image.open(paths[entry]), CUTOUT_LENGTH) for entry in own if entry.category == category]
        for category in CATEGORIES
    ]
    photographs = [_photograph(paths[entry]) for entry in own if entry.category == BACKGROUND]
    for number in range(COUNTS[split]):
        generator = np.random.default_rng([list(COUNTS).index(split), number])
        yield number, compose(cutouts, photographs, generator, SCENES)


def _photograph(path: Path) -> np.ndarray:
    """uint8 [height, width, 3], the shorter side reduced."""
    image = decode(path, channels=3)
    scale = PHOTOGRAPH_LENGTH / min(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    return np.asarray(image)
