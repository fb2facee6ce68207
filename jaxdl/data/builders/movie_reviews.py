"""Movie reviews: 10,070 sentences with positive or negative sentiment.

Snippets from rotten.tomatoes.com (Pang and Lee, 2004) with about twenty ratings each from -4 to 4, collected for VADER
(Hutto and Gilbert, ICWSM 2014): `movieReviewSnippets_GroundTruth.txt` in the source distribution of the PyPI package
`vaderSentiment` 3.3.2. Licence: MIT.

A mean rating of at least 0.5 is positive, of at most -0.5 negative. Of 10,605 snippets, 533 neutral ones and 2
duplicates are omitted. HTML entities are resolved and spaces merged. Train has 8,056 (4,041 negative, 4,015 positive),
validation 1,044 (552, 492), test 970 (482, 488), of 19 words on average, split by a hash of the text. The source does
not identify the film, so snippets on one film may be in several splits.
"""

import html
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder, classes
from jaxdl.data.splits import split_by_hash
from jaxdl.data.store.packages import PyPI

MEMBER = "additional_resources/hutto_ICWSM_2014.tar.gz"
FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
SOURCE = PyPI(
    "vaderSentiment",
    "3.3.2",
    members={MEMBER: "3c42a3c582708e3f895221d50d261f1aa36d4f7e6c20e63acc082c6bb1f6c28b"},
    built=False,  # the wheel lacks it
)
NEUTRAL = 0.5  # smallest absolute mean rating


class Builder(ExamplesBuilder, skip_registration=True):
    """`text` and `label`."""

    name = "movie_reviews"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"text": TEXT, "label": classes("negative", "positive")}

    def examples(self) -> dict[str, Any]:
        label_of = labelled(read_snippets(SOURCE.fetch() / MEMBER))
        parts = split_by_hash(label_of, validation=10, test=10)
        return {part: [{"text": text, "label": label_of[text]} for text in texts] for part, texts in parts.items()}


def read_snippets(archive: Path) -> list[tuple[float, str]]:
    """Returns (mean rating, raw text) of each snippet."""
    with tarfile.open(archive) as file:
        reader = file.extractfile(FILE)
        assert reader is not None
        lines = reader.read().decode("utf-8").split("\r\n")
    rows = [line.split("\t") for line in lines if line]
    return [(float(rating), text) for _, rating, text in rows]


def labelled(snippets: Sequence[tuple[float, str]]) -> dict[str, int]:
    """Returns the label by text, in the order of the file, without neutral snippets."""
    rows: dict[str, int] = {}
    for rating, text in snippets:
        if abs(rating) >= NEUTRAL:
            rows.setdefault(" ".join(html.unescape(text).split()), int(rating > 0))
    return rows
