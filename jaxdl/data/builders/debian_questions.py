"""Debian questions: 63,440 questions on package records, for extractive question answering.

See `jaxdl.data.builders._debian` for the source and the questions. Train has 61,308 questions, validation 1,033, test
1,099; records have 29 words on average, answers 2. The split is by source package.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.builders._debian import LISTS, Question, questions


class Builder(ExamplesBuilder, skip_registration=True):
    """`question`, `text`, `answer` and `start`, the answer's first character in the text."""

    name = "debian_questions"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        texts = {name: tfds.features.Text() for name in ("question", "text", "answer")}
        features = tfds.features.FeaturesDict({**texts, "start": tfds.features.Scalar(np.int32)})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {part: _examples(rows) for part, rows in questions(LISTS.fetch()).items()}


def _examples(rows: Sequence[Question]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(rows):
        yield number, row._asdict()
