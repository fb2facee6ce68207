"""Captions: 4,581 small images of single objects on white with short English captions.

Emoji with Unicode names from the npm packages `emoji-datasource-google` and `emoji-datasource-twitter` 16.0.0 (packages
MIT; images Apache-2.0 and CC-BY-4.0), and Tux Paint stamps with descriptions from Debian's tuxpaint-stamps-default
(GPL-2). Skin-tone variants, SVG stamps and one white-on-white image are omitted.

Captions are lower case and otherwise unchanged: "face with tears of joy", "a penguin.".

The split is by a hash of the caption, so emoji of one name are in the same split. 15 images that occur in an earlier
split under another name are omitted. Train has 3,699 images (1,533 Google, 1,533 Twitter, 633 stamps; 2,044 captions),
validation 447 (191, 188, 68; 255), test 435 (177, 175, 83; 244). Captions have a median of 1 to 2 words, a 95th
percentile of 6 and at most 31. Families of emoji are similar across splits ("woman running", "man running").
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxdl.data.builders._base import TEXT, ExamplesBuilder, array, classes
from jaxdl.data.image.files import decode
from jaxdl.data.splits import split_by_hash
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
SIZE = 64  # pixels


class Captioned(NamedTuple):
    """Image file, caption and kind."""

    path: Path
    caption: str
    kind: str


class Builder(ExamplesBuilder, skip_registration=True):
    """`image` uint8 [64, 64, 3], `caption` and `kind` (google, twitter or stamp)."""

    name = "captions"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "image": array(SIZE, SIZE, 3, encoding="zlib"),
        "caption": TEXT,
        "kind": classes("google", "twitter", "stamp"),
    }

    def examples(self) -> dict[str, Any]:
        emoji_entries = [entry for kind, source in EMOJI.items() for entry in emoji(source.fetch(), kind)]
        return parts([*emoji_entries, *stamps(STAMPS.fetch() / STAMPS_FOLDER)])


def emoji(folder: Path, kind: str) -> Iterator[Captioned]:
    """Yields the emoji of a package, in the order of `emoji.json`."""
    for entry in json.loads((folder / NAMES_FILE).read_text(encoding="utf-8")):
        if entry["category"] != "Component" and entry[f"has_img_{kind}"]:
            yield Captioned(folder / f"img/{kind}/64/{entry['image']}", entry["name"].lower(), kind)


def stamps(folder: Path) -> Iterator[Captioned]:
    """Yields the stamps with a `.txt` file, whose first line is the English caption."""
    for path in sorted(folder.rglob("*.png")):
        if path.with_suffix(".txt").is_file():
            caption = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()[0]
            yield Captioned(path, " ".join(caption.lower().split()), "stamp")


def parts(entries: list[Captioned]) -> dict[str, list[dict[str, Any]]]:
    """Returns the examples of each split, in order; no caption or image is in two splits.

    Blank images are omitted.
    """
    by_part: dict[str, list[dict[str, Any]]] = {}
    earlier: set[bytes] = set()
    for part, members in split_by_hash(entries, lambda entry: entry.caption, validation=10, test=10).items():
        images = [(picture(entry.path), entry) for entry in members]
        fresh = [(image, entry) for image, entry in images if image.tobytes() not in earlier and image.min() < 255]
        by_part[part] = [{"image": image, "caption": entry.caption, "kind": entry.kind} for image, entry in fresh]
        earlier |= {image.tobytes() for image, _ in fresh}
    return by_part


def picture(path: Path) -> np.ndarray:
    """Centers an image on white, reduced if it is larger, uint8 [64, 64, 3]."""
    image = decode(path, channels=3)
    image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (SIZE, SIZE), "white")
    canvas.paste(image, ((SIZE - image.width) // 2, (SIZE - image.height) // 2))
    return np.asarray(canvas)
