"""Movie reviews: 10,070 sentences about films, positive or negative.

The snippets from rotten.tomatoes.com (after Pang and Lee, 2004) that about twenty people each rated from -4 to 4 for
VADER (Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM
2014): `movieReviewSnippets_GroundTruth.txt` in the source distribution of the package `vaderSentiment` 3.3.2, MIT
licence.

A mean rating of 0.5 or more is positive, of -0.5 or less negative; of the 10,605 snippets the 533 between are left out,
and 2 that are there twice. Entities of HTML are resolved, runs of spaces are one. 8,056 are to
train on (4,041 negative, 4,015 positive), 1,044 for validation (552, 492), 970 for the test (482, 488); they have 19
words on average.

The hash of its text says which part a snippet is in. The file does not say which review or film a snippet is about, so
other words about the same film can be in another part.
"""

import html
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import PyPI

MEMBER = "additional_resources/hutto_ICWSM_2014.tar.gz"
FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
SOURCE = PyPI(
    "vaderSentiment",
    "3.3.2",
    members={MEMBER: "3c42a3c582708e3f895221d50d261f1aa36d4f7e6c20e63acc082c6bb1f6c28b"},
    built=False,  # the wheel does not hold it
)
CLASSES = ["negative", "positive"]
NEUTRAL = 0.5  # mean ratings nearer to zero than this are left out


class Builder(ExamplesBuilder, skip_registration=True):
    """`text` and `label`."""

    name = "movie_reviews"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=CLASSES)}
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        rows = labelled(read_snippets(SOURCE.fetch() / MEMBER))
        return {part: _examples(rows, part) for part in PARTS}


def read_snippets(archive: Path) -> list[tuple[float, str]]:
    """(mean rating, text as it is in the file) of each snippet."""
    with tarfile.open(archive) as file:
        reader = file.extractfile(FILE)
        assert reader is not None
        lines = reader.read().decode("utf-8").split("\r\n")
    rows = [line.split("\t") for line in lines if line]
    return [(float(rating), text) for _, rating, text in rows]


def labelled(snippets: Sequence[tuple[float, str]]) -> dict[str, int]:
    """The label of each text, by text, in the order of the file; what is neutral is left out."""
    rows: dict[str, int] = {}
    for rating, text in snippets:
        if abs(rating) >= NEUTRAL:
            rows.setdefault(" ".join(html.unescape(text).split()), int(rating > 0))
    return rows


def _examples(rows: dict[str, int], part: str) -> Iterator[tuple[int, dict[str, Any]]]:
    own = [text for text in rows if part_of(text, validation=10, test=10) == part]
    for number, text in enumerate(own):
        yield number, {"text": text, "label": rows[text]}
