"""Debian questions: 63,440 questions on package records, for extractive question answering.

See `jaxdl.data.builders._debian` for the source and the questions. Train has 61,308 questions, validation 1,033, test
1,099; records have 29 words on average, answers 2. The split is by source package.
"""

from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import INTEGER, TEXT, ExamplesBuilder
from jaxdl.data.builders._debian import LISTS, questions


class Builder(ExamplesBuilder, skip_registration=True):
    """`question`, `text`, `answer` and `start`, the answer's first character in the text."""

    name = "debian_questions"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"question": TEXT, "text": TEXT, "answer": TEXT, "start": INTEGER}

    def examples(self) -> dict[str, Any]:
        return {part: [row._asdict() for row in rows] for part, rows in questions(LISTS.fetch()).items()}
