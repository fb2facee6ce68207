"""Emoji pairs: 1,909 small images of the same emoji by Google and Twitter.

From the npm packages `emoji-datasource-google` and `emoji-datasource-twitter` 16.0.0 (packages MIT; images Apache-2.0
and CC-BY-4.0). Skin-tone variants are omitted. The pairs are aligned; `jaxdl.data.image.unpaired` separates them for
unpaired training.

The split is by a hash of the emoji's code points without those for person, gender and direction, so variants such as
man and woman cook, and all families, are in one split. 2 pairs with an image that occurs in an earlier split under
another name are omitted. Train has 1,543 pairs, validation 191, test 175, in a random order, because the packages
are sorted by kind.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder, array
from jaxdl.data.builders.captions import EMOJI, NAMES_FILE, SIZE, picture
from jaxdl.data.splits import split_by_hash

STYLES = ("google", "twitter")
# Boy, girl, man, woman, person, child; female and male sign; rightwards arrow; joiner; emoji presentation.
PERSON_AND_GENDER = ("1F466", "1F467", "1F468", "1F469", "1F9D1", "1F9D2", "2640", "2642", "27A1", "200D", "FE0F")


class Pair(NamedTuple):
    """Two image files, their name in lower case, the key of the split and the entry of `emoji.json`."""

    google: Path
    twitter: Path
    name: str
    key: str
    entry: Mapping[str, Any] = {}


class Builder(ExamplesBuilder, skip_registration=True):
    """`google` and `twitter` uint8 [64, 64, 3], and `name`."""

    name = "emoji"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "google": array(SIZE, SIZE, 3, encoding="zlib"),
        "twitter": array(SIZE, SIZE, 3, encoding="zlib"),
        "name": TEXT,
    }

    def examples(self) -> dict[str, Any]:
        return parts(list(pairs({style: EMOJI[style].fetch() for style in STYLES})))


def pairs(folders: dict[str, Path]) -> Iterator[Pair]:
    """Yields the emoji of both styles, in the order of `emoji.json`.

    Args:
      folders: Package folders by style.
    """
    for entry in json.loads((folders["google"] / NAMES_FILE).read_text(encoding="utf-8")):
        if all(entry[f"has_img_{style}"] for style in STYLES):
            files = [folders[style] / f"img/{style}/64/{entry['image']}" for style in STYLES]
            yield Pair(files[0], files[1], entry["name"].lower(), key_of(entry["unified"]), entry)


def key_of(unified: str) -> str:
    """Removes person, gender and direction from code points.

    For example "1F469-200D-1F373" becomes "1F373"; "people" if none remain.
    """
    return "-".join(point for point in unified.split("-") if point not in PERSON_AND_GENDER) or "people"


def parts(
    entries: list[Pair], features: Callable[[Pair], dict[str, Any]] = lambda pair: {"name": pair.name}
) -> dict[str, list[dict[str, Any]]]:
    """Returns the examples of each split, ordered by a hash of their names.

    No key or image is in two splits.

    Args:
      entries: All pairs.
      features: Features of a pair beside its images.
    """
    by_part: dict[str, list[dict[str, Any]]] = {}
    earlier: set[bytes] = set()
    for part, members in split_by_hash(entries, lambda entry: entry.key, validation=10, test=10).items():
        members.sort(key=lambda entry: hashlib.sha256(entry.name.encode()).digest())
        rows = [
            {"google": picture(pair.google), "twitter": picture(pair.twitter), **features(pair)} for pair in members
        ]
        fresh = [row for row in rows if not any(row[style].tobytes() in earlier for style in STYLES)]
        by_part[part] = fresh
        earlier |= {row[style].tobytes() for row in fresh for style in STYLES}
    return by_part
