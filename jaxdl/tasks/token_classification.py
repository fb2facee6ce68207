"""Token classification: named entities, parts of speech."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxdl.decoding.tag_sequences import bio_transitions, viterbi
from jaxdl.errors import UserError
from jaxdl.metrics.entities import entity_scores
from jaxdl.tasks.parts.tagging import Tagging
from jaxdl.training.task import Array, Batch, Evaluation, Names, PyTree
from jaxdl.viz.tagging import TokenClassificationPresentation, label_name


@dataclass(frozen=True, eq=False)
class TokenClassification(Tagging):
    """Token classification with softmax cross-entropy: one label per word.

    Trains the group "tagger" in one phase, "train". Batches, model and predictions: see
    `jaxdl.tasks.parts.tagging.Tagging`.

    Evaluation metrics: `loss` (nats per word) and `accuracy` (share of words whose most probable label is correct).
    With `entities` also `precision`, `recall` and `f1` over all entities, in [0, 1].

    Attributes:
      entities: Whether labels are "B-type", "I-type" and "O", and whole entities are scored.
      tags: Names of the labels, in order, with "O". If given, predictions are the most probable sequence in which an
        "I-type" follows a "B-type" or "I-type" (Viterbi algorithm). (): the most probable label of each word.

    Raises:
      UserError: `tags` without "O", or other than the labels of the data.
    """

    presentation = TokenClassificationPresentation()

    entities: bool = True
    tags: Sequence[str] = ()

    def __post_init__(self):
        if self.tags and "O" not in self.tags:
            raise UserError(f"TokenClassification(tags={self.tags}): has no 'O', the tag outside of entities; add it")

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        logits, _ = self._logits(params, variables, batch)
        metrics = self._word_metrics(logits, batch)
        if not self.entities:
            return Evaluation(metrics)
        return Evaluation(metrics, {"predicted": self._decoded(logits, batch), "label": batch["label"]})

    def score(self, records: Mapping[str, Any], metrics: Mapping[str, float], names: Names) -> dict[str, float]:
        if not records:
            return {}
        if self.tags and tuple(self.tags) != tuple(names.get("label", self.tags)):
            raise UserError(f"task.tags={self.tags} differ from the data's labels {names['label']}; use these")
        words = [np.flatnonzero(row >= 0) for row in records["label"]]
        predicted, true = (
            [[label_name(label, names) for label in row[places]] for row, places in zip(records[name], words)]
            for name in ("predicted", "label")
        )
        return entity_scores(predicted, true)

    def _decoded(self, logits: Array, batch: Batch) -> Array:
        if not self.tags:
            return super()._decoded(logits, batch)
        outside = list(self.tags).index("O")
        return viterbi(jax.nn.log_softmax(logits), batch["label"] >= 0, bio_transitions(self.tags), outside)
