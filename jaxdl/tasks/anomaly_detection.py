"""Anomaly detection by reconstruction error: what an autoencoder of normal examples cannot give back is not normal.

Sakurada and Yairi, "Anomaly Detection Using Autoencoders with Nonlinear Dimensionality Reduction" (2014).

Batches: `features` float32 [batch, n] (see `jaxdl.data.series.rows.Tabular`) or `image` uint8 [batch, height, width,
channels]; `label` int32 [batch]; `weight` float32 [batch] (0 on padding), `index` [batch].

The threshold is chosen on normal examples alone that the model never learnt from. A share of the training examples, by
their index, is held out from the loss; their errors, as the model is in evaluation, are counted in `variables` on a
logarithmic scale, older ones fading, and the threshold is a quantile of these counts. So no split that is evaluated has
a part in it; it lies in the checkpoint, and a prediction has it without any data. Errors of examples that were learnt
from would be too small for it: the more a model has learnt by heart, the more false alarms.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.models.layers.norms import bound_axis
from jaxdl.tasks.parts.apply import apply_model, batch_coupling, normalize_images
from jaxdl.training.task import Array, Evaluation, FunctionTask, Outcome, Phase, PyTree, Term, example_keys

GROUP = "autoencoder"
ERRORS = "normal_errors"  # of the variables
# The scale of the counts: errors from 1e-8 to 1e8, neighbours 1% apart.
_LOWEST, _HIGHEST, _RATIO = 1e-8, 1e8, 1.01
_BINS = math.ceil(math.log(_HIGHEST / _LOWEST) / math.log(_RATIO))


class _Settings(NamedTuple):
    quantile: float
    calibration: float
    memory: int
    normal: tuple[int, ...]
    mean: float | Sequence[float]
    std: float | Sequence[float]


def anomaly_detection(
    model: nn.Module,
    *,
    quantile: float = 0.99,
    calibration: float = 0.1,
    memory: int = 4096,
    normal: Sequence[int] = (0,),
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.25,
) -> Any:
    """Trains the group "autoencoder" in one phase, "train", to reconstruct normal examples: term `mse`.

    An example's score is its mean squared error, over features or over pixels and channels, in normalized units.

    Args:
      model: `model(x, *, train) -> x again`, of x [batch, n] or image [batch, height, width, channels] float.
      quantile: of the errors of held out normal examples, above which an example is called anomalous: about
        1 - quantile of the normal examples are false alarms.
      calibration: share of the training examples to hold out for the threshold.
      memory: about how many of the newest errors the threshold rests on.
      normal: the labels that are normal. Training examples with another one count neither for the loss nor for the
        threshold.
      mean, std: of images, see `jaxdl.tasks.parts.apply.normalize_images`; features are taken as they are.

    Evaluation metrics: `loss` (mean squared error of the normal examples), `threshold`; of the scores against the
    labels `auroc` and `average_precision`; of what is above the threshold `precision` (NaN if nothing is), `recall`
    and `false_alarms`, the share of the normal examples. What needs both kinds of examples is NaN where one is missing.
    Predictions: `score` float32 [batch], `anomalous` bool [batch], `threshold` float32 [batch], and `errors`, of the
    shape of the input: the squared errors whose mean is the score.

    Raises:
      UserError: an argument out of range; when traced, a model that gives another shape, or a batch without input.
    """
    if not 0.0 < quantile < 1.0:
        raise UserError(f"quantile={quantile}: must be above 0 and below 1, such as 0.99")
    if not 0.0 < calibration < 1.0:
        raise UserError(f"calibration={calibration}: a share of the training examples, above 0 and below 1")
    if memory < 1:
        raise UserError(f"memory={memory}: must be 1 or more")
    if not normal:
        raise UserError("normal=(): name the labels that are normal, such as (0,)")
    if np.any(np.asarray(std) <= 0.0):
        raise UserError(f"std={std}: must be positive")
    settings = _Settings(quantile, calibration, memory, tuple(normal), mean, std)
    return FunctionTask(
        init=functools.partial(_init, model, settings),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, model, settings)),),
        evaluate=functools.partial(_evaluate, model, settings),
        predict=functools.partial(_predict, model, settings),
        score=_score,
        draw=_draw,
        readable=_readable,
        batch_coupled=batch_coupling(model),
    )


def held_out(index: Array, share: float) -> Array:
    """bool [batch]: whether training examples are held out for the threshold, a share of them by `index` [batch]."""
    keys = example_keys(jax.random.key(0), {"index": index})
    return jax.vmap(jax.random.uniform)(keys) < share


def count_errors(counts: Array, errors: Array, weight: Array, memory: int) -> Array:
    """Counts errors [batch] with weights [batch] into `counts` [bins]; what was counted before fades.

    Under pmap over all devices, so that `counts` stay the same on each of them.
    """
    place = jnp.log(jnp.maximum(errors, _LOWEST) / _LOWEST) / math.log(_RATIO)
    place = jnp.clip(place.astype(jnp.int32), 0, _BINS - 1)
    new = jnp.zeros_like(counts).at[place].add(weight)
    axis = bound_axis()
    new = new if axis is None else jax.lax.psum(new, axis)
    return counts * (1.0 - 1.0 / memory) ** new.sum() + new


def quantile_of(counts: Array, quantile: float) -> Array:
    """[] the error below which a share `quantile` of the counts lies, between the ends of its bin by proportion.

    The largest error of the scale, 1e8, where nothing is counted: so nothing is anomalous.
    """
    sums = jnp.cumsum(counts)
    wanted = quantile * sums[-1]
    place = jnp.minimum(jnp.sum(sums < wanted), _BINS - 1)
    inside = (wanted - (sums[place] - counts[place])) / jnp.maximum(counts[place], 1e-30)
    error = _LOWEST * jnp.exp((place + jnp.clip(inside, 0.0, 1.0)) * math.log(_RATIO))
    return jnp.where(sums[-1] > 0, error, _HIGHEST)


def _inputs(settings: _Settings, batch: Mapping[str, Array]) -> Array:
    """What the model reads: [batch, n] or [batch, height, width, channels], float32."""
    if "features" in batch:
        return jnp.asarray(batch["features"], jnp.float32)
    if "image" not in batch:
        raise UserError(f"anomaly detection reads 'features' or 'image'; the batch has {', '.join(sorted(batch))}")
    return normalize_images(jnp.asarray(batch["image"]), mean=settings.mean, std=settings.std)


def _init(
    model: nn.Module, settings: _Settings, key: Array, batch: Mapping[str, Array]
) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    collections = dict(model.init(key, _inputs(settings, batch), train=False))
    params = collections.pop("params")
    return {GROUP: params}, {ERRORS: jnp.zeros(_BINS), **({GROUP: collections} if collections else {})}


def _errors(
    model: nn.Module,
    settings: _Settings,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array | None = None,
) -> tuple[Array, PyTree]:
    """Squared errors, of the shape of the input, and the new variables; without a key as in evaluation."""
    inputs = _inputs(settings, batch)
    made, variables = apply_model(GROUP, model, lambda x: x, params, variables, {**batch, "image": inputs}, key)
    if made.shape != inputs.shape:
        raise UserError(f"the model gives {made.shape}: the task needs the input again, {inputs.shape}")
    return jnp.square(jnp.asarray(made, jnp.float32) - inputs), variables


def _means(errors: Array) -> Array:
    return errors.reshape(errors.shape[0], -1).mean(1)


def _normal(settings: _Settings, batch: Mapping[str, Array]) -> Array:
    """float32 [batch]: the weight of normal examples, 0 for all others."""
    return batch["weight"] * jnp.isin(batch["label"], jnp.asarray(settings.normal))


def _loss(
    model: nn.Module,
    settings: _Settings,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    errors, updated = _errors(model, settings, params, variables, batch, key)
    # As in evaluation, so without dropout; XLA computes it once where the two are the same.
    still = jax.lax.stop_gradient(_means(_errors(model, settings, params, variables, batch)[0]))
    normal, held = _normal(settings, batch), held_out(batch["index"], settings.calibration)
    counts = count_errors(variables[ERRORS], still, jnp.where(held, normal, 0.0), settings.memory)
    weight = jnp.where(held, 0.0, normal)
    total = jnp.sum(normal)
    return Outcome(
        terms={"mse": Term(jnp.sum(weight * _means(errors)), jnp.sum(weight))},
        variables={**updated, ERRORS: counts},
        metrics={"threshold": (quantile_of(counts, settings.quantile) * total, total)},
    )


def _evaluate(
    model: nn.Module, settings: _Settings, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> Evaluation:
    del key
    score = _means(_errors(model, settings, params, variables, batch)[0])
    normal = _normal(settings, batch)
    threshold = quantile_of(variables[ERRORS], settings.quantile)
    records = {
        "score": score,
        "anomaly": ~jnp.isin(batch["label"], jnp.asarray(settings.normal)),
        "threshold": jnp.broadcast_to(threshold, score.shape),
    }
    return Evaluation({"loss": (jnp.sum(normal * score), jnp.sum(normal))}, records)


def _score(records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Any = None) -> dict[str, Any]:
    """See `anomaly_detection`; and for the pictures `normal_scores` and `anomalous_scores`, each in rising order."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    del metrics, names
    score, anomaly, threshold = records["score"], records["anomaly"].astype(bool), float(records["threshold"][0])
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


def _predict(
    model: nn.Module, settings: _Settings, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    errors, _ = _errors(model, settings, params, variables, batch)
    score, threshold = _means(errors), quantile_of(variables[ERRORS], settings.quantile)
    return {
        "score": score,
        "anomalous": score > threshold,
        "threshold": jnp.broadcast_to(threshold, score.shape),
        "errors": errors,
    }


def _readable(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> dict:
    """Score, verdict and threshold; of a table's row also `largest_error`, the column that adds most to the score."""
    row: dict[str, Any] = {
        "score": float(f"{float(outputs['score']):.6g}"),
        "anomalous": bool(outputs["anomalous"]),
        "threshold": float(f"{float(outputs['threshold']):.6g}"),
    }
    columns, errors = names.get("features", ()), np.asarray(outputs["errors"])
    if "features" in example and len(columns) == errors.size:
        row["largest_error"] = str(columns[int(errors.argmax())])
    return row


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Any
) -> dict[str, np.ndarray]:
    """`scores`: a histogram by kind, with the threshold; `roc`: the curve; of images also `errors`, where they lie."""
    from jaxdl.viz.anomaly import error_maps, roc_curve, score_histogram

    del names
    pictures = {}
    if "normal_scores" in metrics:
        normal, anomalous = metrics["normal_scores"], metrics["anomalous_scores"]
        pictures["scores"] = score_histogram(normal, anomalous, metrics["threshold"])
        if len(normal) and len(anomalous):
            pictures["roc"] = roc_curve(normal, anomalous, metrics["threshold"])
    if "image" in batch:
        shown = np.flatnonzero(np.asarray(batch.get("weight", np.ones(len(batch["image"])))) > 0)
        pictures["errors"] = error_maps(
            np.asarray(batch["image"])[shown],
            np.asarray(outputs["errors"])[shown].mean(-1),
            np.asarray(outputs["score"])[shown],
            np.asarray(outputs["anomalous"])[shown],
        )
    return pictures
