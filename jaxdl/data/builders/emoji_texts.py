"""Emoji with texts and categories: 1,635 emoji of eight categories by Google and Twitter.

The pictures, their sources and the keys of the split are those of `jaxdl.data.builders.emoji`: no skin-tone variants,
and variants by person, gender or direction in one split. Flags are omitted, because a country's name does not describe
its flag.

A text is the Unicode name in lower case, followed by the short name of chat programs unless the name contains it:
"heavy black heart, heart". Train has 1,319 pairs, validation 169, test 147.
"""

from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder, array, classes
from jaxdl.data.builders.captions import EMOJI, SIZE
from jaxdl.data.builders.emoji import Pair, pairs, parts

CATEGORIES = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
)


class Builder(ExamplesBuilder, skip_registration=True):
    """`google` and `twitter` uint8 [64, 64, 3], `text` and `category`."""

    name = "emoji_texts"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "google": array(SIZE, SIZE, 3, encoding="zlib"),
        "twitter": array(SIZE, SIZE, 3, encoding="zlib"),
        "text": TEXT,
        "category": classes(*CATEGORIES),
    }

    def examples(self) -> dict[str, Any]:
        everything = pairs({style: EMOJI[style].fetch() for style in ("google", "twitter")})
        return parts([pair for pair in everything if pair.entry["category"] in CATEGORIES], described)


def described(pair: Pair) -> dict[str, Any]:
    """Returns the text and the category of a pair."""
    short = " ".join(pair.entry["short_name"].lower().replace("_", " ").replace("-", " ").split())
    text = pair.name if short in pair.name else f"{pair.name}, {short}"
    return {"text": text, "category": pair.entry["category"]}
