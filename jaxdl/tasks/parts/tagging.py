"""Base class of tasks that classify the words of a text."""

from dataclasses import dataclass
from itertools import starmap
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxdl.tasks.parts.apply import float_outputs
from jaxdl.tasks.parts.arguments import require_features
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.tokens import check_segments, token_losses, token_metrics, token_outcome
from jaxdl.training.task import Array, Batch, IdRange, Outcome, PyTree


@dataclass(frozen=True, eq=False)
class Tagging(ModelTask):
    """Base class of word classification with softmax cross-entropy at the first token of each word.

    Trains the group "tagger" in one phase, "train". Subclasses define `evaluate`, `score` and `presentation`.

    Batches: `tokens` int32 [batch, time]; `tokens_length` int32 [batch], which may be absent if no token is padding;
    `label` int32 [batch, time], -1 at tokens that do not begin a word; optionally `case` int32 [batch, time], the
    letter case of the token's word. Packed batches (`jaxdl.data.text.packing`) have `tokens_segments` int32
    [batch, time] instead of the length.

    Predictions: `label` int32 [batch, time], -1 at tokens that do not begin a word; its `probability` float32
    [batch, time].

    Attributes:
      model: Token classifier, `model(tokens, *, length, train) -> logits [batch, time, labels]`, such as
        `jaxdl.models.bert.TokenClassifier`. With `case` it is also given `cases`, and `segments` if batches are packed.

    Raises:
      UserError: A batch without tokens, or logits of another shape.
    """

    group: ClassVar[str] = "tagger"

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        tokens, options = _inputs(batch)
        if "segments" in options:
            check_segments(self.model)
        return self.init_model(key, tokens, **options)

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        labels, embeddings = self.embedded_ids(self._logits, params, variables, batch, "tokens", "case")
        return [self.valid_ids("label", labels, ignored=(-1,)), *starmap(self.valid_ids, embeddings.items())]

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        logits, variables = self._logits(params, variables, batch, key)
        metrics = self._word_metrics(logits, batch)
        return token_outcome(metrics, variables)

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        logits, _ = self._logits(params, variables, batch)
        label = self._decoded(logits, batch)
        probability = jnp.take_along_axis(jax.nn.softmax(logits), label[..., None], axis=-1)[..., 0]
        return {"label": jnp.where(batch["label"] >= 0, label, -1), "probability": probability}

    def _decoded(self, logits: Array, batch: Batch) -> Array:
        """Returns the label of each step, int32 [batch, time]."""
        return logits.argmax(-1).astype(jnp.int32)

    def _logits(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
    ) -> tuple[Array, PyTree]:
        """Returns logits float32 [batch, time, labels] and the new variables."""
        tokens, options = _inputs(batch)
        logits, variables = self.apply_model(params, variables, batch, key, tokens, **options)
        return float_outputs(logits, *tokens.shape, "labels")[:, : batch["label"].shape[1]], variables

    def _word_metrics(self, logits: Array, batch: Batch) -> dict[str, tuple[Array, Array]]:
        """Returns `loss` (nats per word) and `accuracy` (share of words) as (sum, weight) pairs."""
        losses, correct = token_losses(logits, jnp.maximum(batch["label"], 0))
        words = batch["label"] >= 0
        if "tokens_segments" in batch:
            words = words & (batch["tokens_segments"] > 0)
        return token_metrics(losses, correct, batch["weight"][:, None] * words)


def _inputs(batch: Batch) -> tuple[Array, dict[str, Array | None]]:
    """Returns the tokens int32 [batch, time] and the keyword arguments of the model."""
    require_features(batch, "tokens", "label", source="Tagged(...)")
    tokens, options = jnp.asarray(batch["tokens"]), {"length": batch.get("tokens_length")}
    if "tokens_segments" in batch:
        options = {"segments": jnp.asarray(batch["tokens_segments"])}
    if "case" in batch:
        more = tokens.shape[1] - batch["case"].shape[1]  # padding of the tokens
        options["cases"] = jnp.pad(jnp.asarray(batch["case"]), ((0, 0), (0, more)))
    return tokens, options
