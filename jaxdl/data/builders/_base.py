"""What the builders of this folder have in common."""

from typing import Any

import tensorflow_datasets as tfds


class ExamplesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder whose `_split_generators` gives the examples themselves: {split: iterator over (key, example)}."""

    def _generate_examples(self, *arguments: Any, **named: Any) -> Any:
        raise NotImplementedError("_split_generators gives the examples themselves")  # TFDS asks for the method
