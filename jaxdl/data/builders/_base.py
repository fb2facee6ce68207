"""Base class of the builders, and their features."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

TEXT = tfds.features.Text()
FLOAT = tfds.features.Scalar(np.float32)
INTEGER = tfds.features.Scalar(np.int32)


def classes(*names: str) -> tfds.features.ClassLabel:
    """Returns the feature of a class, stored as its number."""
    return tfds.features.ClassLabel(names=list(names))


def array(*shape: int | None, dtype: Any = np.uint8, encoding: str = "bytes") -> tfds.features.Tensor:
    """Returns the feature of an array; sizes that are None vary between examples."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=encoding)


class ExamplesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder of examples in a fixed order, which subclasses define with `FEATURES` and `examples`.

    Attributes:
      FEATURES: TFDS features by name.
    """

    FEATURES: Mapping[str, Any]

    def examples(self) -> Mapping[str, Iterable[Mapping[str, Any]]]:
        """Returns the examples of each split, in order."""
        raise NotImplementedError(f"{type(self).__module__} does not define examples()")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(self.FEATURES)
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {split: enumerate(examples) for split, examples in self.examples().items()}

    def _generate_examples(self, *arguments: Any, **keywords: Any) -> Any:
        raise NotImplementedError("_split_generators returns the examples; TFDS only requires this method to exist")
