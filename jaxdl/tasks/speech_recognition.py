"""Speech recognition with connectionist temporal classification (CTC; Graves et al. 2006)."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl.decoding.ctc import BLANK, greedy
from jaxdl.decoding.transcripts import LanguageModel, TranscriptDecoder, reference_text
from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import float_outputs, per_example
from jaxdl.tasks.parts.arguments import require_features
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.training.task import Array, Batch, Evaluation, IdRange, Names, Outcome, PyTree, Term
from jaxdl.viz.speech import SpeechPresentation


@dataclass(frozen=True, eq=False)
class SpeechRecognition(ModelTask):
    """Speech recognition with CTC, decoded by the most probable path or by beam search.

    Trains the group "recognizer" in one phase, "train". Term: `ctc`, per target token. Targets without a path, because
    they need more steps than the frames have, are excluded from the loss and counted by the metric `impossible`. Target
    tokens outside the model's vocabulary make the loss NaN.

    Batches: `frames` float32 [batch, time, mels] and `frames_length` int32 [batch]; `target` int32 [batch, tokens]
    without start and end tokens, and `target_length` int32 [batch], which predictions do not need. Token 0 is the
    blank.

    Evaluation metrics: `loss`, `impossible` (share of the examples), and the character and word error rates `cer` and
    `wer`. An unknown character of a reference counts as an error.

    Predictions: `path` int32 [batch, steps], the most probable label of each step, with `steps` int32 [batch] valid
    ones; `tokens` int32 [batch, steps], the tokens of the path, with `length` int32 [batch] valid ones; `score`
    [batch], the path's log-probability; with a beam also `log_probabilities` [batch, steps, vocabulary].

    Attributes:
      model: Recognizer, `model(frames [batch, time, mels], *, length [batch], train) -> (logits [batch, steps,
        vocabulary], steps [batch])`, with the number of valid steps.
      beam: Number of prefixes that beam search keeps, on the host. 0 decodes the most probable path.
      language_model: Language model of the beam search, fitted when the first example is decoded.
      language_weight: Weight of the language model's log-probability (see `jaxdl.decoding.ctc.beam_search`).
      token_bonus: Bonus per token with a language model.

    Raises:
      UserError: A negative beam, a language model without a beam, or a batch without targets.
    """

    group: ClassVar[str] = "recognizer"

    beam: int = 0
    language_model: LanguageModel | None = None
    language_weight: float = 0.5
    token_bonus: float = 1.0

    def __post_init__(self):
        if self.beam < 0:
            raise UserError(f"beam={self.beam} must be 0 (most probable path) or the number of prefixes to keep")
        if self.language_model is not None and not self.beam:
            raise UserError("a language model needs beam search; set beam=32, or language_model=None")

    @property
    def presentation(self) -> SpeechPresentation:
        return SpeechPresentation(self._decoder)

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        frames, length = jnp.asarray(batch["frames"]), jnp.asarray(batch["frames_length"])
        return self.init_model(key, frames, length=length)

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        vocabulary = jax.eval_shape(self._apply, params, variables, batch)[0].shape[-1]
        return [self.valid_ids("target", vocabulary, low=BLANK + 1)]

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        logits, steps, variables = self._apply(params, variables, batch, key)
        loss, impossible = _loss(batch, logits, steps)
        return Outcome({"ctc": Term(*loss)}, variables, {"impossible": impossible})

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        logits, steps, _ = self._apply(params, variables, batch)
        loss, impossible = _loss(batch, logits, steps)
        outputs = self._decode(logits, steps)
        decoded = ("steps", "log_probabilities") if self.beam else ("tokens", "length")
        records = {name: outputs[name] for name in decoded} | {
            name: batch[name] for name in ("target", "target_length")
        }
        return Evaluation({"loss": loss, "impossible": impossible}, records)

    @property
    def packages(self) -> Mapping[str, str]:
        return {"jiwer": "speech"}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        logits, steps, _ = self._apply(params, variables, batch)
        return self._decode(logits, steps)

    def score(self, records: Mapping[str, Any], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        from jaxdl.metrics.transcription import error_rates

        rows = range(len(records["target"]))
        outputs = ({name: value[row] for name, value in records.items()} for row in rows)
        transcripts = [self._decoder.transcribe(output, names)[0] for output in outputs]
        return error_rates([reference_text(records, row, names) for row in rows], transcripts)

    @functools.cached_property
    def _decoder(self) -> TranscriptDecoder:
        return TranscriptDecoder(self.beam, self.language_model, self.language_weight, self.token_bonus)

    def _apply(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
    ) -> tuple[Array, Array, PyTree]:
        """Returns logits float32 [batch, steps, vocabulary], valid steps and new variables."""
        (logits, steps), variables = self.apply_model(
            params, variables, batch, key, batch["frames"], length=batch["frames_length"]
        )
        return float_outputs(logits, batch["frames"].shape[0], "steps", "vocabulary"), steps, variables

    def _decode(self, logits: Array, steps: Array) -> dict[str, Array]:
        """Returns the predictions of the most probable path."""
        log_probabilities = jax.nn.log_softmax(logits)
        path = logits.argmax(-1).astype(jnp.int32)
        valid = jnp.arange(path.shape[1]) < steps[:, None]
        tokens, length = greedy(path, steps)
        outputs = {
            "path": jnp.where(valid, path, BLANK),
            "steps": steps.astype(jnp.int32),
            "tokens": tokens,
            "length": length,
            "score": jnp.sum(jnp.where(valid, log_probabilities.max(-1), 0.0), axis=1),
        }
        return {**outputs, "log_probabilities": log_probabilities} if self.beam else outputs


class Losses(NamedTuple):
    """CTC loss of a batch.

    Attributes:
      loss: [batch], summed over an example's tokens. 0 for impossible targets.
      tokens: float32 [batch], the number of tokens in the sum.
      impossible: float32 [batch], 1 for targets without a path.
    """

    loss: Array
    tokens: Array
    impossible: Array


def ctc(logits: Array, steps: Array, target: Array, target_length: Array) -> Losses:
    """Returns minus the log-probability of each target, summed over its paths.

    Args:
      logits: [batch, steps, vocabulary]. Label 0 is the blank. Values at padded steps are ignored, also NaN.
      steps: int32 [batch], the number of valid steps.
      target: int32 [batch, tokens]. Padding may have any value.
      target_length: int32 [batch].
    """
    vocabulary = logits.shape[-1]
    padded = jnp.arange(logits.shape[1]) >= steps[:, None]
    target_padded = jnp.arange(target.shape[1]) >= target_length[:, None]
    logits = jnp.where(padded[..., None], 0.0, logits.astype(jnp.float32))
    target = jnp.where(target_padded, BLANK, target)
    repeated = jnp.sum((target[:, 1:] == target[:, :-1]) & ~target_padded[:, 1:], axis=1)
    impossible = target_length + repeated > steps
    # optax gathers log-probabilities by a product with one-hot vectors: TF32 or bfloat16 would round them.
    with jax.default_matmul_precision("highest"):
        paddings = padded.astype(jnp.float32), target_padded.astype(jnp.float32)
        loss = optax.ctc_loss(logits, paddings[0], target, paddings[1], blank_id=BLANK)
    unknown = jnp.any(~target_padded & ((target <= BLANK) | (target >= vocabulary)), axis=1)
    loss = jnp.where(impossible, 0.0, jnp.where(unknown, jnp.nan, loss))
    tokens = jnp.where(impossible, 0, target_length).astype(jnp.float32)
    return Losses(loss, tokens, impossible.astype(jnp.float32))


def _loss(batch: Batch, logits: Array, steps: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Returns (sum, weight) of the loss, by tokens, and of impossible targets, by examples."""
    require_features(batch, "target", "target_length")
    losses = ctc(logits, steps, batch["target"], batch["target_length"])
    weight = batch["weight"]
    loss = jnp.where(weight > 0, losses.loss, 0.0)  # the loss of a padding row may be NaN
    return (jnp.sum(weight * loss), jnp.sum(weight * losses.tokens)), per_example(batch, losses.impossible)
