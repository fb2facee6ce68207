"""Captions: 4,581 small pictures of one thing on white, each with a few English words for it.

Emoji and their Unicode names, from the packages `emoji-datasource-google` and `emoji-datasource-twitter` 16.0.0
(licences: the packages MIT, Google's pictures Apache-2.0, Twitter's CC-BY-4.0), and the stamps of Tux Paint with their
descriptions, from Debian's tuxpaint-stamps-default (GPL-2). Variants of an emoji's skin colour, and the colours
themselves, are left out; so are stamps that are SVG, and a lightning bolt that is white on white.

Captions are in lower case, and else as they come: "face with tears of joy", "a penguin.".

The hash of its caption says which part a picture is in, so Google's and Twitter's emoji of one name are in the same.
Some pictures have several names (the flags of Norway and of Bouvet Island): one that is in an earlier part already, in
the order train, validation, test, is left out; there are 15.

Train has 3,699 pictures (1,533 of Google's, 1,533 of Twitter's, 633 stamps; 2,044 captions), validation 447 (191, 188,
68; 255), the test 435 (177, 175, 83; 244). Half of the captions have 1 or 2 words, 95% at most 6, the longest 31.

Families of emoji are alike ("woman running", "man running"): what is scored is not only what was never seen.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.image.files import decode
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import Debian, Npm

NAMES_FILE = "emoji.json"
NAMES_SHA256 = "1d602e65be88772bf8cc368ce16b855d719eeddbafe128d471b80203f494d29f"
EMOJI = {
    kind: Npm(f"emoji-datasource-{kind}", "16.0.0", {NAMES_FILE: NAMES_SHA256, f"img/{kind}/64/*.png": sha256})
    for kind, sha256 in (
        ("google", "dd78122f7ccca213f96c839057af27d7de80fa3b9be5b113ee16e3fc4652797a"),
        ("twitter", "630580564f60fed8a04f122cd91b1d974b9bcfdd50a13a175db97e195f30ce62"),
    )
}
STAMPS_FOLDER = "usr/share/tuxpaint/stamps"
STAMPS = Debian(
    "tuxpaint-stamps-default",
    {
        f"{STAMPS_FOLDER}/*.png": "616fa36c59e255134a45965e1d7be021fac900711b8c43d3ef614ca752ad7b60",
        f"{STAMPS_FOLDER}/*.txt": "251cdf80757cd429eda16d4e9c547561606880403a5118444afa50317746b16d",
    },
)
KINDS = ["google", "twitter", "stamp"]
SIZE = 64  # pixels


class Captioned(NamedTuple):
    """A picture's file, the caption and the kind."""

    path: Path
    caption: str
    kind: str


class Builder(ExamplesBuilder, skip_registration=True):
    """`image` uint8 [64, 64, 3], `caption`, and `kind`: google, twitter or stamp."""

    name = "captions"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(SIZE, SIZE, 3), dtype=np.uint8, encoding="zlib"),
                "caption": tfds.features.Text(),
                "kind": tfds.features.ClassLabel(names=KINDS),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        found = [entry for kind, source in EMOJI.items() for entry in emoji(source.fetch(), kind)]
        examples = parts([*found, *stamps(STAMPS.fetch() / STAMPS_FOLDER)])
        return {part: iter(enumerate(rows)) for part, rows in examples.items()}


def emoji(folder: Path, kind: str) -> Iterator[Captioned]:
    """The emoji of one of the packages, in the order of `emoji.json`."""
    for entry in json.loads((folder / NAMES_FILE).read_text(encoding="utf-8")):
        if entry["category"] != "Component" and entry[f"has_img_{kind}"]:
            yield Captioned(folder / f"img/{kind}/64/{entry['image']}", entry["name"].lower(), kind)


def stamps(folder: Path) -> Iterator[Captioned]:
    """The stamps that have a description: a `.txt` file of the same name, whose first line is the English one."""
    for path in sorted(folder.rglob("*.png")):
        if path.with_suffix(".txt").is_file():
            caption = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()[0]
            yield Captioned(path, " ".join(caption.lower().split()), "stamp")


def parts(entries: list[Captioned]) -> dict[str, list[dict[str, Any]]]:
    """The examples of each part, in the order of the entries; no caption and no picture is in two parts.

    A picture with nothing but white is left out.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    earlier: set[bytes] = set()
    for part in PARTS:
        own = [entry for entry in entries if part_of(entry.caption, validation=10, test=10) == part]
        images = [(picture(entry.path), entry) for entry in own]
        fresh = [(image, entry) for image, entry in images if image.tobytes() not in earlier and image.min() < 255]
        found[part] = [{"image": image, "caption": entry.caption, "kind": entry.kind} for image, entry in fresh]
        earlier |= {image.tobytes() for image, _ in fresh}
    return found


def picture(path: Path) -> np.ndarray:
    """uint8 [64, 64, 3]: the image of a file in the middle of white, reduced if it is larger."""
    image = decode(path, channels=3)
    image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (SIZE, SIZE), "white")
    canvas.paste(image, ((SIZE - image.width) // 2, (SIZE - image.height) // 2))
    return np.asarray(canvas)
