"""Anomaly detection by reconstruction error (one-class)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.models.layers.norms import bound_axis
from jaxdl.tasks.parts.apply import example_means, float_outputs
from jaxdl.tasks.parts.arguments import check_ranges
from jaxdl.tasks.parts.averages import each
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.task import Array, Batch, Evaluation, Outcome, PyTree, Term, example_keys
from jaxdl.viz.anomaly import AnomalyPresentation

ERRORS = "normal_errors"  # key of the histogram in `variables`
# Bins of the histogram: errors from 1e-8 to 1e8, with 1% between neighbours.
_LOWEST, _HIGHEST, _RATIO = 1e-8, 1e8, 1.01
_BINS = math.ceil(math.log(_HIGHEST / _LOWEST) / math.log(_RATIO))


@dataclass(frozen=True, eq=False)
class AnomalyDetection(ModelTask):
    """One-class anomaly detection with an autoencoder.

    Trains the group "autoencoder" in one phase, "train", to reconstruct normal examples. Term: `mse`. The score of an
    example is its mean squared error, over features or over pixels and channels, in standardized units (Sakurada and
    Yairi, "Anomaly Detection Using Autoencoders with Nonlinear Dimensionality Reduction", 2014).

    The threshold is a quantile of errors of held-out normal training examples. Their errors in evaluation mode are
    counted in a logarithmic histogram with exponential decay, which is part of `variables`. So no evaluated split
    affects the threshold, and predictions need no data. Errors of examples in the loss would be too small: an
    overfitted model would have many false alarms. The error and the threshold of an ensemble are the means of its
    members'.

    Batches: `features` float32 [batch, n] (see `jaxdl.data.series.rows.Tabular`) or `image` uint8 [batch, height,
    width, channels]; `label` int32 [batch].

    Evaluation metrics: `loss` (MSE of normal examples), `threshold`, `auroc`, `average_precision`, and at the threshold
    `precision`, `recall` and `false_alarms` (false positive rate). Undefined metrics are NaN.

    Predictions: `score` float32 [batch], `anomalous` bool [batch], `threshold` float32 [batch], and `errors`, squared
    errors of the shape of the input.

    Attributes:
      model: Autoencoder, `model(x, *, train) -> reconstruction of x`, of x float [batch, n] or [batch, height, width,
        channels].
      quantile: Quantile of held-out normal errors that is the threshold. About 1 - quantile of the normal examples are
        false alarms.
      calibration: Share of the training examples that is held out for the threshold.
      memory: Number of errors after which older counts have decayed to 1 / e.
      normal: Labels of normal examples. Other training examples affect neither loss nor threshold.
      normalize: Normalization of images. Features are not normalized.

    Raises:
      UserError: An argument out of range, a reconstruction of another shape, or a batch without input.
    """

    group: ClassVar[str] = "autoencoder"
    presentation = AnomalyPresentation()
    average = staticmethod(each)

    quantile: float = 0.99
    calibration: float = 0.1
    memory: int = 4096
    normal: Sequence[int] = (0,)
    normalize: Normalize = field(default_factory=Normalize)

    def __post_init__(self):
        check_ranges(self, quantile="(0, 1)", calibration="(0, 1)", memory="[1, inf)")
        if not self.normal:
            raise UserError("normal=() must contain the labels of normal examples, such as (0,)")

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        params, variables = self.init_model(key, self._inputs(batch))
        return params, {ERRORS: jnp.zeros(_BINS), **variables}

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        errors, updated = self._errors(params, variables, batch, key)
        # In evaluation mode, without dropout. XLA merges the two passes if they are equal.
        eval_errors = jax.lax.stop_gradient(example_means(self._errors(params, variables, batch)[0]))
        normal, held = self._normal_weight(batch), held_out(batch["index"], self.calibration)
        counts = count_errors(variables[ERRORS], eval_errors, jnp.where(held, normal, 0.0), self.memory)
        weight = jnp.where(held, 0.0, normal)
        total = jnp.sum(normal)
        return Outcome(
            terms={"mse": Term(jnp.sum(weight * example_means(errors)), jnp.sum(weight))},
            variables={**updated, ERRORS: counts},
            metrics={"threshold": (quantile_of(counts, self.quantile) * total, total)},
        )

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        score = example_means(self._errors(params, variables, batch)[0])
        normal = self._normal_weight(batch)
        records = {
            "score": score,
            "anomaly": ~jnp.isin(batch["label"], jnp.asarray(self.normal)),
            "threshold": jnp.broadcast_to(self._threshold(variables), score.shape),
        }
        return Evaluation({"loss": (jnp.sum(normal * score), jnp.sum(normal))}, records)

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        errors, _ = self._errors(params, variables, batch)
        score, threshold = example_means(errors), self._threshold(variables)
        return {
            "score": score,
            "anomalous": score > threshold,
            "threshold": jnp.broadcast_to(threshold, score.shape),
            "errors": errors,
        }

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Any = None) -> dict[str, Any]:
        """Returns the metrics, and `normal_scores` and `anomalous_scores`, sorted, for pictures."""
        return detection_metrics(records["score"], records["anomaly"].astype(bool), float(records["threshold"][0]))

    def _inputs(self, batch: Batch) -> Array:
        """Returns the model's inputs, float32 [batch, n] or [batch, height, width, channels]."""
        if "features" in batch:
            return jnp.asarray(batch["features"], jnp.float32)
        if "image" not in batch:
            raise UserError(f"anomaly detection needs 'features' or 'image'; the batch has {', '.join(sorted(batch))}")
        return self.normalize(jnp.asarray(batch["image"]))

    def _errors(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
    ) -> tuple[Array, PyTree]:
        """Returns squared errors and new variables; without a key in evaluation mode."""
        inputs = self._inputs(batch)
        outputs, variables = self.apply_model(params, variables, batch, key, inputs)
        if getattr(outputs, "ndim", 0) > inputs.ndim:  # of an ensemble, [members, batch, ...]
            return jnp.mean(jnp.square(float_outputs(outputs, "members", *inputs.shape) - inputs), axis=0), variables
        return jnp.square(float_outputs(outputs, *inputs.shape) - inputs), variables

    def _threshold(self, variables: PyTree) -> Array:
        """Returns the threshold, float32 []."""
        counts = variables[ERRORS]  # [bins], of an ensemble [members, bins]
        each_member = jax.vmap(lambda counts: quantile_of(counts, self.quantile))
        return each_member(counts).mean() if counts.ndim > 1 else quantile_of(counts, self.quantile)

    def _normal_weight(self, batch: Batch) -> Array:
        """Returns the weight of normal examples and 0 for others, float32 [batch]."""
        return batch["weight"] * jnp.isin(batch["label"], jnp.asarray(self.normal))


def detection_metrics(score: np.ndarray, anomaly: np.ndarray, threshold: float) -> dict[str, Any]:
    """Returns the metrics of scores and labels [examples]; see `AnomalyDetection`."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    alarm = score > np.float32(threshold)
    both = 0 < anomaly.sum() < len(anomaly)
    return {
        "auroc": float(roc_auc_score(anomaly, score)) if both else math.nan,
        "average_precision": float(average_precision_score(anomaly, score)) if both else math.nan,
        "precision": float(anomaly[alarm].mean()) if alarm.any() else math.nan,
        "recall": float(alarm[anomaly].mean()) if anomaly.any() else math.nan,
        "false_alarms": float(alarm[~anomaly].mean()) if not anomaly.all() else math.nan,
        "threshold": threshold,
        "normal_scores": np.sort(score[~anomaly]),
        "anomalous_scores": np.sort(score[anomaly]),
    }


def held_out(index: Array, share: float) -> Array:
    """Returns whether examples are held out for the threshold, bool [batch], by their index only."""
    keys = example_keys(jax.random.key(0), {"index": index})
    return jax.vmap(jax.random.uniform)(keys) < share


def count_errors(counts: Array, errors: Array, weight: Array, memory: int) -> Array:
    """Returns the histogram after decay and the addition of `errors`.

    Under pmap, errors of all devices are added, so that `counts` are equal on all of them.

    Args:
      counts: [bins].
      errors: [batch], 0 or more.
      weight: [batch], the count of each error.
      memory: See `AnomalyDetection`.
    """
    place = jnp.log(jnp.maximum(errors, _LOWEST) / _LOWEST) / math.log(_RATIO)
    place = jnp.clip(place.astype(jnp.int32), 0, _BINS - 1)
    new = jnp.zeros_like(counts).at[place].add(weight)
    axis = bound_axis()
    new = new if axis is None else jax.lax.psum(new, axis)
    return counts * (1.0 - 1.0 / memory) ** new.sum() + new


def quantile_of(counts: Array, quantile: float) -> Array:
    """Returns a quantile [] of the histogram, interpolated within its bin; 1e8 if it is empty."""
    sums = jnp.cumsum(counts)
    target = quantile * sums[-1]
    place = jnp.minimum(jnp.sum(sums < target), _BINS - 1)
    inside = (target - (sums[place] - counts[place])) / jnp.maximum(counts[place], 1e-30)
    error = _LOWEST * jnp.exp((place + jnp.clip(inside, 0.0, 1.0)) * math.log(_RATIO))
    return jnp.where(sums[-1] > 0, error, _HIGHEST)
