"""Semantic segmentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.tasks.parts.apply import per_example
from jaxdl.tasks.parts.arguments import check_class_names, check_ranges
from jaxdl.tasks.parts.dense_prediction import check_labels, pixel_outputs, soft_dice
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.task import Array, Batch, Evaluation, IdRange, Names, Outcome, PyTree, Term
from jaxdl.viz.segmentation import SemanticSegmentationPresentation

UNLABELLED = 255


@dataclass(frozen=True, eq=False)
class SemanticSegmentation(ModelTask):
    """Semantic segmentation with softmax cross-entropy and the soft Dice loss (V-Net, arXiv:1606.04797).

    Batches: `image` uint8 [batch, height, width, channels] and `mask` uint8 [batch, height, width], class ids from 0;
    pixels with the id 255 are unlabelled and ignored.

    Loss terms: `cross_entropy`, over labelled pixels; `dice`, over examples with labelled pixels, averaged over the
    classes in the example's mask.

    Evaluation metrics: `loss` (cross-entropy per labelled pixel, without label smoothing), `pixel_accuracy`, and
    `confusion` [classes, classes], the share of all labelled pixels by true class (row) and predicted class (column).
    From the confusion matrix of all examples: `mean_iou` and `mean_dice`, over the classes that occur in truth or
    prediction, and for two classes `dice` of class 1, NaN if it does not occur. With `background`, `dice_NAME` of every
    class but 0 and their mean `dice`. Every example that is not padding counts once, whatever its weight.

    Predictions: `mask` uint8 [batch, height, width] and its `probability` float32 [batch, height, width].

    Attributes:
      model: Model, `model(image [batch, h, w, c] float, *, train) -> logits [batch, h, w, num_classes]`. It may keep
        batch statistics and draw from "dropout".
      num_classes: Number of classes, 2 to 255.
      dice: Coefficient of the Dice term; 0 omits it.
      label_smoothing: Share of the target that is spread evenly over all classes (arXiv:1512.00567), in [0, 1).
      normalize: Normalization of the images.
      background: Whether class 0 is background, which adds the Dice of the other classes to the metrics.
      names: Class names. Empty for those of the data set.

    Raises:
      UserError: An argument out of range.
    """

    group: ClassVar[str] = "segmenter"

    num_classes: int
    dice: float = 1.0
    label_smoothing: float = 0.0
    normalize: Normalize = field(default_factory=Normalize)
    background: bool = False
    names: Sequence[str] = ()

    def __post_init__(self):
        check_ranges(self, num_classes=f"[2, {UNLABELLED}]", label_smoothing="[0, 1)", dice="[0, inf)")
        check_class_names(self)

    @property
    def class_names(self) -> Names:
        return {"mask": tuple(self.names)} if self.names else {}

    @property
    def presentation(self) -> SemanticSegmentationPresentation:
        return SemanticSegmentationPresentation(self.num_classes)

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return self.init_model(key, self.normalize(jnp.asarray(batch["image"])))

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        ignored = (UNLABELLED,)
        return [IdRange("mask", self.num_classes, "task.num_classes", classes=True, ignored=ignored)]

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        logits, variables = self._logits(params, variables, batch, key)
        target, labelled = self._target(batch)
        log_probabilities = jax.nn.log_softmax(logits)
        smooth = (1.0 - self.label_smoothing) * target + self.label_smoothing / self.num_classes
        cross_entropy = labelled * -jnp.sum(smooth * log_probabilities, axis=-1)
        weight = batch["weight"]
        pixels = jnp.sum(weight * labelled.sum((1, 2)))
        terms = {"cross_entropy": Term(jnp.sum(weight * cross_entropy.sum((1, 2))), pixels)}
        if self.dice:
            dice, present = soft_dice(jnp.exp(log_probabilities) * labelled[..., None], target)
            terms["dice"] = Term(jnp.sum(weight * dice), jnp.sum(weight * present), self.dice)
        hits = jnp.sum(target * jax.nn.one_hot(logits.argmax(-1), self.num_classes), axis=(1, 2, 3))
        return Outcome(terms, variables, {"pixel_accuracy": (per_example(batch, hits)[0], pixels)})

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        logits, _ = self._logits(params, variables, batch)
        target, labelled = self._target(batch)
        guess = jax.nn.one_hot(logits.argmax(-1), self.num_classes)
        # Float32 counts the pixels of one image exactly, int32 those of a batch.
        confusion = jnp.einsum("bhwi,bhwj->bij", target, guess).astype(jnp.int32).sum(0)
        pixels = labelled.sum((1, 2)).astype(jnp.int32).sum()
        metrics = {
            "loss": (-jnp.sum(target * jax.nn.log_softmax(logits)), pixels),
            "pixel_accuracy": (jnp.trace(confusion), pixels),
            "confusion": (confusion, pixels),
        }
        return Evaluation(metrics)

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        from jaxdl.metrics.segmentation import class_dice, class_iou, mean_over_classes

        dice = class_dice(metrics["confusion"])
        scores = {"mean_iou": mean_over_classes(class_iou(metrics["confusion"])), "mean_dice": mean_over_classes(dice)}
        if self.background:
            labels = names.get("mask") or range(self.num_classes)
            scores |= {f"dice_{label}": float(value) for label, value in list(zip(labels, dice))[1:]}
            return scores | {"dice": mean_over_classes(dice[1:])}
        return {**scores, "dice": float(dice[1])} if self.num_classes == 2 else scores

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        probabilities = jax.nn.softmax(self._logits(params, variables, batch)[0])
        return {"mask": probabilities.argmax(-1).astype(jnp.uint8), "probability": probabilities.max(-1)}

    def _logits(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
    ) -> tuple[Array, PyTree]:
        return pixel_outputs(self, self.num_classes, params, variables, batch, key)

    def _target(self, batch: Batch) -> tuple[Array, Array]:
        """Returns the one-hot mask [batch, h, w, classes], 0 at unlabelled pixels and in padding; and labelled pixels.

        Labelled pixels are 1 in float32 [batch, h, w].
        """
        mask = check_labels("mask", batch)
        labelled = (mask != UNLABELLED) & (batch["weight"] > 0)[:, None, None]
        return jax.nn.one_hot(mask, self.num_classes) * labelled[..., None], labelled.astype(jnp.float32)
