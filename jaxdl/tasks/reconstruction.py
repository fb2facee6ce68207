"""Reconstruction: an image through a narrow code and back, by mean squared error.

Batches: `image` uint8 [batch, height, width, channels], `weight` float32 [batch] (0 on padding), `index` [batch].
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import apply_model, batch_coupling, init_model, normalize_images
from jaxdl.training.task import Array, Evaluation, FunctionTask, Outcome, Phase, PyTree, Term

GROUP = "autoencoder"


def reconstruction(
    model: nn.Module, *, mean: float | Sequence[float] = 0.5, std: float | Sequence[float] = 0.25
) -> Any:
    """Trains the group "autoencoder" in one phase, "train": term `mse`, of `image / 255`.

    Args:
      model: with `encode(image [batch, h, w, c] float, *, train) -> code [batch, code]` and `decode(code, *, train) ->
        [batch, h, w, c]`, one after the other in `__call__`, in normalized units; such as `ConvAutoencoder`.
      mean: of `image / 255`, subtracted; a number or one a channel.
      std: of `image / 255`, divided by; a number or one a channel.

    Evaluation metrics: `mse` and `mae`, mean squared and absolute error of `image / 255` over all pixels and channels,
    before rounding to whole gray levels; `psnr`, in dB, the mean of the images' own (-10 log10 of their `mse`, which
    counts as 1e-10 if it is less).
    Predictions: `reconstruction` uint8 [batch, height, width, channels], `latents` float32 [batch, code], `mse` float32
    [batch].

    Raises:
      UserError: std is not positive; when traced, a model that gives another shape.
    """
    if np.any(np.asarray(std) <= 0.0):
        raise UserError(f"std={std}: must be positive")
    normalize = functools.partial(normalize_images, mean=mean, std=std)

    def denormalize(image: Array) -> Array:
        return image * np.asarray(std, np.float32) + np.asarray(mean, np.float32)

    return FunctionTask(
        init=functools.partial(init_model, GROUP, model, normalize),
        phases=(Phase("train", GROUP, functools.partial(_loss, model, normalize, denormalize)),),
        evaluate=functools.partial(_evaluate, model, normalize, denormalize),
        predict=functools.partial(_predict, model, normalize, denormalize),
        draw=_draw,
        illustrate=_illustrate,
        readable=_readable,
        batch_coupled=batch_coupling(model),
    )


def _errors(made: Array, batch: Mapping[str, Array]) -> Array:
    """[batch, h, w, c] the reconstruction's error in units of `image / 255`."""
    image = batch["image"].astype(jnp.float32) / 255.0
    if made.shape != image.shape:
        raise UserError(f"the model gives {made.shape}: the task needs the image again, {image.shape}")
    return made.astype(jnp.float32) - image


def _means(values: Array) -> Array:
    return values.reshape(values.shape[0], -1).mean(1)


def _loss(
    model: nn.Module,
    normalize: Callable[[Array], Array],
    denormalize: Callable[[Array], Array],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    made, variables = apply_model(GROUP, model, normalize, params, variables, batch, key)
    squares = _means(jnp.square(_errors(denormalize(made), batch)))
    weight = batch["weight"]
    return Outcome({"mse": Term(jnp.sum(weight * squares), jnp.sum(weight))}, variables)


def _evaluate(
    model: nn.Module,
    normalize: Callable[[Array], Array],
    denormalize: Callable[[Array], Array],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> Evaluation:
    del key
    errors = _errors(denormalize(apply_model(GROUP, model, normalize, params, variables, batch)[0]), batch)
    squares = _means(jnp.square(errors))
    each = {
        "mse": squares,
        "mae": _means(jnp.abs(errors)),
        "psnr": -10.0 * jnp.log10(jnp.maximum(squares, 1e-10)),
    }
    weight = batch["weight"]
    return Evaluation({name: (jnp.sum(weight * value), jnp.sum(weight)) for name, value in each.items()})


def _predict(
    model: nn.Module,
    normalize: Callable[[Array], Array],
    denormalize: Callable[[Array], Array],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> dict[str, Array]:
    del key

    def there_and_back(model: Any, image: Array) -> tuple[Array, Array]:
        code = model.encode(image, train=False)
        return code, model.decode(code, train=False)

    inputs = {"params": params[GROUP], **variables.get(GROUP, {})}
    latents, made = nn.apply(there_and_back, model)(inputs, normalize(jnp.asarray(batch["image"])))
    made = denormalize(made)
    pixels = jnp.round(jnp.clip(made, 0.0, 1.0) * 255.0).astype(jnp.uint8)
    squares = _means(jnp.square(_errors(made, batch)))
    return {"reconstruction": pixels, "latents": latents.astype(jnp.float32), "mse": squares}


def _readable(example: Any, outputs: Mapping[str, Any], names: Any) -> dict[str, Any]:
    """`mse` and `latents`, the image's code, to six digits."""
    del example, names
    return {
        "mse": float(f"{float(outputs['mse']):.6g}"),
        "latents": [float(f"{value:.6g}") for value in np.asarray(outputs["latents"])],
    }


def _draw(batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Any, names: Any) -> dict[str, np.ndarray]:
    """`reconstructions`: up to 24 images, each beside what came back."""
    from jaxdl.viz.anomaly import reconstruction_pairs

    del metrics, names
    shown = np.flatnonzero(np.asarray(batch.get("weight", np.ones(len(batch["image"])))) > 0)
    pairs = (np.asarray(tree)[shown] for tree in (batch["image"], outputs["reconstruction"]))
    return {"reconstructions": reconstruction_pairs(*pairs)}


def _illustrate(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Any) -> np.ndarray:
    from jaxdl.viz.anomaly import reconstruction_pairs

    del names
    return reconstruction_pairs(np.asarray(example["image"])[None], np.asarray(outputs["reconstruction"])[None])
