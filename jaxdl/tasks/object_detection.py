"""Object detection without anchors, in one stage: FCOS (Tian et al. 2019, arXiv:1904.01355).

Every location of a feature pyramid says which class covers it, how far the box's four sides are, and how central it is
in that box.

Batches: `image` uint8 [batch, height, width, channels]; `boxes` float32 [batch, objects, 4], (top, left, bottom, right)
in pixels; `box_label` int32 and `box_weight` float32 [batch, objects], weight 0 on padding; `weight`, `index` [batch];
perhaps `box_crowd` [batch, objects], 1 on regions that scoring ignores.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.decoding.nms import area, detections, generalized_iou, intersection_over_union
from jaxdl.errors import UserError, nearest
from jaxdl.tasks.parts.apply import apply_model, batch_coupling, init_model, normalize_images
from jaxdl.training.task import Array, Evaluation, FunctionTask, Names, Outcome, Phase, PyTree, Term

GROUP = "detector"
Quality = Literal["centerness", "iou"]


class Settings(NamedTuple):
    """What training and decoding agree on; see `object_detection`."""

    num_classes: int
    quality: str
    center_radius: float
    reach: float
    alpha: float
    gamma: float
    score_threshold: float
    iou_threshold: float
    candidates: int
    limit: int


class Locations(NamedTuple):
    """All locations of a pyramid, level after level.

    Attributes:
      center: [locations, 2] (row, column) in pixels.
      stride: [locations] pixels between neighbours of the level.
      least, most: [locations] the distances to a box's farthest side that the level is for.
    """

    center: np.ndarray
    stride: np.ndarray
    least: np.ndarray
    most: np.ndarray


def object_detection(
    model: nn.Module,
    *,
    num_classes: int,
    quality: Quality = "centerness",
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.25,
    center_radius: float = 1.5,
    reach: float = 8.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
    box_loss: float = 1.0,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.6,
    candidates: int = 200,
    limit: int = 50,
    names: Sequence[str] = (),
    batch_coupled: str | None = None,
) -> Any:
    """Trains the group "detector" in one phase, "train".

    Loss: `focal` over all locations and classes (Lin et al. 2017, arXiv:1708.02002) and `centerness` by cross-entropy,
    both per location that is assigned to a box, and `box` by 1 - GIoU, weighted by centerness. A location belongs to
    the smallest box whose centre is near, that contains it, and whose size its level is for.

    Args:
      model: `model(image [b, h, w, c] float, *, train) -> {"class_logits": ([b, hl, wl, classes], ...), "distances":
        ([b, hl, wl, 4], ...), "centerness": ([b, hl, wl], ...)}`, a tuple with an array for every level of the pyramid;
        distances (top, left, bottom, right) in pixels, positive.
      num_classes: how many classes; there is no class for the background.
      quality: what the model's `centerness` learns, by which scores are multiplied: how central a location is in its
        box, or the IoU of the box that it predicts (Wu et al. 2020, arXiv:1912.05992).
      mean, std: of `image / 255`; a number or one a channel.
      center_radius: a location is assigned within so many strides of the box's centre, down and sideways.
      reach: a level is for boxes whose farthest side is less than so many of its strides away and at least so many
        strides of the level before; the last level takes all that are larger.
      alpha, gamma: of the focal loss.
      box_loss: coefficient of the box term.
      score_threshold: candidates below are dropped; a score is sqrt(class probability * centerness).
      iou_threshold: of non-maximum suppression, within a class.
      candidates: boxes of the highest scores that suppression looks at.
      limit: boxes found in an image at most.
      names: of the classes; empty: those of the data set.
      batch_coupled: as in `image_classification`.

    Evaluation metrics: the three terms, and `map`, `map50`, `map75` by pycocotools, exact at any batch size.
    Predictions: `boxes` [batch, limit, 4] in pixels, `labels` int32 and `scores` [batch, limit], best first, score 0
    where there is no more box.

    Raises:
      UserError: an argument out of range.
    """
    if quality not in get_args(Quality):
        raise UserError(f"quality='{quality}'; {nearest(quality, get_args(Quality))}")
    if num_classes < 1:
        raise UserError(f"num_classes={num_classes}: must be at least 1")
    for name, value in (("score_threshold", score_threshold), ("iou_threshold", iou_threshold), ("alpha", alpha)):
        if not 0.0 <= value <= 1.0:
            raise UserError(f"{name}={value}: must lie between 0 and 1")
    if min(candidates, limit) < 1 or min(center_radius, reach) <= 0:
        raise UserError("candidates, limit, center_radius and reach must be positive")
    if names and len(names) != num_classes:
        raise UserError(f"names has {len(names)} class names, num_classes is {num_classes}")
    settings = Settings(
        num_classes, quality, center_radius, reach, alpha, gamma, score_threshold, iou_threshold, candidates, limit
    )
    normalize = functools.partial(normalize_images, mean=mean, std=std)
    loss = functools.partial(_loss, model, normalize, settings, box_loss)
    return FunctionTask(
        init=functools.partial(init_model, GROUP, model, normalize),
        phases=(Phase(name="train", trains=GROUP, loss=loss),),
        evaluate=functools.partial(_evaluate, model, normalize, settings),
        predict=functools.partial(_predict, model, normalize, settings),
        score=functools.partial(_score, num_classes),
        draw=_draw,
        illustrate=_illustrate,
        framing="pad",
        names={"box_label": tuple(names)} if names else {},
        batch_coupled=batch_coupling(model) if batch_coupled is None else batch_coupled,
    )


def locate(shape: Sequence[int], sizes: Sequence[Sequence[int]], reach: float) -> Locations:
    """The locations of a pyramid with levels of `sizes` (rows, columns) over an image of `shape` (height, width).

    Raises:
      UserError: the levels' strides are not growing powers of two.
    """
    parts, before = [], 0.0
    for number, (rows, columns) in enumerate(sizes):
        strides = [2 ** round(np.log2(whole / cut)) for whole, cut in zip(shape, (rows, columns))]
        stride = strides[0]
        if strides[1] != stride or stride <= before:
            raise UserError(f"levels of sizes {list(sizes)} are no pyramid over images of {shape}: strides must double")
        row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        center = (np.stack([row, column], axis=-1).reshape(-1, 2) + 0.5) * stride
        last = number == len(sizes) - 1
        bounds = (reach * before if number else 0.0, np.inf if last else reach * stride)
        parts.append((center, *(np.full(len(center), value) for value in (stride, *bounds))))
        before = stride
    return Locations(*(np.concatenate(column).astype(np.float32) for column in zip(*parts)))


class Targets(NamedTuple):
    """What each location of an image should say; [locations] each, `distances` [locations, 4].

    `label` is the class, and -1 where no box is assigned; the others mean nothing there.
    """

    label: Array
    distances: Array
    centerness: Array


def assign(locations: Locations, boxes: Array, label: Array, weight: Array, center_radius: float) -> Targets:
    """Which box each location of one image answers for.

    Args:
      boxes: [objects, 4].
      label: int32 [objects].
      weight: [objects], 0 on padding.
    """
    center = jnp.asarray(locations.center)[:, None]  # [locations, 1, 2]
    distances = jnp.concatenate([center - boxes[:, :2], boxes[:, 2:] - center], axis=-1)  # [locations, objects, 4]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = jnp.all(jnp.abs(center - middle) <= center_radius * locations.stride[:, None, None], axis=-1)
    farthest = distances.max(axis=-1)
    fits = (farthest >= locations.least[:, None]) & (farthest < locations.most[:, None])
    candidate = near & fits & (distances.min(axis=-1) > 0) & (weight > 0)
    owner = jnp.argmin(jnp.where(candidate, area(boxes), jnp.inf), axis=1)
    chosen = jnp.take_along_axis(distances, owner[:, None, None], axis=1)[:, 0]
    assigned = jnp.any(candidate, axis=1)
    chosen = jnp.where(assigned[:, None], chosen, 1.0)
    lesser, greater = jnp.minimum(chosen[:, :2], chosen[:, 2:]), jnp.maximum(chosen[:, :2], chosen[:, 2:])
    return Targets(jnp.where(assigned, label[owner], -1), chosen, jnp.sqrt(jnp.prod(lesser / greater, axis=-1)))


def to_boxes(locations: Locations, distances: Array) -> Array:
    """[..., locations, 4] distances (top, left, bottom, right) from the locations -> boxes of the same shape."""
    center = jnp.asarray(locations.center)
    return jnp.concatenate([center - distances[..., :2], center + distances[..., 2:]], axis=-1)


def flatten(outputs: Mapping[str, Sequence[Array]]) -> dict[str, Array]:
    """Levels joined: `class_logits` [b, locations, classes], `distances` [b, locations, 4], `centerness` likewise."""
    return {
        name: jnp.concatenate([level.reshape(level.shape[0], -1, *level.shape[3:]) for level in levels], axis=1)
        for name, levels in outputs.items()
    }


def detection_terms(
    settings: Settings, locations: Locations, outputs: Mapping[str, Array], batch: Mapping[str, Array]
) -> dict[str, tuple[Array, Array]]:
    """(sum, weight) of `focal`, `box` and `centerness` over a batch; outputs as `flatten` gives them."""
    targets: Targets = jax.vmap(lambda b, l, w: assign(locations, b, l, w, settings.center_radius))(
        batch["boxes"], batch["box_label"], batch["box_weight"]
    )
    weight = batch["weight"][:, None]
    positive = (targets.label >= 0) * weight
    truth = jax.nn.one_hot(targets.label, settings.num_classes)  # -1 is all zeros
    focal = optax.sigmoid_focal_loss(outputs["class_logits"], truth, alpha=settings.alpha, gamma=settings.gamma).sum(-1)
    found, there = to_boxes(locations, outputs["distances"]), to_boxes(locations, targets.distances)
    overlap = generalized_iou(found, there)
    quality = targets.centerness
    if settings.quality == "iou":
        quality = jax.lax.stop_gradient(intersection_over_union(found, there))
    central = optax.sigmoid_binary_cross_entropy(outputs["centerness"], quality)
    count = jnp.sum(positive)
    share = positive * targets.centerness
    return {
        "focal": (jnp.sum(weight * focal), count),
        "box": (jnp.sum(share * (1 - overlap)), jnp.sum(share)),
        "centerness": (jnp.sum(positive * central), count),
    }


def decode(settings: Settings, locations: Locations, shape: Sequence[int], outputs: Mapping[str, Array]) -> Any:
    """The boxes found: `boxes` [batch, limit, 4] inside the image of `shape`, `labels` and `scores` [batch, limit]."""
    probability = jax.nn.sigmoid(outputs["class_logits"]) * jax.nn.sigmoid(outputs["centerness"])[..., None]
    scores = jnp.sqrt(probability)
    scores = jnp.where(scores >= settings.score_threshold, scores, 0.0)
    bounds = jnp.array([*shape, *shape], jnp.float32)
    boxes = jnp.clip(to_boxes(locations, outputs["distances"]), 0.0, bounds)
    find = functools.partial(
        detections, threshold=settings.iou_threshold, candidates=settings.candidates, limit=settings.limit
    )
    return jax.vmap(find)(boxes, scores)


def _apply(
    model: nn.Module,
    normalize: Any,
    settings: Settings,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array | None = None,
) -> tuple[Locations, dict[str, Array], PyTree]:
    """The locations, the network's flat outputs, and the new variables; arguments as of `apply_model`."""
    outputs, variables = apply_model(GROUP, model, normalize, params, variables, batch, key)
    sizes = [tuple(level.shape[1:3]) for level in outputs["centerness"]]
    if outputs["class_logits"][0].shape[-1] != settings.num_classes:
        raise UserError(
            f"the model puts out {outputs['class_logits'][0].shape[-1]} classes, num_classes is {settings.num_classes}"
        )
    return locate(batch["image"].shape[1:3], sizes, settings.reach), flatten(outputs), variables


def _check(batch: Mapping[str, Array]) -> None:
    for name in ("boxes", "box_label", "box_weight"):
        if name not in batch:
            raise UserError(f"object detection needs '{name}' in the batch; it has {', '.join(sorted(batch))}")
    if batch["boxes"].ndim != 3 or batch["boxes"].shape[-1] != 4:
        raise UserError(f"boxes has shape {batch['boxes'].shape}: object detection needs [batch, objects, 4]")


def _loss(
    model: nn.Module,
    normalize: Any,
    settings: Settings,
    box_loss: float,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    _check(batch)
    locations, outputs, variables = _apply(model, normalize, settings, params, variables, batch, key)
    coefficients = {"focal": 1.0, "box": box_loss, "centerness": 1.0}
    sums = detection_terms(settings, locations, outputs, batch)
    return Outcome(
        terms={name: Term(*pair, coefficients[name]) for name, pair in sums.items()},
        variables=variables,
    )


def _evaluate(
    model: nn.Module,
    normalize: Any,
    settings: Settings,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> Evaluation:
    del key
    _check(batch)
    locations, outputs, _ = _apply(model, normalize, settings, params, variables, batch)
    found = decode(settings, locations, batch["image"].shape[1:3], outputs)
    truth = {name: batch[name] for name in ("boxes", "box_label", "box_weight", "box_crowd") if name in batch}
    records = {**truth, **{f"predicted_{name}": value for name, value in found.items()}}
    return Evaluation(detection_terms(settings, locations, outputs, batch), records)


def _predict(
    model: nn.Module,
    normalize: Any,
    settings: Settings,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> dict[str, Array]:
    del key
    locations, outputs, _ = _apply(model, normalize, settings, params, variables, batch)
    return decode(settings, locations, batch["image"].shape[1:3], outputs)


def _score(num_classes: int, records: Mapping[str, Any], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
    from jaxdl.metrics.detection import average_precision

    del metrics, names
    return average_precision(records, num_classes)


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """`detections`: up to 12 images, true boxes dashed, found ones solid."""
    from jaxdl.viz.detection import detection_grid

    del metrics
    shown = np.flatnonzero(np.asarray(batch["weight"]) > 0)[:12]
    chosen = {name: np.asarray(value)[shown] for name, value in {**batch, **_prefixed(outputs)}.items()}
    return {"detections": detection_grid(chosen, names.get("box_label", ()))}


def _illustrate(
    example: Mapping[str, Any], outputs: Mapping[str, Any], names: Mapping[str, Sequence[str]]
) -> np.ndarray:
    from jaxdl.viz.detection import detection_picture

    return detection_picture(np.asarray(example["image"]), outputs, names.get("box_label", ()))


def _prefixed(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {f"predicted_{name}": value for name, value in outputs.items()}
