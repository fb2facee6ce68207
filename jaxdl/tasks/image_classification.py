"""Image classification."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import float_outputs, per_example
from jaxdl.tasks.parts.arguments import check_ranges
from jaxdl.tasks.parts.averages import mean_probability
from jaxdl.tasks.parts.classification import class_predictions, classification_metrics, classification_outcome
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.task import Array, Batch, Evaluation, IdRange, Outcome, PyTree
from jaxdl.viz.classification import ClassificationPresentation


@dataclass(frozen=True, eq=False)
class ImageClassification(ModelTask):
    """Image classification with softmax cross-entropy.

    Batches: `image` uint8 [batch, height, width, channels] and `label` int32 [batch]. If the pipeline mixes images
    (mixup, CutMix), also `mix_label` int32 [batch] and `mix_weight` float32 [batch], the share of `mix_label`.

    Evaluation metrics: `loss` (without label smoothing), `accuracy`, `accuracy_top<k>`, and `confusion`
    [classes, classes], the share of all examples by true class (row) and predicted class (column).

    Predictions: `label` int32 [batch], its `probability` [batch], and `probabilities` [batch, classes].

    Attributes:
      model: Classifier, `model(image [batch, h, w, c] float, *, train) -> logits [batch, classes]`. It may keep batch
        statistics and draw from "dropout".
      label_smoothing: Share of the target that is spread evenly over all classes (arXiv:1512.00567), in [0, 1).
      normalize: Normalization of the images.
      top: Values of k for top-k accuracy; k = 1 is `accuracy`. Values of k that are not below the number of classes are
        skipped.

    Raises:
      UserError: An argument out of range.
    """

    group: ClassVar[str] = "classifier"
    presentation = ClassificationPresentation()
    average = staticmethod(mean_probability)

    label_smoothing: float = 0.0
    normalize: Normalize = field(default_factory=Normalize)
    top: Sequence[int] = (1,)

    def __post_init__(self):
        check_ranges(self, label_smoothing="[0, 1)")
        if any(k < 1 for k in self.top):
            raise UserError(f"top={tuple(self.top)}: every k must be at least 1")

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return self.init_model(key, self.normalize(jnp.asarray(batch["image"])))

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        classes = jax.eval_shape(self.logits, params, variables, batch["image"]).shape[-1]
        return [self.valid_ids("label", classes, classes=True)]

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        outputs, variables = self.apply_model(params, variables, batch, key, self.normalize(batch["image"]))
        logits = float_outputs(outputs, batch["image"].shape[0], "classes")
        target = _target(batch, logits.shape[-1])
        return classification_outcome(batch, logits, target, self.label_smoothing, variables)

    def logits(self, params: PyTree, variables: PyTree, image: Array) -> Array:
        logits, _ = self.apply_model(params, variables, {}, None, self.normalize(image))
        return float_outputs(logits, image.shape[0], "classes")

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        logits = self.logits(params, variables, batch["image"])
        metrics = classification_metrics(batch, logits)
        for k in self.top:
            if 1 < k < logits.shape[-1]:
                hit = jnp.any(jax.lax.top_k(logits, k)[1] == batch["label"][:, None], axis=-1)
                metrics[f"accuracy_top{k}"] = per_example(batch, hit)
        return Evaluation(metrics)

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        return class_predictions(self.logits(params, variables, batch["image"]))


def _target(batch: Batch, classes: int) -> Array:
    """Returns the share of each class in each image, [batch, classes]."""
    target = jax.nn.one_hot(batch["label"], classes)
    if "mix_label" not in batch:
        return target
    share = batch["mix_weight"][:, None]
    return (1.0 - share) * target + share * jax.nn.one_hot(batch["mix_label"], classes)
