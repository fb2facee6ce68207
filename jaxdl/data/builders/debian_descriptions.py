"""Debian descriptions: 58,429 pairs of long and short package descriptions.

See `jaxdl.data.builders._debian` for the source. Train has 56,445 pairs, validation 986, test 998; long descriptions
have 53 words on average, short ones 7. The split is by source package; no short description is in two splits.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.builders._debian import LISTS, Description, descriptions


class Builder(ExamplesBuilder, skip_registration=True):
    """`source` (long) and `target` (short)."""

    name = "debian_descriptions"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"source": tfds.features.Text(), "target": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {part: _examples(pairs) for part, pairs in descriptions(LISTS.fetch()).items()}


def _examples(pairs: Sequence[Description]) -> Iterator[tuple[int, dict[str, str]]]:
    for number, pair in enumerate(pairs):
        yield number, {"source": pair.long, "target": pair.short}
