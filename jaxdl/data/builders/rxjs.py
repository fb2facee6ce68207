"""RxJS 7.8.2: 321 TypeScript declarations with the JavaScript that the compiler emitted.

From the npm package `rxjs` (Apache-2.0); see `jaxdl.data.builders._typescript` for the alignment. Train has 242 pairs,
validation 21, test 58, split by file. 273 targets result from deletions alone; the others also need insertions.
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
    """`source` (TypeScript) and `target` (JavaScript), tokens separated by spaces."""

    name = "rxjs"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"source": tfds.features.Text(), "target": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        file_of_pair = of_package(SOURCE.fetch())
        return {part: _examples(file_of_pair, part) for part in PARTS}


def _examples(file_of_pair: dict[tuple[str, str], str], part: str) -> Iterator[tuple[int, dict[str, str]]]:
    members = [pair for pair, file in file_of_pair.items() if part_of(file, validation=10, test=15) == part]
    for number, (source, target) in enumerate(members):
        yield number, {"source": source, "target": target}
