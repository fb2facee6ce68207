"""Image restoration: an image is spoilt on purpose, and a network learns to bring the clean one back.

Denoising, inpainting, deblurring and super-resolution differ in their corruption alone, see
`jaxdl.tasks.parts.corruption`.

Batches: `image` uint8 [batch, height, width, channels], clean; `weight` float32 [batch] (0 on padding), `index`
[batch], from which every example's noise or holes are drawn: others at every training step, always the same in
evaluation.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError, nearest
from jaxdl.tasks.parts.apply import apply_model, batch_coupling, init_model, normalize_images
from jaxdl.tasks.parts.corruption import Corruption, Given, stored
from jaxdl.training.task import Array, Evaluation, FunctionTask, Names, Outcome, Phase, PyTree, Term, example_keys

GROUP = "restorer"
PICTURED = 8
LOSSES = {
    "mse": jnp.square,
    "mae": jnp.abs,
    "charbonnier": lambda error: jnp.sqrt(jnp.square(error) + 1e-6),  # arXiv:1710.01992: epsilon is 1e-3
}


def image_restoration(
    model: nn.Module,
    corruption: Corruption,
    *,
    loss: str = "mse",
    residual: bool = True,
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.25,
    batch_coupled: str | None = None,
) -> Any:
    """Trains the group "restorer" in one phase, "train": one term, over the values that are to be restored.

    The network sees `(image / 255 - mean) / std` of the spoilt image. Where pixels are missing it sees 0, and one more
    channel, 1 where a pixel is there and 0 where it is not; pixels that are there stay as they are, and only the others
    count in the loss.

    Args:
      model: `model(image [batch, h, w, c or c + 1] float, *, train) -> [batch, h, w, c]`; may keep batch statistics and
        draw from "dropout".
      corruption: how images are spoilt, such as `GaussianNoise(50)`.
      loss: of the difference to the clean image over 255 * std: "mse", "mae", or "charbonnier", a smooth "mae".
      residual: the network's output is added to the spoilt image (arXiv:1608.03981), instead of being the clean one.
      mean, std: of `image / 255`; a number or one a channel.
      batch_coupled: as in `image_classification`.

    Evaluation metrics: `loss`; of images rounded to 8 bits, each compared to its clean one and averaged: `psnr` (dB),
    `ssim`, and `psnr_corrupted`, the PSNR of the spoilt image, missing pixels filled with `mean`; where pixels may be
    missing also `psnr_missing`, on those alone. A PSNR above 60 dB counts as 60. For pictures, of the first 8 examples:
    `examples` uint8 [8, 3, h, w, c], clean, spoilt and restored, and `examples_known` uint8 [8, h, w, 1].

    Predictions: `restored` uint8 [batch, h, w, c]. Here `image` is the spoilt image itself: noise that is in it is
    taken away; pixels are missing where the corruption's `missing` says (white or transparent, by default); for
    `Downsampling` it is the small image, and `restored` is `factor` times as large.

    Raises:
      UserError: an argument out of range; when traced, a model whose output has another shape than the image.
    """
    if loss not in LOSSES:
        raise UserError(f"loss={loss!r}: {nearest(loss, LOSSES)}")
    if np.any(np.asarray(std) <= 0.0):
        raise UserError(f"std={std}: must be positive")
    restorer = Restorer(model, residual, mean, std)
    return FunctionTask(
        init=functools.partial(_init, restorer, corruption),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, restorer, corruption, loss)),),
        evaluate=functools.partial(_evaluate, restorer, corruption, loss),
        predict=functools.partial(_predict, restorer, corruption),
        score=_score,
        draw=_draw,
        illustrate=functools.partial(_illustrate, corruption),
        framing="keep",
        batch_coupled=batch_coupling(model) if batch_coupled is None else batch_coupled,
    )


@dataclass(frozen=True)
class Restorer:
    """A network, and what stands between it and images in 0..255; attributes as in `image_restoration`."""

    model: nn.Module
    residual: bool
    mean: float | Sequence[float]
    std: float | Sequence[float]

    def normal(self, image: Array) -> Array:
        return normalize_images(image, mean=self.mean, std=self.std)

    def inputs(self, given: Given) -> Array:
        """What the network sees, float32 [batch, h, w, c], with `known` behind the last channel if there is one."""
        image = self.normal(given.image)
        return image if given.known is None else jnp.concatenate([image * given.known, given.known], axis=-1)

    def filled(self, given: Given) -> Array:
        """The spoilt image, missing pixels filled with the mean: whole numbers in 0..255, float32 [batch, h, w, c]."""
        if given.known is None:
            return stored(given.image)
        fill = 255.0 * jnp.asarray(self.mean, jnp.float32)
        return stored(given.known * given.image + (1.0 - given.known) * fill)

    def __call__(
        self, params: PyTree, variables: PyTree, given: Given, batch: Mapping[str, Array], key: Array | None = None
    ) -> tuple[Array, PyTree]:
        """The restored image, normalized, float32 [batch, h, w, c]; and the new variables.

        Args:
          batch: for the draws inside the network.
          key: for training; None for evaluation.
        """
        inputs = self.inputs(given)
        batch = {**batch, "image": inputs}
        output, variables = apply_model(GROUP, self.model, _same, params, variables, batch, key)
        if output.shape != given.image.shape:
            raise UserError(f"the model gives {output.shape} for images of {given.image.shape}: make them equal")
        output, image = jnp.asarray(output, jnp.float32), inputs[..., : given.image.shape[-1]]
        if self.residual:
            output += image
        return output if given.known is None else image + (1.0 - given.known) * output, variables

    def denormal(self, image: Array) -> Array:
        """The inverse of `normal`: whole numbers in 0..255, uint8."""
        mean, std = (jnp.asarray(value, jnp.float32) for value in (self.mean, self.std))
        return stored(255.0 * (image * std + mean)).astype(jnp.uint8)


def _same(image: Array) -> Array:
    return image


def _spoil(corruption: Corruption, batch: Mapping[str, Array], key: Array) -> Given:
    given = corruption(example_keys(key, batch), batch["image"])
    if given.image.shape != batch["image"].shape:
        raise UserError(f"{corruption} makes {given.image.shape} of images of {batch['image'].shape}: keep their shape")
    return given


def _init(restorer: Restorer, corruption: Corruption, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
    seen = jax.eval_shape(lambda: restorer.inputs(_spoil(corruption, batch, key)))
    return init_model(GROUP, restorer.model, _same, key, {"image": jnp.zeros(seen.shape, seen.dtype)})


def _error(
    restorer: Restorer, loss: str, restored: Array, given: Given, batch: Mapping[str, Array]
) -> tuple[Array, Array]:
    """The loss added up over the values that are to be restored, and how many they are."""
    values = LOSSES[loss](restored - restorer.normal(batch["image"]))
    counted = jnp.ones_like(values) if given.known is None else jnp.broadcast_to(1.0 - given.known, values.shape)
    weight = batch["weight"]
    return jnp.sum(weight * jnp.sum(counted * values, (1, 2, 3))), jnp.sum(weight * jnp.sum(counted, (1, 2, 3)))


def _loss(
    restorer: Restorer,
    corruption: Corruption,
    loss: str,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    given = _spoil(corruption, batch, key)
    restored, variables = restorer(params, variables, given, batch, key)
    return Outcome({loss: Term(*_error(restorer, loss, restored, given, batch))}, variables)


def _evaluate(
    restorer: Restorer,
    corruption: Corruption,
    loss: str,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> Evaluation:
    given = _spoil(corruption, batch, key)
    restored, _ = restorer(params, variables, given, batch)
    records = {
        "clean": stored(jnp.asarray(batch["image"], jnp.float32)).astype(jnp.uint8),
        "given": restorer.filled(given).astype(jnp.uint8),
        "restored": restorer.denormal(restored),
    }
    if given.known is not None:
        records["known"] = given.known.astype(jnp.uint8)
    return Evaluation({"loss": _error(restorer, loss, restored, given, batch)}, records)


def _score(records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, Any]:
    from jaxdl.metrics.restoration import psnr, ssim

    del metrics, names
    clean, given, restored = (records[name] for name in ("clean", "given", "restored"))
    scores: dict[str, Any] = {
        "psnr": float(psnr(clean, restored).mean()),
        "psnr_corrupted": float(psnr(clean, given).mean()),
        "ssim": float(ssim(clean, restored).mean()),
        "examples": np.stack([clean[:PICTURED], given[:PICTURED], restored[:PICTURED]], axis=1),
    }
    if "known" in records:
        missing = records["known"] == 0
        found = psnr(clean, restored, missing)[missing.any((1, 2, 3))]
        scores["psnr_missing"] = float(found.mean()) if len(found) else float("nan")
        scores["examples_known"] = records["known"][:PICTURED]
    return scores


def _predict(
    restorer: Restorer,
    corruption: Corruption,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> dict[str, Array]:
    del key  # the image is spoilt already
    given = corruption.read(jnp.asarray(batch["image"]))
    return {"restored": restorer.denormal(restorer(params, variables, given, batch)[0])}


def _draw(batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names) -> dict:
    """`restored`: the first images of the evaluation, clean, as they were spoilt for it, and restored.

    What `predict` made of the batch is not shown: it took the clean images for spoilt ones.
    """
    from jaxdl.viz.restoration import restoration_grid

    del batch, outputs, names
    if "examples" not in metrics:
        return {}
    clean, given, restored = np.moveaxis(metrics["examples"], 1, 0)
    return {"restored": restoration_grid(clean, given, restored, metrics.get("examples_known"))}


def _illustrate(
    corruption: Corruption, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names
) -> np.ndarray:
    """The image as it was given, missing pixels in a colour, beside the restored one."""
    from jaxdl.viz.restoration import restoration_pair

    del names
    image, restored = np.asarray(example["image"]), np.asarray(outputs["restored"])
    given = jax.device_get(corruption.read(jnp.asarray(image[None])))
    # What framing added to the image lies at the bottom and the right.
    height, width = given.image.shape[1:3]
    known, restored = given.known, restored[:height, :width]
    return restoration_pair(image, restored, None if known is None else known[0])
