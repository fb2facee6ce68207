"""Glyphs: letters and numbers of DejaVu Sans, DejaVu Serif and DejaVu Serif Bold at 32x32, aligned.

From the Debian package `fonts-dejavu-core` (Bitstream Vera licence; changes in the public domain), rendered eight times
as large and reduced by the mean of squares. Baselines and horizontal centres coincide. Characters are of Latin, Greek,
Cyrillic, Armenian, Georgian and other scripts. Glyphs that touch the border are omitted, and of characters with the
same glyphs the first is kept. Train has 1,534 characters, validation 115, test 146.

The split is by families of characters: those with one base letter, as e and Ê, or with the same glyph in a font, as
Latin A and Cyrillic А. Accents occur in all splits. The order is random.
"""

import hashlib
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image, ImageDraw, ImageFont

from jaxdl.data.builders._base import TEXT, ExamplesBuilder, array
from jaxdl.data.splits import split_by_hash
from jaxdl.data.store.packages import Debian

FOLDER = "usr/share/fonts/truetype/dejavu"
FILES = {"sans": "DejaVuSans.ttf", "serif": "DejaVuSerif.ttf", "serif_bold": "DejaVuSerif-Bold.ttf"}
SOURCE = Debian(
    "fonts-dejavu-core",
    members={
        f"{FOLDER}/DejaVuSans.ttf": "abdc775b21b1bc470d50c97e790d276f2054b7504e56e5bd3e64f48d68582322",
        f"{FOLDER}/DejaVuSerif.ttf": "13e61509f5c81d7c3132810f4f903e3523df89c802bf6e0674621e8f659cdfe1",
        f"{FOLDER}/DejaVuSerif-Bold.ttf": "e2fd85eba2de65ac270d1cdb1685e252eb827f600850cf62af2d20c41b22e945",
    },
)
SIZE, SCALE = 32, 8  # pixels, and the factor of the rendered size
EM, BASELINE = 0.62, 0.74  # of the size; accents above capitals and descenders fit
HIGHEST = 0x10000  # code points that are tried
MISSING = "\uffff"  # not a character: no font has its glyph


class Builder(ExamplesBuilder, skip_registration=True):
    """`sans`, `serif` and `serif_bold` uint8 [32, 32, 1], black on white, and `character`."""

    name = "glyphs"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {**{style: array(SIZE, SIZE, 1, encoding="zlib") for style in FILES}, "character": TEXT}

    def examples(self) -> dict[str, Any]:
        folder = SOURCE.fetch() / FOLDER
        return parts({style: folder / file for style, file in FILES.items()})


def parts(files: Mapping[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """Returns the examples of each split, ordered by a hash of the character.

    Args:
      files: Font files by style.
    """
    fonts = {style: ImageFont.truetype(str(path), round(EM * SIZE * SCALE)) for style, path in files.items()}
    rows = []
    for character in characters(files):
        row: dict[str, Any] = {style: glyph(font, character) for style, font in fonts.items()}
        if all(map(complete, row.values())):
            rows.append(row | {"character": character})
    names = families([[base(row["character"]), *((style, row[style].tobytes()) for style in fonts)] for row in rows])
    keys = {row["character"]: str(name) for row, name in zip(rows, names)}
    # Reversed, so that the first of equal rows is kept.
    distinct = {tuple(row[style].tobytes() for style in fonts): row for row in reversed(rows)}
    examples = sorted(distinct.values(), key=lambda row: hashlib.sha256(row["character"].encode()).digest())
    return split_by_hash(examples, lambda row: keys[row["character"]], validation=10, test=10)


def characters(files: Mapping[str, Path]) -> list[str]:
    """Returns the letters and numbers that all fonts have, in the order of Unicode."""
    shared = [character for character in map(chr, range(HIGHEST)) if unicodedata.category(character)[0] in "LN"]
    for path in files.values():
        font = ImageFont.truetype(str(path), SIZE)
        missing = _mask(font, MISSING)
        shared = [character for character in shared if _mask(font, character) != missing]
    return shared


def _mask(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    mask: Any = font.getmask(character)
    return bytes(mask)


def base(character: str) -> str:
    """Returns the letter without accents and case: "e" of "Ê"."""
    return unicodedata.normalize("NFKD", character).casefold()[:1]


def glyph(font: ImageFont.FreeTypeFont, character: str) -> np.ndarray:
    """Renders a character, uint8 [32, 32, 1], black on white."""
    side = SIZE * SCALE
    picture = Image.new("L", (side, side), 255)
    ImageDraw.Draw(picture).text((side / 2, BASELINE * side), character, font=font, fill=0, anchor="ms")
    squares = np.asarray(picture, np.float32).reshape(SIZE, SCALE, SIZE, SCALE, 1)
    return np.rint(squares.mean((1, 3))).astype(np.uint8)


def complete(image: np.ndarray) -> bool:
    """Returns whether the image has ink, and none at its border."""
    border = (image[0], image[-1], image[:, 0], image[:, -1])
    return bool(image.min() < 128 and all(edge.min() == 255 for edge in border))


def families(traits: Sequence[Sequence[Hashable]]) -> list[int]:
    """Returns the connected components of items that share a trait, as the number of their first item."""
    owners: dict[Hashable, int] = {}
    parents = list(range(len(traits)))

    def root(item: int) -> int:
        while parents[item] != item:
            item = parents[item]
        return item

    for item, values in enumerate(traits):
        for value in values:
            first, second = sorted((root(owners.setdefault(value, item)), root(item)))
            parents[second] = first
    return [root(item) for item in range(len(traits))]
