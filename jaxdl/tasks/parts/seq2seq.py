"""Base class of tasks that generate text with an encoder-decoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdl.data.text.special_tokens import END, PAD, START, UNKNOWN
from jaxdl.decoding.beam_search import Hypotheses, Step, beam, greedy, log_softmax, spread
from jaxdl.decoding.grammar import TokenAutomaton
from jaxdl.errors import UserError, nearest
from jaxdl.metrics.translation import METRICS, PACKAGES
from jaxdl.tasks.parts.apply import float_outputs
from jaxdl.tasks.parts.arguments import check_ranges
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.tokens import check_segments, next_token_mask
from jaxdl.training.task import Array, Batch, Evaluation, IdRange, Names, Outcome, PyTree, Term
from jaxdl.viz.language import decode_texts

UNKNOWN_REFERENCE = (
    " \N{REPLACEMENT CHARACTER} "  # no output contains it, so an <unknown> reference token never matches
)


@dataclass(frozen=True, eq=False)
class Seq2Seq(ModelTask):
    """Base class of text generation with an encoder-decoder: teacher forcing, then greedy or beam search.

    Trains the group `group` in one phase, "train", by cross-entropy. Subclasses define `group`, `encoder_inputs` and
    `prediction_length`.

    Batches: `target` int32 [batch, length], from <start> to <end>, then padding, and `target_length` int32 [batch],
    with <start> and <end>; and the inputs of the encoder. Training batches may contain several packed pairs per row
    (`jaxdl.data.text.packing`). Then `source_segments` and `target_segments`, int32 [batch, ...], replace the lengths:
    the number of the pair, 0 on padding.

    Evaluation metrics: `loss` (nats per token, without label smoothing), `token_accuracy`, and `metrics` of the decoded
    texts. Hypotheses and references are both decoded from ids.

    Predictions: `tokens` int32 [batch, max_length], `length` int32 [batch], `score` float32 [batch], the
    log-probability.

    Attributes:
      model: Encoder-decoder, `model(inputs, target [batch, n], *, length, train) -> logits [batch, n, vocabulary]`,
        where logits[:, i] predict the token after target[:, i]. For packed pairs it takes `segments` in place of
        `length`. Methods: `encode(inputs, *, length) -> memory`, `start(memory) -> carry`, and `decode(memory, carry,
        token [batch]) -> (logits [batch, vocabulary], carry)`; memory and carry are [batch, ...].
      label_smoothing: Share of the target that is spread evenly over the vocabulary (arXiv:1512.00567), in [0, 1).
      beam: Beam width. 1 is greedy search.
      length_penalty: Length penalty of the beam (GNMT, arXiv:1609.08144), see `jaxdl.decoding.beam_search.beam`.
      max_length: Maximum length of an output in tokens, with <end>. None: `prediction_length` in predictions, and the
        padded target's length in evaluation.
      metrics: Corpus metrics, names in `jaxdl.metrics.translation.METRICS`.
      decode_in_evaluation: Whether evaluation decodes. False skips `metrics` and their time.

    Raises:
      UserError: An argument out of range.
    """

    label_smoothing: float = 0.1
    beam: int = 1
    length_penalty: float = 0.6
    max_length: int | None = None
    metrics: tuple[str, ...] = ("bleu", "chrf", "exact_match")
    decode_in_evaluation: bool = True

    def __post_init__(self):
        check_ranges(self, label_smoothing="[0, 1)", beam="[1, inf)", length_penalty="[0, inf)", max_length="[1, inf)")
        for name in self.metrics:
            if name not in METRICS:
                raise UserError(f"metrics has '{name}': {nearest(name, METRICS)}")

    def encoder_inputs(self, batch: Batch) -> tuple[Array, Array | None]:
        """Returns the encoder's inputs [batch, ...] and their lengths [batch], None for inputs without one."""
        raise NotImplementedError

    def prediction_length(self, batch: Batch) -> int:
        """Returns the maximum length of predictions if `max_length` is None."""
        raise NotImplementedError

    def automaton(self) -> TokenAutomaton | None:
        """Returns the automaton of the texts that may be decoded, None for all texts."""
        return None

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        inputs, options = self._encoder_arguments(batch)
        return self.init_model(key, inputs, _masked_target(batch)[:, :-1], **options)

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        vocabulary, embeddings = self.embedded_ids(self._logits, params, variables, batch, "source", "target")
        embeddings["target"] = min(vocabulary, embeddings.get("target", vocabulary))
        return list(starmap(self.valid_ids, embeddings.items()))

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        """Returns the cross-entropy per target token after <start>.

        A target token outside the vocabulary makes the loss NaN, which stops the run.
        """
        logits, variables = self._logits(params, variables, batch, key)
        log_probabilities = log_softmax(logits)
        token, weight = _prediction_targets(batch)
        smooth = self.label_smoothing
        log_likelihood = _gather(token, log_probabilities)
        log_likelihood = (1.0 - smooth) * log_likelihood + smooth * jnp.mean(log_probabilities, axis=-1)
        total = jnp.sum(weight)
        return Outcome(
            terms={"cross_entropy": Term(-_weighted_sum(weight, log_likelihood), total)},
            variables=variables,
            metrics={"token_accuracy": (_weighted_sum(weight, logits.argmax(-1) == token), total)},
        )

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        logits, _ = self._logits(params, variables, batch)
        token, weight = _prediction_targets(batch)
        total = jnp.sum(weight)
        metrics = {
            "loss": (-_weighted_sum(weight, _gather(token, log_softmax(logits))), total),
            "token_accuracy": (_weighted_sum(weight, logits.argmax(-1) == token), total),
        }
        if not (self.decode_in_evaluation and self.metrics):
            return Evaluation(metrics)
        hypotheses = self._search(params, variables, batch, self.max_length or token.shape[1])
        records = {"tokens": hypotheses.tokens, "length": hypotheses.length, "target": _masked_target(batch)}
        return Evaluation(metrics, {**records, "target_length": batch["target_length"]})

    @property
    def packages(self) -> Mapping[str, str]:
        return {PACKAGES[name]: "text" for name in self.metrics if name in PACKAGES}

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        """Returns `self.metrics` of the decoded texts, {} without records."""
        if not records:
            return {}
        tokenizer = names.get("target")
        hypotheses = decode_texts(records["tokens"], records["length"], tokenizer)
        references = decode_texts(records["target"], records["target_length"], tokenizer, unknown=UNKNOWN_REFERENCE)
        return {name: METRICS[name](hypotheses, references) for name in self.metrics}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        max_length = self.max_length or self.prediction_length(batch)
        return dict(self._search(params, variables, batch, max_length)._asdict())

    def _search(self, params: PyTree, variables: PyTree, batch: Batch, max_length: int) -> Hypotheses:
        """Decodes by greedy or beam search."""
        collections = self.collections(params, variables)
        inputs, length = self.encoder_inputs(batch)
        memory = self.model.apply(collections, inputs, length=length, method="encode")
        carry = self.model.apply(collections, memory, method="start")
        beam_memory = spread(memory, self.beam) if self.beam > 1 else memory

        def decode(carry: PyTree, token: Array) -> Any:
            return self.model.apply(collections, beam_memory, carry, token, method="decode")

        step: Step = decode
        mask, automaton = None, self.automaton()
        if automaton is not None:
            step, carry = automaton.constrain(step, carry, inputs.shape[0], max_length)
            mask = automaton.allowed
        start = jnp.full(inputs.shape[0], START, jnp.int32)
        options: dict[str, Any] = {"forbidden": (PAD, START, UNKNOWN), "mask": mask, "pad": PAD}
        if self.beam == 1:
            return greedy(step, carry, start, END, max_length, **options)
        return beam(step, carry, start, END, max_length, self.beam, self.length_penalty, **options)

    def _logits(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
    ) -> tuple[Array, PyTree]:
        """Returns teacher-forced logits float32 [batch, length - 1, vocabulary] and the new variables.

        Args:
          key: Training, where dropout and batch statistics are active. None for evaluation.
        """
        inputs, options = self._encoder_arguments(batch)
        target = _masked_target(batch)[:, :-1]
        logits, variables = self.apply_model(params, variables, batch, key, inputs, target, **options)
        return float_outputs(logits, *target.shape, "vocabulary"), variables

    def _encoder_arguments(self, batch: Batch) -> tuple[Array, dict[str, Any]]:
        """Returns the inputs and the keyword arguments of the model: lengths, or segments of packed pairs."""
        inputs, length = self.encoder_inputs(batch)
        if "target_segments" not in batch:
            return inputs, {"length": length}
        check_segments(self.model)
        return inputs, {"segments": (batch["source_segments"], batch["target_segments"][:, :-1])}


def _masked_target(batch: Batch) -> Array:
    """Returns the target with <pad> after its end, whatever the padding contains.

    Raises:
      UserError: Another number of axes, or no token to predict.
    """
    target = batch["target"]
    if target.ndim != 2 or target.shape[1] < 2:
        raise UserError(f"target has shape {target.shape}; the task needs [batch, length] with a length of at least 2")
    if "target_segments" in batch:
        return jnp.where(batch["target_segments"] > 0, target, PAD)
    return jnp.where(jnp.arange(target.shape[1]) < batch["target_length"][:, None], target, PAD)


def _prediction_targets(batch: Batch) -> tuple[Array, Array]:
    """Returns the tokens to predict, int32 [batch, length - 1], and their weights, float32 of the same shape."""
    target = _masked_target(batch)
    if "target_segments" in batch:
        mask = next_token_mask(batch["target_segments"])
    else:
        mask = jnp.arange(1, target.shape[1]) < batch["target_length"][:, None]
    return target[:, 1:], mask * batch["weight"].astype(jnp.float32)[:, None]


def _gather(token: Array, log_probabilities: Array) -> Array:
    """Returns the log-probability of each token, [batch, time]."""
    return jnp.take_along_axis(log_probabilities, token[..., None], axis=-1)[..., 0]


def _weighted_sum(weight: Array, values: Array) -> Array:
    """Returns the weighted sum; values of weight 0 may be infinite or NaN."""
    return jnp.sum(jnp.where(weight > 0, weight * values, 0.0))
