"""Text editing by keeping and deleting words (LaserTagger; Malmi et al. 2019, arXiv:1909.01187)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdl.tasks.parts.tagging import Tagging
from jaxdl.training.task import Array, Batch, Evaluation, Names, PyTree
from jaxdl.viz.tagging import TextEditingPresentation, edited_text


@dataclass(frozen=True, eq=False)
class TextEditing(Tagging):
    """Text editing with softmax cross-entropy per word: keep (1) or delete (0).

    Trains the group "tagger" in one phase, "train". Batches, model and predictions: see
    `jaxdl.tasks.parts.tagging.Tagging`; batches also contain `whole` int32 [batch], 0 for targets that deletion cannot
    produce.

    Evaluation metrics: `loss` (nats per word), `accuracy` (share of words), `exact_match` (share of texts equal to
    their target), and `accepted`.

    Attributes:
      accepted: Share of texts that are valid, such as `jaxdl.metrics.javascript.accepted`. It may return None, where it
        cannot be computed. None: no such metric.
    """

    presentation = TextEditingPresentation()

    accepted: Callable[[Sequence[str]], float | None] | None = None

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        metrics = self._word_metrics(self._logits(params, variables, batch)[0], batch)
        predicted = self.predict(params, variables, batch, key)["label"]
        records = {name: batch[name] for name in ("tokens", "tokens_length", "label", "whole")}
        return Evaluation(metrics, {**records, "predicted": predicted.astype(jnp.int32)})

    def score(self, records: Mapping[str, Any], metrics: Mapping[str, float], names: Names) -> dict[str, float]:
        if not records:
            return {}
        outputs, targets = [], []
        for row in range(len(records["tokens"])):
            example = {name: records[name][row] for name in ("tokens", "tokens_length", "label")}
            outputs.append(edited_text(example, records["predicted"][row], names))
            targets.append(edited_text(example, records["label"][row], names))
        exact = [output == target and whole for output, target, whole in zip(outputs, targets, records["whole"])]
        accepted = None if self.accepted is None else self.accepted(outputs)
        return {"exact_match": float(np.mean(exact)), **({} if accepted is None else {"accepted": accepted})}
