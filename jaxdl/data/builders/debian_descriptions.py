"""Debian descriptions: 58,429 pairs of long and short package descriptions.

See `jaxdl.data.builders._debian` for the source. Train has 56,445 pairs, validation 986, test 998; long descriptions
have 53 words on average, short ones 7. The split is by source package; no short description is in two splits.
"""

from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder
from jaxdl.data.builders._debian import LISTS, descriptions


class Builder(ExamplesBuilder, skip_registration=True):
    """`source` (long) and `target` (short)."""

    name = "debian_descriptions"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"source": TEXT, "target": TEXT}

    def examples(self) -> dict[str, Any]:
        return {
            part: [{"source": pair.long, "target": pair.short} for pair in pairs]
            for part, pairs in descriptions(LISTS.fetch()).items()
        }
