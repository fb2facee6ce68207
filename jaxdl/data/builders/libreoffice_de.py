"""LibreOffice help, English to German: 23,631 sentence pairs of 4 to 40 words.

From the Debian packages libreoffice-help-en-us and libreoffice-help-de, version 7.4.7. Licence: MPL-2.0. See
`jaxdl.data.builders._libreoffice` for the alignment. The split is by page: train 21,387 pairs (317,184 English and
308,315 German words), validation 1,053, test 1,191, after removal of pairs that share a text with an earlier split.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.builders._libreoffice import (
    ENGLISH,
    Language,
    Pair,
    align,
    parts,
)

OTHER = Language(
    "libreoffice-help-de",
    "usr/share/libreoffice/help/de/text",
    "6a18c4705d7d7ad7dc68bb6e03aa845ae5f409375c125fbbfbe8d3ea8d998f0e",
)


class Builder(ExamplesBuilder, skip_registration=True):
    """`source` (English) and `target` (German)."""

    name = "libreoffice_de"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"source": tfds.features.Text(), "target": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        by_part = parts(align(ENGLISH.fetch(), OTHER.fetch()))
        return {part: _examples(pairs) for part, pairs in by_part.items()}


def _examples(pairs: Sequence[Pair]) -> Iterator[tuple[int, dict[str, str]]]:
    for number, pair in enumerate(pairs):
        yield number, pair._asdict()
