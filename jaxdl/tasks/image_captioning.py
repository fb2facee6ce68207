"""Image captioning."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp

from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.tasks.parts.seq2seq import Seq2Seq
from jaxdl.training.task import Array, Batch
from jaxdl.viz.text import CaptioningPresentation

MAX_LENGTH = 40  # tokens of a predicted caption


@dataclass(frozen=True, eq=False)
class ImageCaptioning(Seq2Seq):
    """Image captioning with an encoder-decoder, trained by cross-entropy with teacher forcing.

    Trains the group "captioner" in one phase, "train". Batches, model, metrics, predictions and other settings: see
    `jaxdl.tasks.parts.seq2seq.Seq2Seq`. The encoder reads `image` uint8 [batch, height, width, channels], normalized
    to float32. By default predictions have at most 40 tokens.

    Attributes:
      normalize: Normalization of the images.
    """

    group: ClassVar[str] = "captioner"
    presentation = CaptioningPresentation()

    metrics: tuple[str, ...] = ("bleu", "chrf")
    normalize: Normalize = field(default_factory=Normalize)

    def encoder_inputs(self, batch: Batch) -> tuple[Array, None]:
        return self.normalize(jnp.asarray(batch["image"])), None

    def prediction_length(self, batch: Batch) -> int:
        return MAX_LENGTH
