"""Object detection."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.decoding.nms import detections, generalized_iou, intersection_over_union
from jaxdl.errors import UserError
from jaxdl.tasks.parts.arguments import check_choices, check_class_names, check_ranges, require_features
from jaxdl.tasks.parts.fcos import Locations, Targets, assign, flatten, locate, to_boxes
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.task import Array, Batch, Evaluation, IdRange, Names, Outcome, PyTree, Term
from jaxdl.viz.detection import DetectionPresentation

Quality = Literal["centerness", "iou"]


@dataclass(frozen=True, eq=False)
class ObjectDetection(ModelTask):
    """Anchor-free one-stage object detection (FCOS, Tian et al. 2019, arXiv:1904.01355).

    Every location of a feature pyramid predicts class probabilities, the distances to the box's four sides, and the
    centerness of the location in the box.

    Batches: `image` uint8 [batch, height, width, channels]; `boxes` float32 [batch, objects, 4], (top, left, bottom,
    right) in pixels; `box_label` int32 and `box_weight` float32 [batch, objects], weight 0 on padding; optionally
    `box_crowd` [batch, objects], 1 on regions that scoring ignores.

    Loss terms: `focal` over all locations and classes (Lin et al. 2017, arXiv:1708.02002) and `centerness` with binary
    cross-entropy, both per assigned location, and `box`, 1 - GIoU weighted by centerness. A location is assigned to the
    smallest box that contains it, whose center is near, and whose size fits the level.

    Evaluation metrics: the three terms, and `map`, `map50` and `map75` by pycocotools.

    Predictions: `boxes` [batch, limit, 4] in pixels, `labels` int32 and `scores` [batch, limit], in decreasing order of
    the score, which is 0 for unused entries.

    Attributes:
      model: Detector, `model(image [b, h, w, c] float, *, train) -> {"class_logits": ([b, hl, wl, classes], ...),
        "distances": ([b, hl, wl, 4], ...), "centerness": ([b, hl, wl], ...)}`, tuples with one array per pyramid level;
        distances (top, left, bottom, right) in pixels, positive.
      num_classes: Number of classes, without a background class.
      quality: Target of the model's `centerness`, by which scores are multiplied: the location's centerness, or the IoU
        of the predicted box (Wu et al. 2020, arXiv:1912.05992).
      normalize: Normalization of the images.
      center_radius: Largest distance of an assigned location to the box's center along each axis, in strides.
      reach: A level is for boxes whose farthest side is less than `reach` of its strides away and at least `reach`
        strides of the previous level; the last level has no upper bound.
      alpha, gamma: Parameters of the focal loss.
      box_loss: Coefficient of the box term.
      score_threshold: Smallest score of a candidate; a score is sqrt(class probability * centerness).
      iou_threshold: IoU threshold of non-maximum suppression within a class.
      candidates: Number of boxes of the highest scores that enter non-maximum suppression.
      limit: Largest number of predicted boxes per image.
      names: Class names. Empty for those of the data set.

    Raises:
      UserError: An argument out of range.
    """

    group: ClassVar[str] = "detector"
    presentation = DetectionPresentation()

    num_classes: int
    quality: Quality = "centerness"
    normalize: Normalize = field(default_factory=Normalize)
    center_radius: float = 1.5
    reach: float = 8.0
    alpha: float = 0.25
    gamma: float = 2.0
    box_loss: float = 1.0
    score_threshold: float = 0.05
    iou_threshold: float = 0.6
    candidates: int = 200
    limit: int = 50
    names: Sequence[str] = ()

    def __post_init__(self):
        check_choices(self, quality=get_args(Quality))
        share, positive = "[0, 1]", "(0, inf)"
        check_ranges(
            self, score_threshold=share, iou_threshold=share, alpha=share, center_radius=positive, reach=positive
        )
        check_ranges(self, num_classes="[1, inf)", candidates="[1, inf)", limit="[1, inf)")
        check_class_names(self)

    @property
    def class_names(self) -> Names:
        return {"box_label": tuple(self.names)} if self.names else {}

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return self.init_model(key, self.normalize(jnp.asarray(batch["image"])))

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        return [IdRange("box_label", self.num_classes, "task.num_classes", classes=True, mask="box_weight")]

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        _check(batch)
        locations, outputs, variables = self._outputs(params, variables, batch, key)
        coefficients = {"focal": 1.0, "box": self.box_loss, "centerness": 1.0}
        sums = self.terms(locations, outputs, batch)
        return Outcome({name: Term(*pair, coefficients[name]) for name, pair in sums.items()}, variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        _check(batch)
        locations, outputs, _ = self._outputs(params, variables, batch)
        predictions = self.decode(locations, batch["image"].shape[1:3], outputs)
        truth = {name: batch[name] for name in ("boxes", "box_label", "box_weight", "box_crowd") if name in batch}
        records = {**truth, **{f"predicted_{name}": value for name, value in predictions.items()}}
        return Evaluation(self.terms(locations, outputs, batch), records)

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        from jaxdl.metrics.detection import average_precision

        return average_precision(records, self.num_classes)

    @property
    def packages(self) -> Mapping[str, str]:
        return {"pycocotools": "detection"}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        locations, outputs, _ = self._outputs(params, variables, batch)
        return self.decode(locations, batch["image"].shape[1:3], outputs)

    def terms(self, locations: Locations, outputs: Mapping[str, Array], batch: Batch) -> dict[str, tuple[Array, Array]]:
        """Returns (sum, weight) of `focal`, `box` and `centerness` for outputs as `flatten` returns them."""
        targets: Targets = jax.vmap(functools.partial(assign, locations, center_radius=self.center_radius))(
            batch["boxes"], batch["box_label"], batch["box_weight"]
        )
        weight = batch["weight"][:, None]
        positive = (targets.label >= 0) * weight
        truth = jax.nn.one_hot(targets.label, self.num_classes)  # label -1 is all zeros
        focal = optax.sigmoid_focal_loss(outputs["class_logits"], truth, alpha=self.alpha, gamma=self.gamma).sum(-1)
        predicted, true = to_boxes(locations, outputs["distances"]), to_boxes(locations, targets.distances)
        overlap = generalized_iou(predicted, true)
        quality = targets.centerness
        if self.quality == "iou":
            quality = jax.lax.stop_gradient(intersection_over_union(predicted, true))
        cross_entropy = optax.sigmoid_binary_cross_entropy(outputs["centerness"], quality)
        count = jnp.sum(positive)
        share = positive * targets.centerness
        return {
            "focal": (jnp.sum(weight * focal), count),
            "box": (jnp.sum(share * (1 - overlap)), jnp.sum(share)),
            "centerness": (jnp.sum(positive * cross_entropy), count),
        }

    def decode(self, locations: Locations, shape: Sequence[int], outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Returns the predictions for images of `shape` (height, width) and outputs as `flatten` returns them."""
        probability = jax.nn.sigmoid(outputs["class_logits"]) * jax.nn.sigmoid(outputs["centerness"])[..., None]
        scores = jnp.sqrt(probability)
        scores = jnp.where(scores >= self.score_threshold, scores, 0.0)
        bounds = jnp.array([*shape, *shape], jnp.float32)
        boxes = jnp.clip(to_boxes(locations, outputs["distances"]), 0.0, bounds)
        options = {"threshold": self.iou_threshold, "candidates": self.candidates, "limit": self.limit}
        return jax.vmap(functools.partial(detections, **options))(boxes, scores)

    def _outputs(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
    ) -> tuple[Locations, dict[str, Array], PyTree]:
        """Returns the locations, the model's flat outputs, and the new variables."""
        outputs, variables = self.apply_model(params, variables, batch, key, self.normalize(batch["image"]))
        sizes = [tuple(level.shape[1:3]) for level in outputs["centerness"]]
        classes = outputs["class_logits"][0].shape[-1]
        if classes != self.num_classes:
            raise UserError(f"the model outputs {classes} classes, but num_classes={self.num_classes}")
        return locate(batch["image"].shape[1:3], sizes, self.reach), flatten(outputs), variables


def _check(batch: Batch) -> None:
    require_features(batch, "boxes", "box_label", "box_weight")
    if batch["boxes"].ndim != 3 or batch["boxes"].shape[-1] != 4:
        raise UserError(f"boxes has shape {batch['boxes'].shape}; object detection needs [batch, objects, 4]")
