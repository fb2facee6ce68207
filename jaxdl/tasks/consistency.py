"""Consistency distillation: a network learns to go in one step where its teacher goes in many.

After Song et al. 2023 (arXiv:2303.01469). The probability flow of a trained diffusion model takes a noisy image to one
without noise; the student says of an image anywhere on the way where the way ends. It learns so from pairs of
neighbouring levels: what it says at the lower one, which the teacher's flow reaches by one step of Heun's method, is
what it should say at the higher one.

The student is a diffusion model as in `jaxdl.tasks.diffusion`, with EDM's mixture as target: at sigma near 0 that is
the image itself, so the chain of levels has its end, and its first guess is the teacher's. It is evaluated, and makes
samples, as one, with the sampler "consistency".
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.decoding import diffusion_samplers as samplers
from jaxdl.decoding.noise_schedules import Karras, LogNormal
from jaxdl.errors import UserError
from jaxdl.tasks.diffusion import GROUP, Diffusion, diffusion
from jaxdl.tasks.parts import fid
from jaxdl.tasks.parts.bits_per_dim import wide
from jaxdl.tasks.parts.pixels import to_symmetric
from jaxdl.training.task import Array, Outcome, Phase, PyTree, Term, example_keys

TEACHER = "teacher"


def consistency_distillation(
    network: nn.Module,
    schedule: Karras,
    *,
    levels: int = 18,
    guidance: float = 1.0,
    deviation: float = 0.5,
    classes: int = 0,
    steps: int = 2,
    again: float = 0.8,
    fid_classifier: fid.FIDClassifier | None = None,
) -> Any:
    """Trains the group "denoiser", the student, in one phase, "train"; the group "teacher" stays as it is.

    Both groups should start from a trained model's "denoiser": `InitFromRun(run, {"denoiser": "denoiser", "teacher":
    "denoiser"})`. The term is the pseudo-Huber distance of the two answers, over the levels' distance
    (arXiv:2310.14189).

    Args:
      network: the teacher's, and the student's.
      schedule: of the levels: the teacher's `sampling`.
      levels: how many there are on the way, the least and the most among them.
      guidance: of the teacher, see `jaxdl.tasks.diffusion.diffusion`: the student learns what a guided model does.
      deviation, classes, fid_classifier: as the teacher's.
      steps: of sampling, 1 or a few.
      again: the noise that is added before the last of several steps.

    Evaluation and predictions: those of a diffusion model, but for bits/dim, which a student does not have.

    Raises:
      UserError: an argument out of range.
    """
    if levels < 2:
        raise UserError(f"levels={levels}: must be at least 2")
    if guidance != 1.0 and not classes:
        raise UserError(f"guidance={guidance} needs a network with classes")
    student = diffusion(
        network,
        schedule,
        LogNormal(),
        deviation=deviation,
        classes=classes,
        sampler="consistency",
        sampling=Karras(least=again, most=schedule.most, rho=schedule.rho),
        steps=steps,
        bound=False,
        fid_classifier=fid_classifier,
    )
    told = Diffusion(
        network, schedule, LogNormal(), "edm", "simple", deviation, classes, 0.0, False, schedule, fid_classifier
    )
    return dataclasses.replace(
        student,
        init=functools.partial(_init, student),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, told, levels, guidance)),),
    )


def _init(student: Any, key: Array, batch: Mapping[str, Array]) -> tuple[dict[str, PyTree], Mapping[str, PyTree]]:
    params, variables = student.init(key, batch)
    return {**params, TEACHER: jax.tree.map(jnp.copy, params[GROUP])}, variables


def _loss(
    told: Diffusion,
    levels: int,
    guidance: float,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    data, weight = to_symmetric(batch["image"]), batch["weight"]
    keys = jax.vmap(jax.random.split)(example_keys(key, batch))
    number = jax.vmap(lambda key: jax.random.randint(key, (), 1, levels))(keys[:, 0])
    sigmas = told.schedule.sigma(jnp.linspace(0.0, 1.0, levels))
    high, low = sigmas[number], sigmas[number - 1]
    noise = jax.vmap(lambda key: jax.random.normal(key, data.shape[1:]))(keys[:, 1])
    image = data + wide(high, data) * noise
    label = batch["label"] if told.classes else None
    below = jax.lax.stop_gradient(flow(_teacher(told, params[TEACHER], label, guidance), image, high, low))
    wanted = jax.lax.stop_gradient(told.denoise(params, below, low, label))
    given = told.denoise(params, image, high, label)
    errors = pseudo_huber(given - wanted) / (high - low)
    return Outcome({"distance": Term(jnp.sum(weight * errors), jnp.sum(weight))}, variables)


def pseudo_huber(difference: Array) -> Array:
    """sqrt(|d|^2 + c^2) - c of each example, [batch, ...] -> [batch], c = 0.00054 sqrt(numbers) (arXiv:2310.14189)."""
    flat = difference.reshape(len(difference), -1)
    c = 0.00054 * math.sqrt(flat.shape[1])
    return jnp.sqrt(jnp.sum(jnp.square(flat), axis=1) + c**2) - c


def _teacher(told: Diffusion, params: PyTree, label: Array | None, guidance: float) -> samplers.Denoise:
    """The teacher's denoiser, guided; sigma [batch]."""

    def denoiser(label: Array | None) -> samplers.Denoise:
        return lambda image, sigma, guess: told.denoise({GROUP: params}, image, sigma, label)

    if guidance == 1.0 or label is None:
        return denoiser(label)
    return samplers.guided(denoiser(label), denoiser(jnp.full_like(label, told.classes)), guidance)


def flow(denoise: samplers.Denoise, image: Array, high: Array, low: Array) -> Array:
    """One step of Heun's method down the probability flow, each example between levels of its own, [batch]."""
    guess = jnp.zeros_like(image)
    slope = (image - denoise(image, high, guess)) / wide(high, image)
    ahead = image + wide(low - high, image) * slope
    other = (ahead - denoise(ahead, low, guess)) / wide(low, image)
    return image + wide(low - high, image) * 0.5 * (slope + other)
