"""Sequence classification."""

import functools
from dataclasses import dataclass
from itertools import starmap
from typing import ClassVar

import jax

from jaxdl.tasks.parts.arguments import check_ranges
from jaxdl.tasks.parts.averages import mean_probability
from jaxdl.tasks.parts.classification import class_predictions, classification_metrics, classification_outcome
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.sequences import apply_sequence_model, init_sequence_model
from jaxdl.training.task import Array, Batch, Evaluation, IdRange, Outcome, PyTree
from jaxdl.viz.classification import SequenceClassificationPresentation


@dataclass(frozen=True, eq=False)
class SequenceClassification(ModelTask):
    """Sequence classification with softmax cross-entropy: one label per sequence.

    Batches: `tokens` int32 [batch, time], or `inputs` float [batch, time, channels]; their number of valid steps,
    `tokens_length` or `inputs_length` int32 [batch], which may be absent if no step is padding; `label` int32 [batch].

    Evaluation metrics: `loss` (without label smoothing), `accuracy`, and `confusion` [classes, classes], the share of
    all examples by true class (row) and predicted class (column).

    Predictions: `label` int32 [batch], its `probability` [batch], and `probabilities` [batch, classes].

    Attributes:
      model: Classifier, `model(x, *, length, train) -> logits [batch, classes]`, of x int32 [batch, time] or float
        [batch, time, channels]. `length` is int32 [batch], or None if no step is padding.
      label_smoothing: Share of the target that is spread evenly over all classes (arXiv:1512.00567), in [0, 1).

    Raises:
      UserError: An argument out of range, a batch without sequences, or logits of another shape.
    """

    group: ClassVar[str] = "classifier"
    presentation = SequenceClassificationPresentation()
    average = staticmethod(mean_probability)

    label_smoothing: float = 0.0

    def __post_init__(self):
        check_ranges(self, label_smoothing="[0, 1)")

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return init_sequence_model(self, key, batch)

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        apply = functools.partial(apply_sequence_model, self)
        classes, embeddings = self.embedded_ids(apply, params, variables, batch, "tokens")
        return [self.valid_ids("label", classes, classes=True), *starmap(self.valid_ids, embeddings.items())]

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        logits, variables = apply_sequence_model(self, params, variables, batch, key)
        target = jax.nn.one_hot(batch["label"], logits.shape[-1])
        return classification_outcome(batch, logits, target, self.label_smoothing, variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        logits, _ = apply_sequence_model(self, params, variables, batch)
        return Evaluation(classification_metrics(batch, logits))

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        return class_predictions(apply_sequence_model(self, params, variables, batch)[0])
