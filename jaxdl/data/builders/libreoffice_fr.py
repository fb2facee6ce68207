"""LibreOffice help, English to French: 22,678 sentence pairs of 4 to 40 words.

From the Debian packages libreoffice-help-en-us and libreoffice-help-fr, version 7.4.7. Licence: MPL-2.0. See
`jaxdl.data.builders._libreoffice` for the alignment. The split is by page: train 20,651 pairs (288,262 English and
318,499 French words), validation 1,048, test 979, after removal of pairs that share a text with an earlier split.
"""

from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder
from jaxdl.data.builders._libreoffice import Language, examples

OTHER = Language(
    "libreoffice-help-fr",
    "usr/share/libreoffice/help/fr/text",
    "4c49166cfb869d1c20bc31dfa800bb50cbb365c61eda825fe284e6ce76eb907e",
)


class Builder(ExamplesBuilder, skip_registration=True):
    """`source` (English) and `target` (French)."""

    name = "libreoffice_fr"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"source": TEXT, "target": TEXT}

    def examples(self) -> dict[str, Any]:
        return examples(OTHER)
