"""Synthetic data in a recipe's shapes, for compilation and timing without real data."""

from typing import Any

import fiddle as fdl

from jaxdl.data.synthetic.images import MockImages
from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.training.checkpoint import CheckpointPolicy


def with_synthetic_data(config: fdl.Config, shape: Any, examples: int = 8) -> fdl.Config:
    """Replaces the training data by synthetic text windows or images and removes evaluations.

    Args:
      config: Configuration, changed in place. Text windows replace data with a `length`, images other data.
      shape: (height, width, channels) of the images.
      examples: Examples.
    """
    length = getattr(config.data.train, "length", None)
    if length:
        corpus = MockText(examples=4, characters=(examples + 1) * length)
        source = Windows(corpus, Vocabulary(Characters(88), corpus), length)
    else:
        source = MockImages(shape=shape, classes=10, examples=examples)
    config.data.train, config.data.evals, config.data.test = source, {}, None
    config.data.workers, config.data.mix = 0, None
    config.keep, config.select = CheckpointPolicy(), "last"
    return config
