"""Instance segmentation by centres and offsets: the class-agnostic half of Panoptic-DeepLab (arXiv:1911.10194).

The model says of every pixel whether it belongs to an object, how near it is to an object's centre, and where the
centre of its own object is. A pixel belongs to the centre that is nearest to where it points.

Batches: `image` uint8 [batch, height, width, channels]; `instances` int32 [batch, height, width], 0 for the background,
else the object's number (numbers need not be contiguous); `weight` float32 [batch] (0 on padding), `index` [batch].
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.decoding.instances import group_image
from jaxdl.errors import UserError, nearest
from jaxdl.tasks.parts.apply import batch_coupling, init_model, normalize_images
from jaxdl.tasks.semantic_segmentation import check_labels, pixel_outputs, soft_dice
from jaxdl.training.task import Array, Evaluation, FunctionTask, Names, Outcome, Phase, PyTree, Term

GROUP = "segmenter"
# The coefficient of the heatmap's term: the mean squared error is tiny, since few pixels are near a centre.
HEATMAPS = {"focal": 1.0, "mse": 200.0}
# Added to the heatmap's logits: before training most pixels then are no centre, as it should be (arXiv:1708.02002).
HEATMAP_PRIOR = math.log(0.1 / 0.9)
# Records are int16, of half the size: the highest number that a label image may have.
HIGHEST = 32766


class Settings(NamedTuple):
    """What training and decoding agree on; see `instance_segmentation`."""

    limit: int
    sigma: float
    offset_scale: float
    window: int
    threshold: float
    max_centers: int
    min_pixels: int


class Maps(NamedTuple):
    """What a model says of an image, or of a batch with the batch's axis in front.

    Attributes:
      foreground: [h, w] logits of "belongs to an object".
      heatmap: [h, w] logits of "is an object's centre".
      offset: [h, w, 2] (down, right) in pixels, from the pixel to the centre of its object.
    """

    foreground: Array
    heatmap: Array
    offset: Array


Network = Callable[..., tuple[Maps, PyTree]]  # (params, variables, batch, key), as `pixel_outputs`
Terms = Callable[[Maps, Mapping[str, Array]], dict[str, Term]]


class Targets(NamedTuple):
    """What `Maps` should say, of a batch.

    Attributes:
      foreground: float32 [batch, h, w], 1 on objects.
      heatmap: float32 [batch, h, w] in [0, 1], 1 at the pixel nearest to a centre.
      offset: float32 [batch, h, w, 2] in pixels, 0 on the background.
      objects: float32 [batch] how many there are.
      valid: bool [batch], False where a number is negative or above the limit.
    """

    foreground: Array
    heatmap: Array
    offset: Array
    objects: Array
    valid: Array


def instance_segmentation(
    model: nn.Module,
    *,
    limit: int = 256,
    sigma: float = 2.0,
    offset_scale: float = 16.0,
    dice: float = 1.0,
    heatmap: str = "focal",
    heatmap_loss: float | None = None,
    offset_loss: float = 1.0,
    window: int = 7,
    threshold: float = 0.3,
    max_centers: int = 256,
    min_pixels: int = 10,
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.25,
    batch_coupled: str | None = None,
) -> Any:
    """Trains the group "segmenter" in one phase, "train".

    Terms: `cross_entropy` of the foreground, over pixels; `dice` of the foreground, over examples that have any (one
    minus the soft Dice coefficient, arXiv:1606.04797); `heatmap`, the penalty-reduced focal loss over objects (alpha 2,
    beta 4, arXiv:1808.01244) or the squared error over pixels; `offset`, the absolute error (down plus right, in units
    of `offset_scale`) over foreground pixels. A number that is negative or above `limit` makes the loss NaN, which
    stops a run; the evaluation names the example.

    Args:
      model: `model(image [batch, h, w, c] float, *, train) -> [batch, h, w, 4]`: the logit of the foreground, that of a
        centre (`HEATMAP_PRIOR` is added), and the offset to the centre down and right, in units of `offset_scale`.
      limit: the highest number that an object may have.
      sigma: standard deviation in pixels of the heatmap's Gaussian around a centre, cut off at 3 sigma.
      offset_scale: pixels that an offset of 1 stands for; about an object's radius.
      dice: coefficient of the Dice term; 0 leaves it out.
      heatmap: "focal" or "mse".
      heatmap_loss: coefficient of the heatmap term; None for 1 of "focal", 200 of "mse" (the paper's).
      offset_loss: coefficient of the offset term.
      window: pixels; a centre is the highest of the window x window pixels around it.
      threshold: a centre's probability is above.
      max_centers: the best so many are kept of an image's centres.
      min_pixels: smaller instances are dropped.
      mean, std: of `image / 255`; a number or one a channel.
      batch_coupled: as in `image_classification`.

    Evaluation metrics: each term as `<term>_loss`, and their weighted sum, `loss`; `ap50`, TP / (TP + FP + FN) of
    instances matched one to one at an IoU above 0.5, counts added up over all images: the definition of StarDist
    (arXiv:1806.03535) and the 2018 Data Science Bowl, not COCO's area under a curve; `ap`, its mean over IoU 0.50 to
    0.95 in steps of 0.05; `dice` of the foreground that instances cover; `count_error`, mean |predicted - true| of an
    image. Exact at any batch size.
    Predictions: `instances` int32 [batch, h, w], numbered from 1 by falling probability of the centre, 0 for the
    background; `score` float32 [batch, max_centers], of instance n at n - 1 (probability of its centre times the mean
    probability of its pixels), 0 where there is none; `count` int32 [batch].

    Raises:
      UserError: an argument out of range; when traced, `instances` or outputs of another size than the image; from the
        evaluation's score, an instance number out of range.
    """
    settings = Settings(limit, sigma, offset_scale, window, threshold, max_centers, min_pixels)
    if heatmap not in HEATMAPS:
        raise UserError(f"heatmap='{heatmap}': {nearest(heatmap, HEATMAPS)}")
    weights = (dice, HEATMAPS[heatmap] if heatmap_loss is None else heatmap_loss, offset_loss)
    _check(settings, weights, std)
    normalize = functools.partial(normalize_images, mean=mean, std=std)
    outputs = functools.partial(pixel_outputs, GROUP, model, normalize, 4)
    network = functools.partial(_maps, outputs, offset_scale)
    terms = functools.partial(_terms, settings, heatmap, weights)
    coefficients = {"cross_entropy": 1.0, **dict(zip(("dice", "heatmap", "offset"), weights))}
    return FunctionTask(
        init=functools.partial(init_model, GROUP, model, normalize),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, network, terms)),),
        evaluate=functools.partial(_evaluate, network, terms, settings),
        predict=functools.partial(_predict, network, settings),
        score=functools.partial(_score, limit, coefficients),
        draw=_draw,
        illustrate=_illustrate,
        framing="keep",
        batch_coupled=batch_coupling(model) if batch_coupled is None else batch_coupled,
    )


def _check(settings: Settings, weights: Sequence[float], std: float | Sequence[float]) -> None:
    for name in ("limit", "max_centers"):
        if not 1 <= getattr(settings, name) <= HIGHEST:
            raise UserError(f"{name}={getattr(settings, name)}: must be 1 to {HIGHEST}")
    if settings.window < 1 or settings.window % 2 == 0:
        raise UserError(f"window={settings.window}: must be odd and at least 1")
    if not 0.0 < settings.threshold < 1.0:
        raise UserError(f"threshold={settings.threshold}: must lie between 0 and 1")
    if min(settings.sigma, settings.offset_scale) <= 0 or settings.min_pixels < 1:
        raise UserError("sigma and offset_scale must be positive, and min_pixels at least 1")
    if min(weights) < 0:
        raise UserError("dice, heatmap_loss and offset_loss must be at least 0")
    if np.any(np.asarray(std) <= 0.0):
        raise UserError(f"std={std}: must be positive")


def _maps(outputs: Callable[..., tuple[Array, PyTree]], offset_scale: float, *inputs: Any) -> tuple[Maps, PyTree]:
    values, variables = outputs(*inputs)
    return Maps(values[..., 0], values[..., 1] + HEATMAP_PRIOR, values[..., 2:] * offset_scale), variables


def center_targets(instances: Array, *, limit: int, sigma: float) -> Targets:
    """The targets of label images [batch, h, w]; an object's centre is its centre of mass."""
    return jax.vmap(functools.partial(_image_targets, limit=limit, sigma=sigma))(instances)


def _image_targets(instances: Array, *, limit: int, sigma: float) -> Targets:
    height, width = instances.shape
    inside = (instances >= 0) & (instances <= limit)
    number = jnp.where(inside, instances, 0).astype(jnp.int32)
    rows, columns = jnp.indices((height, width))
    # In whole numbers sums have no order; counted from the image's middle they stay below 2^31 up to 2,500 x 2,500.
    middle = np.array([height // 2, width // 2])
    moments = jnp.stack([jnp.ones_like(rows), rows - middle[0], columns - middle[1]], axis=-1)
    sums = jax.ops.segment_sum(moments.reshape(-1, 3), number.reshape(-1), limit + 1)
    present = (sums[:, 0] > 0) & (jnp.arange(limit + 1) > 0)
    size = jnp.maximum(sums[:, :1], 1)
    center = sums[:, 1:] / size + middle
    foreground = (number > 0).astype(jnp.float32)
    offset = (center[number] - jnp.stack([rows, columns], axis=-1)) * foreground[..., None]
    # The nearest pixel in whole numbers, too: for centres halfway between two a quotient's rounding would decide.
    peak = (sums[:, 1:] + size // 2) // size + middle
    peaks = jnp.zeros((height, width)).at[peak[:, 0], peak[:, 1]].max(present.astype(jnp.float32))
    heatmap = _spread(_spread(peaks, sigma).T, sigma).T
    return Targets(foreground, heatmap, offset, jnp.sum(present).astype(jnp.float32), jnp.all(inside))


def _spread(peaks: Array, sigma: float) -> Array:
    """The maximum over Gaussians along axis 0 around every pixel, by its height; unrolled, it would compile slowly."""
    reach = math.ceil(3 * sigma)
    padded = jnp.pad(peaks, ((reach, reach), (0, 0)))
    gaussian = jnp.exp(-0.5 * jnp.square(jnp.arange(-reach, reach + 1) / sigma))

    def raised(shift: Array, highest: Array) -> Array:
        near = jax.lax.dynamic_slice_in_dim(padded, shift, len(peaks))
        return jnp.maximum(highest, gaussian[shift] * near)

    return jax.lax.fori_loop(0, len(gaussian), raised, jnp.zeros_like(peaks))


def _terms(
    settings: Settings, kind: str, weights: Sequence[float], maps: Maps, batch: Mapping[str, Array]
) -> dict[str, Term]:
    targets = center_targets(check_labels("instances", batch), limit=settings.limit, sigma=settings.sigma)
    weight, shape = batch["weight"], targets.foreground.shape
    # What has a number out of range cannot be learnt, and to leave it out would hide it. Padding may hold anything.
    poison = jnp.where((weight > 0) & ~targets.valid, jnp.nan, 1.0)

    def term(errors: Array, counted: Array, coefficient: float = 1.0) -> Term:
        return Term(jnp.sum(weight * poison * errors), jnp.sum(weight * counted), coefficient)

    pixels = jnp.full(shape[0], float(shape[1] * shape[2]))
    cross_entropy = jax.nn.softplus(maps.foreground) - targets.foreground * maps.foreground
    terms = {"cross_entropy": term(cross_entropy.sum((1, 2)), pixels)}
    if weights[0]:
        dice = soft_dice(jax.nn.sigmoid(maps.foreground)[..., None], targets.foreground[..., None])
        terms["dice"] = term(*dice, weights[0])
    if kind == "focal":
        terms["heatmap"] = term(_focal(maps.heatmap, targets.heatmap).sum((1, 2)), targets.objects, weights[1])
    else:
        errors = jnp.square(jax.nn.sigmoid(maps.heatmap) - targets.heatmap)
        terms["heatmap"] = term(errors.sum((1, 2)), pixels, weights[1])
    distance = jnp.abs(maps.offset - targets.offset).sum(-1) * targets.foreground / settings.offset_scale
    terms["offset"] = term(distance.sum((1, 2)), targets.foreground.sum((1, 2)), weights[2])
    return terms


def _focal(logits: Array, target: Array) -> Array:
    """The penalty-reduced focal loss (CornerNet, arXiv:1808.01244), alpha 2 and beta 4; positive where target is 1."""
    probability = jax.nn.sigmoid(logits)
    hit = jnp.square(1.0 - probability) * jax.nn.softplus(-logits)
    miss = (1.0 - target) ** 4 * jnp.square(probability) * jax.nn.softplus(logits)
    return jnp.where(target >= 1.0, hit, miss)


def group_pixels(maps: Maps, settings: Settings) -> tuple[Array, Array, Array]:
    """`instances`, `score` and `count` of `instance_segmentation`, from what a model says of a batch.

    An image without a centre has no instance, whatever its foreground.

    Raises:
      UserError: more centres than pixels.
    """
    pixels = int(np.prod(maps.heatmap.shape[1:]))
    if settings.max_centers > pixels:
        raise UserError(f"max_centers={settings.max_centers}: images have {pixels} pixels only; give a smaller number")
    options = {name: getattr(settings, name) for name in ("window", "threshold", "max_centers", "min_pixels")}
    return jax.vmap(functools.partial(group_image, **options))(*maps)


def _loss(
    network: Network,
    terms: Terms,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    maps, variables = network(params, variables, batch, key)
    return Outcome(terms=terms(maps, batch), variables=variables)


def _evaluate(
    network: Network,
    terms: Terms,
    settings: Settings,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> Evaluation:
    del key
    maps, _ = network(params, variables, batch)
    metrics = {f"{name}_loss": (term.sum, term.weight) for name, term in terms(maps, batch).items()}
    instances, _, _ = group_pixels(maps, settings)
    truth = check_labels("instances", batch)
    # All numbers out of range become one that is known to be, and fits.
    truth = jnp.where((truth < 0) | (truth > settings.limit), settings.limit + 1, truth)
    return Evaluation(metrics, {"predicted": instances.astype(jnp.int16), "true": truth.astype(jnp.int16)})


def _score(
    limit: int,
    coefficients: Mapping[str, float],
    records: Mapping[str, np.ndarray],
    metrics: Mapping[str, Any],
    names: Names,
) -> dict[str, float]:
    from jaxdl.metrics.segmentation import count_error, foreground_dice, instance_precision

    del names
    truths, predictions = records["true"], records["predicted"]
    wrong = np.flatnonzero((truths > limit).any(axis=(1, 2)))
    if len(wrong):
        raise UserError(
            f"the instances of example {wrong[0]} hold a number below 0 or above limit={limit}: renumber or raise limit"
        )
    precision = instance_precision(truths, predictions)
    losses = {name: metrics[f"{name}_loss"] for name in coefficients if f"{name}_loss" in metrics}
    return {
        # A term that nothing counts in (no object anywhere) adds nothing, as in training.
        "loss": sum(coefficients[name] * (0.0 if np.isnan(loss) else loss) for name, loss in losses.items()),
        "ap50": float(precision[0]),
        "ap": float(precision.mean()),
        "dice": foreground_dice(truths, predictions),
        "count_error": count_error(truths, predictions),
    }


def _predict(
    network: Network, settings: Settings, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    instances, score, count = group_pixels(network(params, variables, batch)[0], settings)
    return {"instances": instances, "score": score, "count": count}


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """`predictions`: up to 8 images, and the outlines of the true and of the predicted instances over them."""
    from jaxdl.viz.segmentation import instance_grid

    del metrics, names
    shown = np.flatnonzero(np.asarray(batch.get("weight", np.ones(len(batch["image"])))) > 0)[:8]
    truth = np.asarray(batch["instances"])[shown] if "instances" in batch else None
    grid = instance_grid(np.asarray(batch["image"])[shown], truth, np.asarray(outputs["instances"])[shown])
    return {"predictions": grid}


def _illustrate(
    example: Mapping[str, Any], outputs: Mapping[str, Any], names: Mapping[str, Sequence[str]]
) -> np.ndarray:
    """The image with the predicted instances tinted and outlined, and their number."""
    from jaxdl.viz.segmentation import instance_overlay

    del names
    return instance_overlay(np.asarray(example["image"]), np.asarray(outputs["instances"]))
