"""Debian's packages: 58,429 pairs of a long description and the short one.

`jaxdl.data.builders._debian` says where they come from. 56,445 are to train on, 986 for validation, 998 for the test;
the long ones have 53 words on average, the short ones 7.

Parts are by source package, whose packages are alike; no short description is in two parts.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.builders._debian import LISTS, Description, descriptions


class Builder(ExamplesBuilder, skip_registration=True):
    """`source`, long, and `target`, short."""

    name = "debian_descriptions"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"source": tfds.features.Text(), "target": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {part: _examples(found) for part, found in descriptions(LISTS.fetch()).items()}


def _examples(found: Sequence[Description]) -> Iterator[tuple[int, dict[str, str]]]:
    for number, each in enumerate(found):
        yield number, {"source": each.long, "target": each.short}
