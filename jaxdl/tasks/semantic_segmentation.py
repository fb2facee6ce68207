"""Semantic segmentation: one class a pixel, softmax cross-entropy and soft Dice (V-Net, arXiv:1606.04797).

Batches: `image` uint8 [batch, height, width, channels]; `mask` uint8 [batch, height, width], class ids from 0, where
255 is not labelled and counts nowhere; `weight` float32 [batch] (0 on padding), `index` [batch].
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import apply_model, batch_coupling, init_model, normalize_images
from jaxdl.training.task import Array, Evaluation, FunctionTask, Names, Outcome, Phase, PyTree, Term

GROUP = "segmenter"
UNLABELLED = 255
_NONE = np.iinfo(np.int32).min  # in the place of a class id: there is none out of range


def semantic_segmentation(
    model: nn.Module,
    *,
    num_classes: int,
    dice: float = 1.0,
    label_smoothing: float = 0.0,
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.25,
    names: Sequence[str] = (),
    batch_coupled: str | None = None,
) -> Any:
    """Trains the group "segmenter" in one phase, "train".

    Terms: `cross_entropy`, over labelled pixels; `dice`, over the examples that have any: one minus the soft Dice
    coefficient of each class that occurs in the example's mask, averaged over those classes. A class id that is neither
    below `num_classes` nor 255 makes the loss NaN, which stops a run; the evaluation names the example.

    Args:
      model: `model(image [batch, h, w, c] float, *, train) -> logits [batch, h, w, num_classes]`; may keep batch
        statistics and draw from "dropout".
      num_classes: 2 to 255.
      dice: coefficient of the Dice term; 0 leaves it out.
      label_smoothing: share of the cross-entropy's target spread evenly over all classes (arXiv:1512.00567), in [0, 1).
      mean, std: of `image / 255`; a number or one a channel.
      names: of the classes; empty: those of the data set.
      batch_coupled: as in `image_classification`.

    Evaluation metrics: `loss` (cross-entropy a labelled pixel, without smoothing), `pixel_accuracy`, `confusion`
    [classes, classes] (share of all labelled pixels by true class, row, and predicted class, column); from the
    confusion of all examples together `mean_iou` and `mean_dice` (over the classes that occur, in truth or prediction)
    and, of two classes, `dice` (of class 1; NaN where it does not occur). Exact at any batch size.
    Predictions: `mask` uint8 [batch, h, w], `probability` float32 [batch, h, w] of that class.

    Raises:
      UserError: an argument out of range; when traced, a mask or logits of another size than the image; from the
        evaluation's score, a class id out of range.
    """
    if not 2 <= num_classes <= UNLABELLED:
        raise UserError(f"num_classes={num_classes}: must be 2 to {UNLABELLED}; the id {UNLABELLED} is not a class")
    if names and len(names) != num_classes:
        raise UserError(f"names has {len(names)} class names, num_classes is {num_classes}")
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(f"label_smoothing={label_smoothing}: must be at least 0 and below 1")
    if not 0.0 <= dice < np.inf:
        raise UserError(f"dice={dice}: must be a number of at least 0")
    if np.any(np.asarray(std) <= 0.0):
        raise UserError(f"std={std}: must be positive")
    normalize = functools.partial(normalize_images, mean=mean, std=std)
    network = functools.partial(pixel_outputs, GROUP, model, normalize, num_classes)
    return FunctionTask(
        init=functools.partial(init_model, GROUP, model, normalize),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, network, dice, label_smoothing)),),
        evaluate=functools.partial(_evaluate, network),
        predict=functools.partial(_predict, network),
        score=functools.partial(_score, num_classes),
        draw=functools.partial(_draw, num_classes),
        illustrate=functools.partial(_illustrate, num_classes),
        framing="pad",
        names={"mask": tuple(names)} if names else {},
        batch_coupled=batch_coupling(model) if batch_coupled is None else batch_coupled,
    )


def pixel_outputs(
    group: str,
    model: nn.Module,
    normalize: Callable[[Array], Array],
    channels: int,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array | None = None,
) -> tuple[Array, PyTree]:
    """What a model says of every pixel.

    Args:
      group: of the parameters.
      channels: how many numbers a pixel the model has to give.
      key: for training; None for evaluation.

    Returns:
      float32 [batch, h, w, channels] and the new variables.

    Raises:
      UserError: the model gives another shape.
    """
    image = batch["image"]
    outputs, variables = apply_model(group, model, normalize, params, variables, batch, key)
    outputs, wanted = jnp.asarray(outputs, jnp.float32), (*image.shape[:3], channels)
    if outputs.shape != wanted:
        raise UserError(f"the model gives {outputs.shape} for images of {image.shape}: the task needs {wanted}")
    return outputs, variables


def check_labels(name: str, batch: Mapping[str, Array]) -> Array:
    """`batch[name]` as int32 [batch, h, w]. Looks at shapes and types only, so also when traced.

    Raises:
      UserError: not a number for each pixel of the image, or not whole numbers.
    """
    labels, size = batch[name], batch["image"].shape[:3]
    if labels.shape != size:
        raise UserError(f"{name} has shape {labels.shape}, image {batch['image'].shape}: {name} must have {size}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise UserError(f"{name} has the type {labels.dtype}: it must hold whole numbers")
    return jnp.asarray(labels).astype(jnp.int32)


def soft_dice(probabilities: Array, target: Array) -> tuple[Array, Array]:
    """One minus the soft Dice coefficient, 2 sum(p t) / (sum p^2 + sum t^2), of each example (arXiv:1606.04797).

    Args:
      probabilities: [batch, h, w, classes]; 0 at pixels that do not count.
      target: of the same shape, 1 at the pixels of a class; 0 at pixels that do not count.

    Returns:
      [batch] the mean over the classes that occur in the example's target, 0 where there is none; [batch] float32, 1
      where there is one.
    """
    both = jnp.sum(probabilities * target, axis=(1, 2))
    each = jnp.sum(jnp.square(probabilities) + jnp.square(target), axis=(1, 2))
    occurs = jnp.any(target > 0, axis=(1, 2))
    losses = jnp.where(occurs, 1.0 - 2.0 * both / jnp.where(occurs, each, 1.0), 0.0)
    classes = jnp.sum(occurs, axis=-1)
    return jnp.sum(losses, axis=-1) / jnp.maximum(classes, 1), (classes > 0).astype(jnp.float32)


def _labelled(batch: Mapping[str, Array], classes: int) -> tuple[Array, Array, Array]:
    """The mask of a batch, ready to be counted.

    Returns:
      [batch, h, w, classes] the one-hot mask, 0 where nothing is labelled; float32 [batch, h, w], 1 at labelled pixels
      (there is none in an example of weight 0); int32 [batch, h, w], the class id at labelled pixels whose id is out of
      range, elsewhere `_NONE`.
    """
    mask = check_labels("mask", batch)
    labelled = (mask != UNLABELLED) & (batch["weight"] > 0)[:, None, None]
    unknown = jnp.where(labelled & ((mask < 0) | (mask >= classes)), mask, _NONE)
    return jax.nn.one_hot(mask, classes) * labelled[..., None], labelled.astype(jnp.float32), unknown


def _loss(
    network: Callable[..., tuple[Array, PyTree]],
    dice: float,
    label_smoothing: float,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    logits, variables = network(params, variables, batch, key)
    classes = logits.shape[-1]
    target, labelled, unknown = _labelled(batch, classes)
    log_probabilities = jax.nn.log_softmax(logits)
    smooth = (1.0 - label_smoothing) * target + label_smoothing / classes
    cross_entropy = -jnp.sum(smooth * log_probabilities, axis=-1)
    # Of a class that does not exist nothing can be learnt, and to leave it out would hide it.
    cross_entropy = jnp.where(unknown != _NONE, jnp.nan, labelled * cross_entropy)
    weight = batch["weight"]
    pixels = jnp.sum(weight * labelled.sum((1, 2)))
    terms = {"cross_entropy": Term(jnp.sum(weight * cross_entropy.sum((1, 2))), pixels)}
    if dice:
        loss, known = soft_dice(jnp.exp(log_probabilities) * labelled[..., None], target)
        terms["dice"] = Term(jnp.sum(weight * loss), jnp.sum(weight * known), dice)
    hit = jnp.sum(target * jax.nn.one_hot(logits.argmax(-1), classes), axis=(1, 2, 3))
    return Outcome(terms=terms, variables=variables, metrics={"pixel_accuracy": (jnp.sum(weight * hit), pixels)})


def _evaluate(
    network: Callable[..., tuple[Array, PyTree]],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> Evaluation:
    """Every example that is not padding counts once, whatever its weight: so all counts are whole numbers."""
    del key
    logits, _ = network(params, variables, batch)
    classes = logits.shape[-1]
    target, labelled, unknown = _labelled(batch, classes)
    guess = jax.nn.one_hot(logits.argmax(-1), classes)
    # Float32 counts the pixels of an image exactly, int32 those of a batch.
    confusion = jnp.einsum("bhwi,bhwj->bij", target, guess).astype(jnp.int32).sum(0)
    pixels = labelled.sum((1, 2)).astype(jnp.int32).sum()
    metrics = {
        "loss": (-jnp.sum(target * jax.nn.log_softmax(logits)), pixels),
        "pixel_accuracy": (jnp.trace(confusion), pixels),
        "confusion": (confusion, pixels),
    }
    return Evaluation(metrics, {"unknown_class": unknown.max((1, 2))})


def _score(
    classes: int, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names
) -> dict[str, float]:
    from jaxdl.metrics.segmentation import class_dice, class_iou, mean_over_classes

    del names
    unknown = records["unknown_class"]
    wrong = np.flatnonzero(unknown != _NONE)
    if len(wrong):
        raise UserError(
            f"the mask of example {wrong[0]} holds the class id {unknown[wrong[0]]}: with num_classes={classes} ids "
            f"must be 0 to {classes - 1}, or {UNLABELLED} for unlabelled pixels"
        )
    dice = class_dice(metrics["confusion"])
    scores = {"mean_iou": mean_over_classes(class_iou(metrics["confusion"])), "mean_dice": mean_over_classes(dice)}
    return {**scores, "dice": float(dice[1])} if classes == 2 else scores


def _predict(
    network: Callable[..., tuple[Array, PyTree]],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> dict[str, Array]:
    del key
    probabilities = jax.nn.softmax(network(params, variables, batch)[0])
    return {"mask": probabilities.argmax(-1).astype(jnp.uint8), "probability": probabilities.max(-1)}


def _draw(
    classes: int,
    batch: Mapping[str, Any],
    outputs: Mapping[str, Any],
    metrics: Mapping[str, Any],
    names: Mapping[str, Sequence[str]],
) -> dict[str, np.ndarray]:
    """`predictions`: up to 8 images with true and predicted mask; `confusion`: the matrix, if it was evaluated."""
    from jaxdl.viz.classification import confusion_matrix
    from jaxdl.viz.figure import class_names
    from jaxdl.viz.segmentation import mask_grid

    known = class_names(names.get("mask", ()), classes)
    shown = np.flatnonzero(np.asarray(batch.get("weight", np.ones(len(batch["image"])))) > 0)[:8]
    truth = np.asarray(batch["mask"])[shown] if "mask" in batch else None
    predicted = np.asarray(outputs["mask"])[shown]
    pictures = {"predictions": mask_grid(np.asarray(batch["image"])[shown], truth, predicted, known)}
    if "confusion" in metrics:
        pictures["confusion"] = confusion_matrix(np.asarray(metrics["confusion"]), known)
    return pictures


def _illustrate(
    classes: int, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Mapping[str, Sequence[str]]
) -> np.ndarray:
    """The image under the predicted mask, with a legend."""
    from jaxdl.viz.figure import class_names
    from jaxdl.viz.segmentation import mask_overlay

    known = class_names(names.get("mask", ()), classes)
    return mask_overlay(np.asarray(example["image"]), np.asarray(outputs["mask"]), known)
