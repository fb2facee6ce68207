"""Emoji in two styles: 1,909 pairs of small pictures on white, of one thing as Google and as Twitter draw it.

From the packages `emoji-datasource-google` and `emoji-datasource-twitter` 16.0.0 (licences: the packages MIT, Google's
pictures Apache-2.0, Twitter's CC-BY-4.0). Both have a picture for each of 1,911 emoji; variants in skin colour are left
out. Pairs are true pairs: who trains on unpaired pictures must part them, as `jaxdl.data.image.unpaired` does.

The hash of its name says which part a pair is in. The name is that of Unicode's code points without those that only say
who is shown: woman, man or child, the sign of a gender, the direction. So a cook who is a man and one who is a woman
are in one part, and so are all families. Some pictures have several names (the flags of Norway and of Bouvet Island): a
pair with a picture that is in an earlier part already, in the order train, validation, test, is left out; there are 2.

Train has 1,543 pairs, validation 191, the test 175, in a random order: the packages list flags first.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.builders.captions import EMOJI, NAMES_FILE, SIZE, picture
from jaxdl.data.splits import PARTS, part_of

STYLES = ("google", "twitter")
# Boy, girl, man, woman, person, child; female and male sign; arrow to the right; joiner; picture, not sign.
WHO = ("1F466", "1F467", "1F468", "1F469", "1F9D1", "1F9D2", "2640", "2642", "27A1", "200D", "FE0F")


class Pair(NamedTuple):
    """Two pictures' files, their name in lower case, and what may not be in two parts."""

    google: Path
    twitter: Path
    name: str
    key: str


class Builder(ExamplesBuilder, skip_registration=True):
    """`google` and `twitter` uint8 [64, 64, 3], and `name`."""

    name = "emoji"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Tensor(shape=(SIZE, SIZE, 3), dtype=np.uint8, encoding="zlib")
        features = {**dict.fromkeys(STYLES, image), "name": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        examples = parts(list(pairs({style: EMOJI[style].fetch() for style in STYLES})))
        return {part: iter(enumerate(rows)) for part, rows in examples.items()}


def pairs(folders: dict[str, Path]) -> Iterator[Pair]:
    """The emoji that both styles have, in the order of `emoji.json`.

    Args:
      folders: of the packages, by style.
    """
    for entry in json.loads((folders["google"] / NAMES_FILE).read_text(encoding="utf-8")):
        if all(entry[f"has_img_{style}"] for style in STYLES):
            files = [folders[style] / f"img/{style}/64/{entry['image']}" for style in STYLES]
            yield Pair(files[0], files[1], entry["name"].lower(), key_of(entry["unified"]))


def key_of(unified: str) -> str:
    """Code points "1F469-200D-1F373" without those that say who is shown, "1F373"; "people" if that is all they say."""
    return "-".join(point for point in unified.split("-") if point not in WHO) or "people"


def parts(entries: list[Pair]) -> dict[str, list[dict[str, Any]]]:
    """The examples of each part, in the order of a hash of their names; no key and no picture is in two parts."""
    found: dict[str, list[dict[str, Any]]] = {}
    earlier: set[bytes] = set()
    for part in PARTS:
        own = [entry for entry in entries if part_of(entry.key, validation=10, test=10) == part]
        own.sort(key=lambda entry: hashlib.sha256(entry.name.encode()).digest())
        rows = [{"google": picture(one.google), "twitter": picture(one.twitter), "name": one.name} for one in own]
        fresh = [row for row in rows if not any(row[style].tobytes() in earlier for style in STYLES)]
        found[part] = fresh
        earlier |= {row[style].tobytes() for row in fresh for style in STYLES}
    return found
