"""RxJS 7.8.2: 321 TypeScript declarations with the JavaScript that the compiler emitted.

From the npm package `rxjs` (Apache-2.0); see `jaxdl.data.builders._typescript` for the alignment. Train has 242 pairs,
validation 21, test 58, split by file. 273 targets result from deletions alone; the others also need insertions.
"""

from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder
from jaxdl.data.builders._typescript import of_package
from jaxdl.data.splits import split_by_hash
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
    FEATURES = {"source": TEXT, "target": TEXT}

    def examples(self) -> dict[str, Any]:
        file_of_pair = of_package(SOURCE.fetch())
        parts = split_by_hash(file_of_pair, file_of_pair.__getitem__, validation=10, test=15)
        return {part: [dict(zip(self.FEATURES, pair)) for pair in pairs] for part, pairs in parts.items()}
