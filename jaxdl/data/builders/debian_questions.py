"""63,440 questions about Debian's packages, whose answers are parts of the packages' records.

`jaxdl.data.builders._debian` says where the records come from and what is asked. 61,308 are
to train on, 1,033 for validation, 1,099 for the test; a record has 29 words on average, an answer 2.

Parts are by source package, whose packages are alike.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.builders._debian import LISTS, Question, questions


class Builder(ExamplesBuilder, skip_registration=True):
    """`question`, `text`, `answer`, and `start`, where it begins in the text, in characters."""

    name = "debian_questions"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        texts = {name: tfds.features.Text() for name in ("question", "text", "answer")}
        features = tfds.features.FeaturesDict({**texts, "start": tfds.features.Scalar(np.int32)})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {part: _examples(found) for part, found in questions(LISTS.fetch()).items()}


def _examples(found: Sequence[Question]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, each in enumerate(found):
        yield number, each._asdict()
