"""LibreOffice help, English to German: 23,631 sentence pairs of 4 to 40 words.

From the Debian packages libreoffice-help-en-us and libreoffice-help-de, version 7.4.7. Licence: MPL-2.0. See
`jaxdl.data.builders._libreoffice` for the alignment. The split is by page: train 21,387 pairs (317,184 English and
308,315 German words), validation 1,053, test 1,191, after removal of pairs that share a text with an earlier split.
"""

from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder
from jaxdl.data.builders._libreoffice import Language, examples

OTHER = Language(
    "libreoffice-help-de",
    "usr/share/libreoffice/help/de/text",
    "6a18c4705d7d7ad7dc68bb6e03aa845ae5f409375c125fbbfbe8d3ea8d998f0e",
)


class Builder(ExamplesBuilder, skip_registration=True):
    """`source` (English) and `target` (German)."""

    name = "libreoffice_de"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"source": TEXT, "target": TEXT}

    def examples(self) -> dict[str, Any]:
        return examples(OTHER)
