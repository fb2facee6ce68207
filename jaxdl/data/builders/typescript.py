"""TypeScript declarations of six npm packages with the JavaScript that the compiler emitted.

Packages: rxjs 7.8.2 (Apache-2.0), zod 4.1.0, ethers 6.13.4, @noble/curves 1.9.7, @noble/hashes 1.8.0 and cheerio 1.0.0
(MIT); see `jaxdl.data.builders._typescript` for the alignment.
"""

from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder
from jaxdl.data.builders._typescript import of_package
from jaxdl.data.splits import split_by_hash
from jaxdl.data.store.packages import Npm


class Package(NamedTuple):
    """npm package whose folder `typescript` was compiled to the folder `javascript`."""

    source: Npm
    typescript: str
    javascript: str

    def pairs(self) -> dict[tuple[str, str], str]:
        return of_package(self.source.fetch(), self.typescript, self.javascript)


RXJS = Package(
    Npm(
        "rxjs",
        "7.8.2",
        {
            "src/*.ts": "405811c7751ed55c745a130689b180bbda9e399fb7dbf237dff1a7b94517dc3d",
            "dist/esm/*.js": "440a96c0ddc1e5075bffe2daa5d2d3130840af4c1b72cc924fb2e32e491ae24e",
        },
    ),
    "src",
    "dist/esm",
)
OTHERS = (
    Package(
        Npm(
            "zod",
            "4.1.0",
            {
                "src/*.ts": "0f2ffb9375d7ec5f263afd3b755bc6bc25199f92bb27d0e82b9c670ce790cb86",
                "v3/*.js": "2f3da2a1d7588c9ed40ac6d05fd629cffb5908bbe114aff34c0b074c73a4eb0c",
                "v4/*.js": "3d95cd2ca7a0a8a4dbe3dc74da00e7a3815e5a294aa2befe762010cc0e788a41",
            },
        ),
        "src",
        "",
    ),
    Package(
        Npm(
            "ethers",
            "6.13.4",
            {
                "src.ts/*.ts": "01c2b111432a37b004732f7f0d6a9ef560c7f5d4da7a84e97bd18bf10f92e838",
                "lib.esm/*.js": "7efe93a2a74ed967994b80cefcdb9fee5fe8378c6b6c1690f6b59375a94c286f",
            },
        ),
        "src.ts",
        "lib.esm",
    ),
    Package(
        Npm(
            "@noble/curves",
            "1.9.7",
            {
                "src/*.ts": "da9c1405836c92bcec356c38244a86e93260a8c2a8949c73a1ca3761cb7570bb",
                "esm/*.js": "e172a71bd3ad85a495b339f7ee11c7281a1c697c4e3900e70889be687b6c6734",
            },
        ),
        "src",
        "esm",
    ),
    Package(
        Npm(
            "@noble/hashes",
            "1.8.0",
            {
                "src/*.ts": "4a424829412473d239af68030063537f269a67b73432439f802bdd8b6a5978f7",
                "esm/*.js": "29af6cdc9e3176dd47e88cd4eb742ee987f45671b9341eeee26f6dacdfaaab23",
            },
        ),
        "src",
        "esm",
    ),
)
UNSEEN = Package(
    Npm(
        "cheerio",
        "1.0.0",
        {
            "src/*.ts": "26700986d4156ac402029497b94e3fc8f57661b21744a426b98aaedebdd64455",
            "dist/esm/*.js": "00dde1dafed149c94092e2bd415f7b309db7da63522caee64f2df354fccfeba1",
        },
    ),
    "src",
    "dist/esm",
)


class Builder(ExamplesBuilder, skip_registration=True):
    """`source` (TypeScript) and `target` (JavaScript), tokens separated by spaces.

    RxJS is split by file: train, validation and test. Train also has the other packages but cheerio, which is the split
    `unseen`.
    """

    name = "typescript"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"source": TEXT, "target": TEXT}

    def examples(self) -> dict[str, Any]:
        file_of_pair = RXJS.pairs()
        parts = split_by_hash(file_of_pair, file_of_pair.__getitem__, validation=10, test=15)
        parts["unseen"] = list(UNSEEN.pairs())
        held_out = {source for part in ("validation", "test", "unseen") for source, _ in parts[part]}
        others = dict.fromkeys(pair for package in OTHERS for pair in package.pairs())
        parts["train"] = [*parts["train"], *(pair for pair in others if pair[0] not in held_out)]
        return {part: [dict(zip(self.FEATURES, pair)) for pair in pairs] for part, pairs in parts.items()}
