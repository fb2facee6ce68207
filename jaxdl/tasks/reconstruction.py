"""Image reconstruction."""

from dataclasses import dataclass, field
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.tasks.parts.apply import example_means, float_outputs, per_example
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import Normalize, unit_to_uint8
from jaxdl.training.task import Array, Batch, Evaluation, Outcome, PyTree, Term
from jaxdl.viz.reconstruction import ReconstructionPresentation


@dataclass(frozen=True, eq=False)
class Reconstruction(ModelTask):
    """Reconstruction of images by an autoencoder with MSE.

    Trains the group "autoencoder" in one phase, "train", with the term `mse` of `image / 255`.

    Batches: `image` uint8 [batch, height, width, channels].

    Evaluation metrics: `mse` and `mae` of `image / 255` over all pixels and channels, without rounding; `psnr` in dB,
    the mean over images of -10 log10 of their `mse`, which is clipped below at 1e-10.

    Predictions: `reconstruction` uint8 [batch, height, width, channels], `latents` float32 [batch, code], and `mse`
    float32 [batch].

    Attributes:
      model: Autoencoder of normalized images with `encode(image [batch, h, w, c] float, *, train) -> [batch, code]` and
        `decode(code, *, train) -> [batch, h, w, c]`; `__call__` applies both. For example `ConvAutoencoder`.
      normalize: Normalization of the images.
    """

    group: ClassVar[str] = "autoencoder"
    presentation = ReconstructionPresentation()

    normalize: Normalize = field(default_factory=Normalize)

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return self.init_model(key, self.normalize(jnp.asarray(batch["image"])))

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        output, variables = self.apply_model(params, variables, batch, key, self.normalize(batch["image"]))
        mse = example_means(jnp.square(_errors(self.normalize.inverse(output), batch)))
        return Outcome({"mse": Term(*per_example(batch, mse))}, variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        output, _ = self.apply_model(params, variables, batch, None, self.normalize(batch["image"]))
        errors = _errors(self.normalize.inverse(output), batch)
        mse = example_means(jnp.square(errors))
        return Evaluation(
            {
                "mse": per_example(batch, mse),
                "mae": per_example(batch, example_means(jnp.abs(errors))),
                "psnr": per_example(batch, -10.0 * jnp.log10(jnp.maximum(mse, 1e-10))),
            }
        )

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        def encode_and_decode(model: nn.Module, image: Array) -> tuple[Array, Array]:
            latents = model.encode(image, train=False)
            return latents, model.decode(latents, train=False)

        image = self.normalize(jnp.asarray(batch["image"]))
        latents, output = nn.apply(encode_and_decode, self.model)(self.collections(params, variables), image)
        output = self.normalize.inverse(output)
        return {
            "reconstruction": unit_to_uint8(jnp.clip(output, 0.0, 1.0)),
            "latents": latents.astype(jnp.float32),
            "mse": example_means(jnp.square(_errors(output, batch))),
        }


def _errors(output: Array, batch: Batch) -> Array:
    """Returns the errors of images in [0, 1], [batch, h, w, c]."""
    image = batch["image"].astype(jnp.float32) / 255.0
    return float_outputs(output, *image.shape) - image
