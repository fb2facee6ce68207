"""Extractive question answering (SQuAD; Rajpurkar et al. 2016, arXiv:1606.05250)."""

from dataclasses import dataclass
from itertools import starmap
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxdl.tasks.parts.apply import float_outputs, per_example
from jaxdl.tasks.parts.arguments import check_ranges, require_features
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.training.task import Array, Batch, Evaluation, IdRange, Outcome, PyTree, Term
from jaxdl.viz.text import QuestionAnsweringPresentation

_MASKED = -1e9  # logit of positions outside the text


@dataclass(frozen=True, eq=False)
class QuestionAnswering(ModelTask):
    """Extractive question answering: softmax cross-entropy of the answer's first and last position.

    Batches: `tokens` int32 [batch, time], a question followed by a text; `tokens_length` int32 [batch]; `begin` int32
    [batch], the position of the text; `first` and `last` int32 [batch], the positions of the answer.

    Evaluation metrics: `loss` (nats, the sum of both), `exact_match` (share of examples whose span is correct), `f1`
    (mean overlap of the predicted and the correct span, in tokens).

    Predictions: `first` and `last` int32 [batch] of the most probable span, and its `probability` float32 [batch].

    Attributes:
      model: Token classifier, `model(tokens, *, length, types, train) -> [batch, time, 2]`, the logits of the first and
        the last position, such as `jaxdl.models.bert.TokenClassifier(encoder, outputs=2)`. `types` is 1 in the text.
      longest: Maximum length of predicted answers in tokens.

    Raises:
      UserError: An argument out of range, or a batch without tokens.
    """

    group: ClassVar[str] = "reader"
    presentation = QuestionAnsweringPresentation()

    longest: int = 30

    def __post_init__(self):
        check_ranges(self, longest="[1, inf)")

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        tokens, options = _inputs(batch)
        return self.init_model(key, tokens, **options)

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        time = batch["tokens"].shape[1]
        positions = [IdRange(name, time, "the length of tokens") for name in ("begin", "first", "last")]
        _, embeddings = self.embedded_ids(self._log_probabilities, params, variables, batch, "tokens")
        return [*positions, *starmap(self.valid_ids, embeddings.items())]

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        scores, variables = self._log_probabilities(params, variables, batch, key)
        correct = jnp.all(scores.argmax(1) == jnp.stack([batch["first"], batch["last"]], axis=-1), axis=-1)
        return Outcome(
            terms={"cross_entropy": Term(*per_example(batch, _cross_entropy(scores, batch)))},
            variables=variables,
            metrics={"exact_match": per_example(batch, correct)},
        )

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        scores, _ = self._log_probabilities(params, variables, batch)
        first, last, _ = best_span(scores, self.longest)
        exact = (first == batch["first"]) & (last == batch["last"])
        overlap = jnp.minimum(last, batch["last"]) - jnp.maximum(first, batch["first"]) + 1
        total = (last - first + 1) + (batch["last"] - batch["first"] + 1)
        values = {
            "loss": _cross_entropy(scores, batch),
            "exact_match": exact.astype(jnp.float32),
            "f1": 2.0 * jnp.maximum(overlap, 0) / total,
        }
        return Evaluation({name: per_example(batch, value) for name, value in values.items()})

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        first, last, score = best_span(self._log_probabilities(params, variables, batch)[0], self.longest)
        return {"first": first, "last": last, "probability": jnp.exp(score)}

    def _log_probabilities(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
    ) -> tuple[Array, PyTree]:
        """Returns log-probabilities float32 [batch, time, 2] over the positions of the text, and the new variables."""
        tokens, options = _inputs(batch)
        logits, variables = self.apply_model(params, variables, batch, key, tokens, **options)
        text = (options["types"] > 0) & (jnp.arange(tokens.shape[1]) < batch["tokens_length"][:, None])
        logits = jnp.where(text[..., None], float_outputs(logits, *tokens.shape, 2), _MASKED)
        return jax.nn.log_softmax(logits, axis=1), variables


def best_span(scores: Array, longest: int) -> tuple[Array, Array, Array]:
    """Returns the most probable span: first and last position int32 [batch], log-probability [batch].

    Args:
      scores: [batch, time, 2], log-probabilities of the first and the last position.
      longest: Maximum length of the span.
    """
    time = scores.shape[1]
    offset = jnp.arange(time)[None] - jnp.arange(time)[:, None]
    spans = scores[:, :, None, 0] + scores[:, None, :, 1]
    spans = jnp.where((offset >= 0) & (offset < longest), spans, 2 * _MASKED).reshape(scores.shape[0], -1)
    best = spans.argmax(-1)
    return (best // time).astype(jnp.int32), (best % time).astype(jnp.int32), spans.max(-1)


def _inputs(batch: Batch) -> tuple[Array, dict[str, Any]]:
    """Returns the tokens and the keyword arguments of the model."""
    require_features(batch, "tokens", "tokens_length", "begin", source="Spans(...)")
    tokens = jnp.asarray(batch["tokens"])
    types = (jnp.arange(tokens.shape[1]) >= batch["begin"][:, None]).astype(jnp.int32)
    return tokens, {"length": batch["tokens_length"], "types": types}


def _cross_entropy(scores: Array, batch: Batch) -> Array:
    """Returns the cross-entropy of both positions, float32 [batch]."""
    positions = jnp.stack([batch["first"], batch["last"]], axis=-1)[:, None]
    return -jnp.take_along_axis(scores, positions, axis=1)[:, 0].sum(-1)
