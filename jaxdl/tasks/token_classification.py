"""Token classification: named entities, parts of speech."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdl.metrics.entities import entity_scores
from jaxdl.tasks.parts.tagging import Tagging
from jaxdl.training.task import Array, Batch, Evaluation, Names, PyTree
from jaxdl.viz.tagging import TokenClassificationPresentation, label_name


@dataclass(frozen=True, eq=False)
class TokenClassification(Tagging):
    """Token classification with softmax cross-entropy: one label per word.

    Trains the group "tagger" in one phase, "train". Batches, model and predictions: see
    `jaxdl.tasks.parts.tagging.Tagging`.

    Evaluation metrics: `loss` (nats per word) and `accuracy` (share of words). With `entities` also `precision`,
    `recall` and `f1` over all entities, in [0, 1].

    Attributes:
      entities: Whether labels are "B-type", "I-type" and "O", and whole entities are scored.
    """

    presentation = TokenClassificationPresentation()

    entities: bool = True

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        logits, _ = self._logits(params, variables, batch)
        metrics = self._word_metrics(logits, batch)
        if not self.entities:
            return Evaluation(metrics)
        return Evaluation(metrics, {"predicted": logits.argmax(-1).astype(jnp.int32), "label": batch["label"]})

    def score(self, records: Mapping[str, Any], metrics: Mapping[str, float], names: Names) -> dict[str, float]:
        if not records:
            return {}
        words = [np.flatnonzero(row >= 0) for row in records["label"]]
        predicted, true = (
            [[label_name(label, names) for label in row[places]] for row, places in zip(records[name], words)]
            for name in ("predicted", "label")
        )
        return entity_scores(predicted, true)
