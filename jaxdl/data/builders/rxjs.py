"""RxJS 7.8.2: 321 declarations in TypeScript, and the JavaScript that the compiler made of each.

From the npm package `rxjs`, Apache-2.0; `jaxdl.data.builders._typescript` says how they are taken apart. 242 are to
train on, 21 for validation, 58 for the test; 273 of all are left when tokens are dropped, the others need some that are
added.

Parts are by file.
"""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.builders._typescript import of_package
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import Npm

SOURCE = Npm(
    "rxjs",
    "7.8.2",
    {
        "src/*.ts": "405811c7751ed55c745a130689b180bbda9e399fb7dbf237dff1a7b94517dc3d",
        "dist/esm/*.js": "440a96c0ddc1e5075bffe2daa5d2d3130840af4c1b72cc924fb2e32e491ae24e",
    },
)


class Builder(ExamplesBuilder, skip_registration=True):
    """`source`, TypeScript, and `target`, JavaScript: tokens with a space between."""

    name = "rxjs"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"source": tfds.features.Text(), "target": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        found = of_package(SOURCE.fetch())
        return {part: _examples(found, part) for part in PARTS}


def _examples(found: dict[tuple[str, str], str], part: str) -> Iterator[tuple[int, dict[str, str]]]:
    own = [pair for pair, file in found.items() if part_of(file, validation=10, test=15) == part]
    for number, (source, target) in enumerate(own):
        yield number, {"source": source, "target": target}
