"""Translation and other text-to-text generation (summarization, code generation)."""

from dataclasses import dataclass
from typing import ClassVar

from jaxdl.tasks.parts.seq2seq import Seq2Seq
from jaxdl.training.task import Array, Batch
from jaxdl.viz.text import TranslationPresentation


@dataclass(frozen=True, eq=False)
class Translation(Seq2Seq):
    """Text-to-text generation with an encoder-decoder, trained by cross-entropy with teacher forcing.

    Trains the group "translator" in one phase, "train". Batches, model, metrics, predictions and settings: see
    `jaxdl.tasks.parts.seq2seq.Seq2Seq`. The encoder reads `source` int32 [batch, time], which ends with <end>, and
    `source_length` int32 [batch]. By default predictions have at most twice as many tokens as the padded source,
    plus 10.
    """

    group: ClassVar[str] = "translator"
    presentation = TranslationPresentation()

    def encoder_inputs(self, batch: Batch) -> tuple[Array, Array | None]:
        return batch["source"], batch.get("source_length")

    def prediction_length(self, batch: Batch) -> int:
        return 2 * batch["source"].shape[1] + 10
