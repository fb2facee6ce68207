"""Image classification: one label an image, softmax cross-entropy.

Batches: `image` uint8 [batch, height, width, channels], `label` int32 [batch], `weight` float32 [batch] (0 on padding),
`index` [batch]; where the pipeline mixes images (mixup, CutMix) also `mix_label` int32 [batch] and `mix_weight` float32
[batch], the share of `mix_label` in the mixture.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import apply_model, batch_coupling, init_model, normalize_images
from jaxdl.training.task import Array, Evaluation, Outcome, Phase, PyTree, Task, Term

GROUP = "classifier"


def image_classification(
    model: nn.Module,
    *,
    label_smoothing: float = 0.0,
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.25,
    top: Sequence[int] = (1,),
    batch_coupled: str | None = None,
) -> Task:
    """Trains the group "classifier" in one phase, "train", by cross-entropy.

    Args:
      model: `model(image [batch, h, w, c] float, *, train) -> logits [batch, classes]`; may keep batch statistics and
        draw from "dropout".
      label_smoothing: share of the target spread evenly over all classes (arXiv:1512.00567), in [0, 1).
      mean: of `image / 255`, subtracted; a number or one a channel.
      std: of `image / 255`, divided by; a number or one a channel.
      top: accuracies to evaluate: 1 is `accuracy`; k is `accuracy_top<k>`, if there are more than k classes.
      batch_coupled: why the loss is not a sum over examples, "" if it is; by default told by the model's `norm`.

    Evaluation metrics: `loss` (without smoothing), `accuracy`, `accuracy_top<k>`, and `confusion` [classes, classes]
    (share of all examples by true class, row, and predicted class, column).
    Predictions: `label` int32 [batch], `probability` [batch] of that label, `probabilities` [batch, classes].

    Raises:
      UserError: an argument out of range.
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(f"label_smoothing={label_smoothing}: must be at least 0 and below 1")
    if np.any(np.asarray(std) <= 0.0):
        raise UserError(f"std={std}: must be positive")
    if any(k < 1 for k in top):
        raise UserError(f"top={tuple(top)}: every k must be at least 1")
    normalize = functools.partial(normalize_images, mean=mean, std=std)
    loss = functools.partial(_loss, model, normalize, label_smoothing)
    return Task(
        init=functools.partial(init_model, GROUP, model, normalize),
        phases=(Phase(name="train", trains=GROUP, loss=loss),),
        evaluate=functools.partial(_evaluate, model, normalize, tuple(top)),
        predict=functools.partial(_predict, model, normalize),
        draw=_draw,
        logits=lambda params, variables, image: _logits(model, normalize, params, variables, {"image": image}),
        batch_coupled=batch_coupling(model) if batch_coupled is None else batch_coupled,
    )


def _loss(
    model: nn.Module,
    normalize: Any,
    label_smoothing: float,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    logits, variables = apply_model(GROUP, model, normalize, params, variables, batch, key)
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    target = _target(batch, logits.shape[-1])
    smooth = (1.0 - label_smoothing) * target + label_smoothing / logits.shape[-1]
    weight = batch["weight"]
    cross_entropy = -jnp.sum(smooth * log_probabilities, axis=-1)
    hit = jnp.sum(target * jax.nn.one_hot(logits.argmax(-1), logits.shape[-1]), axis=-1)
    return Outcome(
        terms={"cross_entropy": Term(jnp.sum(weight * cross_entropy), jnp.sum(weight))},
        variables=variables,
        metrics={"accuracy": (jnp.sum(weight * hit), jnp.sum(weight))},
    )


def _target(batch: Mapping[str, Array], classes: int) -> Array:
    """The share of each class in each image, [batch, classes]; mixed images have two."""
    target = jax.nn.one_hot(batch["label"], classes)
    if "mix_label" not in batch:
        return target
    share = batch["mix_weight"][:, None]
    return (1.0 - share) * target + share * jax.nn.one_hot(batch["mix_label"], classes)


def _logits(model: nn.Module, normalize: Any, params: PyTree, variables: PyTree, batch: Mapping[str, Array]) -> Array:
    return jnp.asarray(apply_model(GROUP, model, normalize, params, variables, batch)[0], jnp.float32)


def _evaluate(
    model: nn.Module,
    normalize: Any,
    top: tuple[int, ...],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> Evaluation:
    del key
    logits = _logits(model, normalize, params, variables, batch)
    classes = logits.shape[-1]
    label, weight = batch["label"], batch["weight"]
    total = jnp.sum(weight)
    truth = jax.nn.one_hot(label, classes)
    guess = jax.nn.one_hot(logits.argmax(-1), classes)
    cross_entropy = -jnp.sum(truth * jax.nn.log_softmax(logits), axis=-1)
    metrics = {
        "loss": (jnp.sum(weight * cross_entropy), total),
        "accuracy": (jnp.sum(weight * jnp.sum(truth * guess, axis=-1)), total),
        "confusion": (jnp.einsum("bi,bj->ij", truth * weight[:, None], guess), total),
    }
    for k in top:
        if 1 < k < classes:
            hit = jnp.any(jax.lax.top_k(logits, k)[1] == label[:, None], axis=-1)
            metrics[f"accuracy_top{k}"] = (jnp.sum(weight * hit), total)
    return Evaluation(metrics)


def _predict(
    model: nn.Module, normalize: Any, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    probabilities = jax.nn.softmax(_logits(model, normalize, params, variables, batch))
    return {
        "label": probabilities.argmax(-1).astype(jnp.int32),
        "probability": probabilities.max(-1),
        "probabilities": probabilities,
    }


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """`predictions`: up to 24 images with true and predicted class; `confusion`: the matrix, if it was evaluated."""
    from jaxdl.viz.classification import confusion_matrix, prediction_grid

    classes = np.shape(outputs["probabilities"])[-1]
    class_names = names.get("label") or [str(index) for index in range(classes)]
    shown = np.flatnonzero(np.asarray(batch.get("weight", np.ones(len(batch["image"])))) > 0)[:24]
    labels = np.asarray(batch["label"])[shown] if "label" in batch else None
    pictures = {
        "predictions": prediction_grid(
            np.asarray(batch["image"])[shown],
            labels,
            np.asarray(outputs["label"])[shown],
            np.asarray(outputs["probability"])[shown],
            class_names,
        )
    }
    if "confusion" in metrics:
        pictures["confusion"] = confusion_matrix(np.asarray(metrics["confusion"]), class_names)
    return pictures
