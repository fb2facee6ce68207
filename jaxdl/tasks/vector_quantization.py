"""Vector quantization: images as maps of codes (VQ-VAE, van den Oord et al. 2017, arXiv:1711.00937).

Batches: `image` uint8 [batch, height, width, channels], `weight` float32 [batch] (0 on padding), `index` [batch].
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.models.vqvae import Quantized
from jaxdl.tasks.parts.apply import batch_coupling
from jaxdl.tasks.parts.latent_walks import SHOWN
from jaxdl.tasks.parts.likelihood import Likelihood
from jaxdl.tasks.parts.pixels import unit_to_symmetric, unit_to_uint8
from jaxdl.tasks.variational_autoencoder import GROUP, Network
from jaxdl.training.task import (
    Array,
    Evaluation,
    FunctionTask,
    Names,
    Outcome,
    Phase,
    PyTree,
    Term,
    example_keys,
    module_key,
)


def vector_quantization(
    model: nn.Module, *, likelihood: Likelihood, commitment: float = 0.25, batch_coupled: str | None = None
) -> Any:
    """Trains the group "autoencoder" in one phase, "train".

    Terms: `reconstruction`, minus the log-likelihood of the image; `commitment`, the squared distance of the encoder's
    vectors from their codes. The codebook learns by a moving average, in `variables`.

    Args:
      model: `model(image [batch, h, w, c], weight [batch], step [], *, train) -> (output [batch, h, w, outputs],
        Quantized)`, such as `jaxdl.models.vqvae.VQVAE`; it sees what the likelihood observes, scaled to [-1, 1].
      likelihood: of the image, see `jaxdl.tasks.parts.likelihood`; `Gaussian` of a fixed deviation minimizes squares.
      commitment: coefficient of that term, beta in the paper.
      batch_coupled: as in `image_classification`. The codebook couples no examples within a step: what a batch changes
        in it counts from the next step on.

    Evaluation metrics: `loss`, minus the log-likelihood in nats an image; `mse` of the expected pixels, in [0, 1];
    `psnr`, of each image in dB, their mean; `commitment`; `perplexity`, exp of the entropy of all codes that were used,
    and `codes_used`, how many were; `bits`, an image's codes at that entropy.
    Predictions: `reconstruction` uint8 [batch, h, w, c]; `codes` int32 [batch, h', w']; `observed` uint8, what the
    model saw.

    Raises:
      UserError: an argument out of range; when traced, outputs of another shape.
    """
    if not 0.0 <= commitment < np.inf:
        raise UserError(f"commitment={commitment}: must be a number of at least 0")
    network = Network(model, likelihood)
    return FunctionTask(
        init=functools.partial(_init, network),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, network, commitment)),),
        evaluate=functools.partial(_evaluate, network),
        predict=functools.partial(_predict, network),
        score=_score,
        draw=functools.partial(_draw, getattr(model, "codes", 0)),
        illustrate=_illustrate,
        readable=_readable,
        batch_coupled=batch_coupling(model) if batch_coupled is None else batch_coupled,
    )


def _init(network: Network, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
    observed = network.observe(batch, example_keys(key, batch))
    collections = dict(network.model.init(key, unit_to_symmetric(observed), batch["weight"], jnp.int32(0), train=False))
    params = {GROUP: collections.pop("params")}
    return params, {GROUP: collections} if collections else {}


def _quantize(
    network: Network,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
    train: bool,
) -> tuple[Array, Array, Quantized, PyTree]:
    """What was observed, the model's outputs, the codes, and the new variables."""
    observed = network.observe(batch, example_keys(key, batch))
    rng = module_key(key, batch) if train else None
    arguments = (unit_to_symmetric(observed), batch["weight"], step)
    (output, quantized), variables = network.apply(params, variables, "__call__", *arguments, rng=rng)
    network.check(output, observed)
    return observed, output, quantized, variables


def _loss(
    network: Network,
    commitment: float,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    observed, output, quantized, variables = _quantize(network, params, variables, batch, key, step, True)
    weight = batch["weight"]
    total = jnp.sum(weight)
    log_likelihood = network.likelihood.log_likelihood(output, observed)
    return Outcome(
        terms={
            "reconstruction": Term(-jnp.sum(weight * log_likelihood), total),
            "commitment": Term(jnp.sum(weight * quantized.commitment), total, commitment),
        },
        variables=variables,
        metrics={"mse": (jnp.sum(weight * _squares(network, output, observed)), total)},
    )


def _squares(network: Network, output: Array, observed: Array) -> Array:
    """The mean squared error of each image's expected pixels, [batch]."""
    return jnp.mean(jnp.square(network.likelihood.mean(output) - observed), axis=(1, 2, 3))


def _evaluate(
    network: Network, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> Evaluation:
    observed, output, quantized, _ = _quantize(network, params, variables, batch, key, jnp.int32(0), False)
    weight = batch["weight"]
    squares = _squares(network, output, observed)
    values = {
        "loss": -network.likelihood.log_likelihood(output, observed),
        "mse": squares,
        "psnr": -10.0 * jnp.log10(jnp.maximum(squares, 1e-10)),
        "commitment": quantized.commitment,
        # How often an image uses each code.
        "usage": jax.nn.one_hot(quantized.index, network.model.codes).sum((1, 2)).T,
    }
    return Evaluation({name: (jnp.sum(weight * value, axis=-1), jnp.sum(weight)) for name, value in values.items()})


def _score(records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
    del records, names
    usage = np.asarray(metrics["usage"])
    shares = usage[usage > 0] / usage.sum()
    entropy = float(-np.sum(shares * np.log(shares)))
    bits = float(usage.sum()) * entropy / np.log(2.0)
    return {"perplexity": float(np.exp(entropy)), "codes_used": float(len(shares)), "bits": float(bits)}


def _predict(
    network: Network, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    observed, output, quantized, _ = _quantize(network, params, variables, batch, key, jnp.int32(0), False)
    return {
        "reconstruction": unit_to_uint8(network.likelihood.mean(output)),
        "codes": quantized.index,
        "observed": unit_to_uint8(observed),
    }


def _draw(
    codes: int, batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`reconstructions`: up to 12 images with their codes, as grey values, and what these give."""
    from jaxdl.viz import latent

    del metrics, names
    shown = np.flatnonzero(np.asarray(batch.get("weight", np.ones(len(batch["image"])))) > 0)[:SHOWN]
    image, own = np.asarray(batch["image"])[shown], {name: np.asarray(value)[shown] for name, value in outputs.items()}
    size = image.shape[1] // own["codes"].shape[1], image.shape[2] // own["codes"].shape[2]
    grey = (own["codes"] * (255 // max(codes - 1, 1))).clip(0, 255).astype(np.uint8)
    maps = np.broadcast_to(grey.repeat(size[0], 1).repeat(size[1], 2)[..., None], image.shape)
    rows = {"seen": own["observed"], "codes": maps, "reconstructed": own["reconstruction"]}
    return {"reconstructions": latent.rows_of_images(rows)}


def _illustrate(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> np.ndarray:
    """What the model saw of an image, and its reconstruction."""
    from jaxdl.viz import latent

    del example, names
    rows = {"seen": outputs["observed"], "reconstructed": outputs["reconstruction"]}
    return latent.rows_of_images({name: np.asarray(image)[None] for name, image in rows.items()})


def _readable(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> dict[str, Any]:
    del example, names
    return {"codes": np.asarray(outputs["codes"]).tolist()}
