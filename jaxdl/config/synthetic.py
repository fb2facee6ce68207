"""Made-up data of a recipe's shapes, for what needs no real ones: compiling, and timing a step."""

from typing import Any

import fiddle as fdl

from jaxdl.data.synthetic.images import MockImages
from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.training.checkpoint import CheckpointPolicy


def with_made_up_data(config: fdl.Config, shape: Any, examples: int = 8) -> fdl.Config:
    """The configuration with windows of text where it has such, else with images of a shape (height, width, channels);
    without evaluations."""
    length = getattr(config.data.train, "length", None)
    if length:
        corpus = MockText(examples=4, characters=(examples + 1) * length)
        source = Windows(corpus, Vocabulary(Characters(88), corpus), length)
    else:
        source = MockImages(shape=shape, classes=10, examples=examples)
    config.data.train, config.data.evals, config.data.test = source, {}, None
    config.data.workers, config.data.mix, config.keep = 0, None, CheckpointPolicy()
    return config
