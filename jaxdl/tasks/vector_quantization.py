"""Vector-quantized autoencoders: images as maps of codes (VQ-VAE, van den Oord et al. 2017, arXiv:1711.00937)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.models.vqvae import Quantized
from jaxdl.tasks.parts.apply import per_example
from jaxdl.tasks.parts.arguments import check_ranges
from jaxdl.tasks.parts.likelihood import Likelihood, check_outputs, observe
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import unit_to_symmetric, unit_to_uint8
from jaxdl.training.task import Array, Batch, Evaluation, Names, Outcome, PyTree, Term, example_keys
from jaxdl.viz.latent import VectorQuantizationPresentation


@dataclass(frozen=True, eq=False)
class VectorQuantization(ModelTask):
    """VQ-VAE, with a codebook that follows the encoder's vectors by a moving average.

    Trains the group "autoencoder" in one phase, "train". Terms (arXiv:1711.00937, equation 3): `reconstruction`, the
    negative log-likelihood; `commitment`, the squared distance of the encoder's vectors from their codes. The codebook
    is part of `variables`. The update of a batch applies from the next step on, so it does not couple examples.

    Batches: `image` uint8 [batch, h, w, c].

    Evaluation metrics: `loss`, the negative log-likelihood in nats per image; `mse` of the expected pixels in [0, 1];
    `psnr` in dB, the mean over images; `commitment`; `perplexity`, exp of the entropy of all codes; `codes_used`, the
    number of codes that occur; `bits`, the length of an image's codes at that entropy.

    Predictions: `reconstruction` uint8 [batch, h, w, c]; `codes` int32 [batch, h', w']; `observed` uint8
    [batch, h, w, c], the model's input.

    Attributes:
      model: `model(image [batch, h, w, c], weight [batch], step [], *, train) -> (output [batch, h, w, outputs],
        Quantized)`, such as `jaxdl.models.vqvae.VQVAE`. Its input is the observed image, scaled to [-1, 1].
      likelihood: Likelihood of the image. `Gaussian` with a fixed std minimizes the MSE.
      commitment: Coefficient of the commitment term, beta in the paper.

    Raises:
      UserError: An argument out of range, or, when traced, outputs of another shape.
    """

    group: ClassVar[str] = "autoencoder"

    likelihood: Likelihood
    commitment: float = 0.25

    def __post_init__(self):
        check_ranges(self, commitment="[0, inf)")

    @property
    def presentation(self) -> VectorQuantizationPresentation:
        return VectorQuantizationPresentation(getattr(self.model, "codes", 0))

    def init(self, key: Array, batch: Batch) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        image = unit_to_symmetric(observe(self.likelihood, batch, example_keys(key, batch)))
        return self.init_model(key, image, batch["weight"], jnp.int32(0))

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        (observed, output, quantized), variables = self._reconstruct(params, variables, batch, key, step)
        nll = -self.likelihood.log_likelihood(output, observed)
        return Outcome(
            terms={
                "reconstruction": Term(*per_example(batch, nll)),
                "commitment": Term(*per_example(batch, quantized.commitment), self.commitment),
            },
            variables=variables,
            metrics={"mse": per_example(batch, self._mse(output, observed))},
        )

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        (observed, output, quantized), _ = self._reconstruct(params, variables, batch, key)
        mse, weight = self._mse(output, observed), batch["weight"]
        usage = jax.nn.one_hot(quantized.index, self.model.codes).sum((1, 2)).T  # [codes, batch]
        return Evaluation(
            {
                "loss": per_example(batch, -self.likelihood.log_likelihood(output, observed)),
                "mse": per_example(batch, mse),
                "psnr": per_example(batch, -10.0 * jnp.log10(jnp.maximum(mse, 1e-10))),
                "commitment": per_example(batch, quantized.commitment),
                "usage": (jnp.sum(weight * usage, axis=-1), jnp.sum(weight)),
            }
        )

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        usage = np.asarray(metrics["usage"])
        shares = usage[usage > 0] / usage.sum()
        entropy = float(-np.sum(shares * np.log(shares)))
        bits = float(usage.sum()) * entropy / np.log(2.0)
        return {"perplexity": float(np.exp(entropy)), "codes_used": float(len(shares)), "bits": float(bits)}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        (observed, output, quantized), _ = self._reconstruct(params, variables, batch, key)
        return {
            "reconstruction": unit_to_uint8(self.likelihood.mean(output)),
            "codes": quantized.index,
            "observed": unit_to_uint8(observed),
        }

    def _reconstruct(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array | None = None
    ) -> tuple[tuple[Array, Array, Quantized], PyTree]:
        """Returns the observed image, the model's output and the codes, and the new variables; a step for training."""
        observed = observe(self.likelihood, batch, example_keys(key, batch))
        inputs = (unit_to_symmetric(observed), batch["weight"], jnp.int32(0) if step is None else step)
        dropout = None if step is None else key
        (output, quantized), variables = self.apply_model(params, variables, batch, dropout, *inputs)
        check_outputs(self.likelihood, output, observed)
        return (observed, output, quantized), variables

    def _mse(self, output: Array, observed: Array) -> Array:
        """Returns the MSE [batch] of the expected pixels."""
        return jnp.mean(jnp.square(self.likelihood.mean(output) - observed), axis=(1, 2, 3))
