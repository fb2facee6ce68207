"""Base class of the builders."""

from typing import Any

import tensorflow_datasets as tfds


class ExamplesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder whose `_split_generators` returns {split: iterator over (key, example)}."""

    def _generate_examples(self, *arguments: Any, **keywords: Any) -> Any:
        raise NotImplementedError("_split_generators returns the examples; TFDS only requires this method to exist")
