"""Image restoration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import float_outputs
from jaxdl.tasks.parts.arguments import check_choices
from jaxdl.tasks.parts.corruption import Corrupted, Corruption, quantize
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.task import Array, Batch, Evaluation, Names, Outcome, PyTree, Term, example_keys
from jaxdl.viz.restoration import SHOWN, RestorationPresentation

LOSSES = {
    "mse": jnp.square,
    "mae": jnp.abs,
    "charbonnier": lambda error: jnp.sqrt(jnp.square(error) + 1e-6),  # arXiv:1710.01992: epsilon is 1e-3
}


@dataclass(frozen=True, eq=False)
class ImageRestoration(ModelTask):
    """Supervised image restoration: denoising, inpainting, deblurring or super-resolution, by the corruption.

    The model's input is the normalized corrupted image. If pixels may be missing, they are 0 in the input, and the
    validity mask (1 at known pixels) is one more channel; known pixels are kept, and only missing ones are predicted.

    Trains the group "restorer" in one phase, "train", with one term over the predicted values, named after
    `pixel_loss`.

    Batches: `image` uint8 [batch, height, width, channels], clean. Corruptions are drawn per example: new ones at each
    training step, always the same ones in evaluation.

    Evaluation metrics: `loss`; for images rounded to 8 bits, each compared to its clean image and averaged: `psnr`
    (dB), `ssim`, and `psnr_corrupted`, the PSNR of the corrupted image with missing pixels filled with the mean; if
    pixels may be missing also `psnr_missing`, of missing pixels only. PSNR is clipped at 60 dB. For pictures, of the
    first 8 examples: `examples` uint8 [8, 3, h, w, c], clean, corrupted and restored, and `examples_known` uint8
    [8, h, w, 1].

    Predictions: `restored` uint8 [batch, h, w, c]. Here `image` is the corrupted image: its noise is removed, or pixels
    of the corruption's `missing` color (by default white or transparent) are filled in; with `Downsampling` it is the
    small image, and `restored` is `factor` times as large.

    Attributes:
      model: Model, `model(image [batch, h, w, c or c + 1] float, *, train) -> [batch, h, w, c]`. It may keep batch
        statistics and draw from "dropout".
      corruption: Corruption of the clean images, such as `GaussianNoise(50)`.
      pixel_loss: Loss of normalized values: "mse", "mae", or "charbonnier", a smooth "mae".
      residual: Whether the model's output is added to the corrupted image (arXiv:1608.03981).
      normalize: Normalization of the images.

    Raises:
      UserError: An unknown `pixel_loss`.
    """

    group: ClassVar[str] = "restorer"

    corruption: Corruption
    pixel_loss: str = "mse"
    residual: bool = True
    normalize: Normalize = field(default_factory=Normalize)

    def __post_init__(self):
        check_choices(self, pixel_loss=LOSSES)

    @property
    def presentation(self) -> RestorationPresentation:
        return RestorationPresentation(self.corruption.read)

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        inputs = jax.eval_shape(lambda: self._inputs(self._corrupt(batch, key)))
        return self.init_model(key, jnp.zeros(inputs.shape, inputs.dtype))

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        corrupted = self._corrupt(batch, key)
        restored, variables = self._restore(params, variables, corrupted, batch, key)
        return Outcome({self.pixel_loss: Term(*self._error(restored, corrupted, batch))}, variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        corrupted = self._corrupt(batch, key)
        restored, _ = self._restore(params, variables, corrupted, batch)
        records = {
            "clean": quantize(jnp.asarray(batch["image"], jnp.float32)).astype(jnp.uint8),
            "corrupted": self._filled(corrupted).astype(jnp.uint8),
            "restored": self._to_uint8(restored),
        }
        if corrupted.known is not None:
            records["known"] = corrupted.known.astype(jnp.uint8)
        return Evaluation({"loss": self._error(restored, corrupted, batch)}, records)

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, Any]:
        from jaxdl.metrics.restoration import psnr, ssim

        clean, corrupted, restored = (records[name] for name in ("clean", "corrupted", "restored"))
        scores: dict[str, Any] = {
            "psnr": float(psnr(clean, restored).mean()),
            "psnr_corrupted": float(psnr(clean, corrupted).mean()),
            "ssim": float(ssim(clean, restored).mean()),
            "examples": np.stack([clean[:SHOWN], corrupted[:SHOWN], restored[:SHOWN]], axis=1),
        }
        if "known" in records:
            missing = records["known"] == 0
            ratios = psnr(clean, restored, missing)[missing.any((1, 2, 3))]
            scores["psnr_missing"] = float(ratios.mean()) if len(ratios) else float("nan")
            scores["examples_known"] = records["known"][:SHOWN]
        return scores

    @property
    def packages(self) -> Mapping[str, str]:
        return {"skimage": "restoration"}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        corrupted = self.corruption.read(jnp.asarray(batch["image"]))
        return {"restored": self._to_uint8(self._restore(params, variables, corrupted, batch)[0])}

    def _corrupt(self, batch: Batch, key: Array) -> Corrupted:
        image = batch["image"]
        corrupted = self.corruption(example_keys(key, batch), image)
        if corrupted.image.shape != image.shape:
            raise UserError(
                f"{self.corruption} returns {corrupted.image.shape} for images {image.shape}; it must keep their shape"
            )
        return corrupted

    def _inputs(self, corrupted: Corrupted) -> Array:
        """Returns the model's input, float32 [batch, h, w, c]; its last channel is `known` if there is a mask."""
        image, known = self.normalize(corrupted.image), corrupted.known
        return image if known is None else jnp.concatenate([image * known, known], axis=-1)

    def _restore(
        self, params: PyTree, variables: PyTree, corrupted: Corrupted, batch: Batch, key: Array | None = None
    ) -> tuple[Array, PyTree]:
        """Returns the restored images, normalized, float32 [batch, h, w, c], and the new variables."""
        inputs = self._inputs(corrupted)
        output, variables = self.apply_model(params, variables, batch, key, inputs)
        output, image = float_outputs(output, *corrupted.image.shape), inputs[..., : corrupted.image.shape[-1]]
        if self.residual:
            output += image
        return output if corrupted.known is None else image + (1.0 - corrupted.known) * output, variables

    def _error(self, restored: Array, corrupted: Corrupted, batch: Batch) -> tuple[Array, Array]:
        """Returns the (sum, weight) of the loss over the predicted values."""
        values = LOSSES[self.pixel_loss](restored - self.normalize(batch["image"]))
        known, weight = corrupted.known, batch["weight"]
        counts = jnp.ones_like(values) if known is None else jnp.broadcast_to(1.0 - known, values.shape)
        return jnp.sum(weight * jnp.sum(counts * values, (1, 2, 3))), jnp.sum(weight * jnp.sum(counts, (1, 2, 3)))

    def _filled(self, corrupted: Corrupted) -> Array:
        """Returns the corrupted images with missing pixels filled with the mean, integers in [0, 255] as float32."""
        if corrupted.known is None:
            return quantize(corrupted.image)
        fill = 255.0 * jnp.asarray(self.normalize.mean, jnp.float32)
        return quantize(corrupted.known * corrupted.image + (1.0 - corrupted.known) * fill)

    def _to_uint8(self, image: Array) -> Array:
        """Returns uint8 images from normalized images."""
        return quantize(255.0 * self.normalize.inverse(image)).astype(jnp.uint8)
