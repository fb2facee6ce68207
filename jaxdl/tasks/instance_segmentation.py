"""Instance segmentation by center offsets."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.decoding.instances import group_image
from jaxdl.errors import UserError
from jaxdl.tasks.parts.arguments import check_choices, check_ranges
from jaxdl.tasks.parts.center_offsets import Maps, center_targets, heatmap_focal_loss
from jaxdl.tasks.parts.dense_prediction import check_labels, pixel_outputs, soft_dice
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.task import Array, Batch, Evaluation, IdRange, Names, Outcome, PyTree, Term
from jaxdl.viz.segmentation import InstanceSegmentationPresentation

# Default coefficients of the heatmap term. The mean squared error is small, since few pixels are near a center.
HEATMAPS = {"focal": 1.0, "mse": 200.0}
# Added to the heatmap's logits: the initial probability of a center is 0.1 (arXiv:1708.02002).
HEATMAP_PRIOR = math.log(0.1 / 0.9)
MAX_NUMBER = 32767  # of int16, the type of the records


@dataclass(frozen=True, eq=False)
class InstanceSegmentation(ModelTask):
    """Class-agnostic instance segmentation by center offsets (Panoptic-DeepLab, arXiv:1911.10194).

    The model predicts for every pixel the foreground, a heatmap of object centers, and the offset to the center of the
    pixel's object. Each foreground pixel is assigned to the center nearest to the position that its offset predicts.

    Batches: `image` uint8 [batch, height, width, channels] and `instances` int32 [batch, height, width], 0 for the
    background, else the number of the object. Numbers need not be contiguous.

    Loss terms: `cross_entropy` of the foreground, over pixels; `dice` of the foreground (soft Dice, arXiv:1606.04797),
    over examples with objects; `heatmap`, the penalty-reduced focal loss over objects (alpha 2, beta 4,
    arXiv:1808.01244) or the squared error over pixels; `offset`, the absolute error (down plus right, in units of
    `offset_scale`) over foreground pixels.

    Evaluation metrics: each term as `<term>_loss`, and their weighted sum, `loss`; `ap50`, TP / (TP + FP + FN) of
    instances matched one to one at an IoU above 0.5, counts summed over all images: the definition of StarDist
    (arXiv:1806.03535) and the 2018 Data Science Bowl, not COCO's area under a curve; `ap`, its mean over IoU 0.50 to
    0.95 in steps of 0.05; `dice` of the foreground that instances cover; `count_error`, the mean absolute error of the
    number of instances per image.

    Predictions: `instances` int32 [batch, height, width], numbered from 1 by decreasing probability of the center, 0
    for the background; `score` float32 [batch, max_centers], of instance n at n - 1: probability of its center times
    the mean foreground probability of its pixels, 0 for unused entries; `count` int32 [batch].

    Attributes:
      model: Model, `model(image [batch, h, w, c] float, *, train) -> [batch, h, w, 4]`: foreground logit, center logit
        (`HEATMAP_PRIOR` is added), and the offset (down, right) to the center in units of `offset_scale`.
      limit: Largest instance number in the data.
      sigma: Std of the heatmap's Gaussian around a center in pixels; the Gaussian is truncated at 3 sigma.
      offset_scale: Pixels per unit of the predicted offset, about the radius of an object.
      dice: Coefficient of the Dice term; 0 omits it.
      heatmap: Loss of the heatmap, "focal" or "mse".
      heatmap_loss: Coefficient of the heatmap term. None for 1 with "focal" and the paper's 200 with "mse".
      offset_loss: Coefficient of the offset term.
      window: Side in pixels of the window in which a center is the maximum.
      threshold: Smallest probability of a center.
      max_centers: Number of centers per image, those of the largest probability.
      min_pixels: Smallest instance in pixels; smaller ones are dropped.
      normalize: Normalization of the images.

    Raises:
      UserError: An argument out of range.
    """

    group: ClassVar[str] = "segmenter"
    presentation = InstanceSegmentationPresentation()

    limit: int = 256
    sigma: float = 2.0
    offset_scale: float = 16.0
    dice: float = 1.0
    heatmap: str = "focal"
    heatmap_loss: float | None = None
    offset_loss: float = 1.0
    window: int = 7
    threshold: float = 0.3
    max_centers: int = 256
    min_pixels: int = 10
    normalize: Normalize = field(default_factory=Normalize)

    def __post_init__(self):
        check_choices(self, heatmap=HEATMAPS)
        number, positive, coefficient = f"[1, {MAX_NUMBER}]", "(0, inf)", "[0, inf)"
        check_ranges(self, limit=number, max_centers=number, window="[1, inf)", threshold="(0, 1)")
        check_ranges(self, sigma=positive, offset_scale=positive, min_pixels=positive)
        check_ranges(self, dice=coefficient, heatmap_loss=coefficient, offset_loss=coefficient)
        if self.window % 2 == 0:
            raise UserError(f"window={self.window} must be odd")

    @property
    def _coefficients(self) -> dict[str, float]:
        heatmap_loss = HEATMAPS[self.heatmap] if self.heatmap_loss is None else self.heatmap_loss
        return {"cross_entropy": 1.0, "dice": self.dice, "heatmap": heatmap_loss, "offset": self.offset_loss}

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return self.init_model(key, self.normalize(jnp.asarray(batch["image"])))

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        return [IdRange("instances", self.limit + 1, "task.limit")]

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        maps, variables = self._maps(params, variables, batch, key)
        return Outcome(self._terms(maps, batch), variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        maps, _ = self._maps(params, variables, batch)
        metrics = {f"{name}_loss": (term.sum, term.weight) for name, term in self._terms(maps, batch).items()}
        instances, _, _ = self.group_pixels(maps)
        truth = check_labels("instances", batch)
        return Evaluation(metrics, {"predicted": instances.astype(jnp.int16), "true": truth.astype(jnp.int16)})

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        from jaxdl.metrics.segmentation import count_error, foreground_dice, instance_precision

        truths, predictions = records["true"], records["predicted"]
        precision = instance_precision(truths, predictions)
        coefficients = self._coefficients
        losses = {name: metrics[f"{name}_loss"] for name in coefficients if f"{name}_loss" in metrics}
        return {
            # A term without weight (no object in any image) adds 0, as in training.
            "loss": sum(coefficients[name] * (0.0 if np.isnan(loss) else loss) for name, loss in losses.items()),
            "ap50": float(precision[0]),
            "ap": float(precision.mean()),
            "dice": foreground_dice(truths, predictions),
            "count_error": count_error(truths, predictions),
        }

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        instances, score, count = self.group_pixels(self._maps(params, variables, batch)[0])
        return {"instances": instances, "score": score, "count": count}

    def group_pixels(self, maps: Maps) -> tuple[Array, Array, Array]:
        """Returns the predictions `instances`, `score` and `count` from the outputs for a batch.

        An image without a center has no instances, whatever its foreground.

        Raises:
          UserError: More centers than pixels.
        """
        pixels = math.prod(maps.heatmap.shape[1:])
        if self.max_centers > pixels:
            raise UserError(f"max_centers={self.max_centers} exceeds the {pixels} pixels of an image; reduce it")
        options = {name: getattr(self, name) for name in ("window", "threshold", "max_centers", "min_pixels")}
        return jax.vmap(functools.partial(group_image, **options))(*maps)

    def _maps(self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None) -> tuple[Maps, PyTree]:
        values, variables = pixel_outputs(self, 4, params, variables, batch, key)
        return Maps(values[..., 0], values[..., 1] + HEATMAP_PRIOR, values[..., 2:] * self.offset_scale), variables

    def _terms(self, maps: Maps, batch: Batch) -> dict[str, Term]:
        targets = center_targets(check_labels("instances", batch), limit=self.limit, sigma=self.sigma)
        weight, shape, coefficients = batch["weight"], targets.foreground.shape, self._coefficients

        def term(name: str, errors: Array, counts: Array) -> Term:
            return Term(jnp.sum(weight * errors), jnp.sum(weight * counts), coefficients[name])

        pixels = jnp.full(shape[0], float(shape[1] * shape[2]))
        cross_entropy = jax.nn.softplus(maps.foreground) - targets.foreground * maps.foreground
        terms = {"cross_entropy": term("cross_entropy", cross_entropy.sum((1, 2)), pixels)}
        if self.dice:
            dice = soft_dice(jax.nn.sigmoid(maps.foreground)[..., None], targets.foreground[..., None])
            terms["dice"] = term("dice", *dice)
        if self.heatmap == "focal":
            errors, counts = heatmap_focal_loss(maps.heatmap, targets.heatmap), targets.objects
        else:
            errors, counts = jnp.square(jax.nn.sigmoid(maps.heatmap) - targets.heatmap), pixels
        terms["heatmap"] = term("heatmap", errors.sum((1, 2)), counts)
        distance = jnp.abs(maps.offset - targets.offset).sum(-1) * targets.foreground / self.offset_scale
        terms["offset"] = term("offset", distance.sum((1, 2)), targets.foreground.sum((1, 2)))
        return terms
