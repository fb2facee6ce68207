"""Consistency distillation of diffusion models (Song et al. 2023, arXiv:2303.01469)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.decoding import diffusion_samplers as samplers
from jaxdl.decoding.noise_schedules import Karras, LogNormal
from jaxdl.tasks.diffusion import GROUP, Diffusion
from jaxdl.tasks.parts.apply import per_example
from jaxdl.tasks.parts.arguments import check_ranges
from jaxdl.tasks.parts.draws import standard_normal
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.pixels import to_symmetric
from jaxdl.tasks.parts.preconditioning import expand_like
from jaxdl.training.task import (
    Array,
    Batch,
    Evaluation,
    IdRange,
    Names,
    Outcome,
    Phase,
    PyTree,
    Task,
    Term,
    example_keys,
)
from jaxdl.viz.generation import DiffusionPresentation

TEACHER = "teacher"


@dataclass(frozen=True, eq=False)
class ConsistencyDistillation(Task):
    """Consistency distillation: a student that maps a noisy image to the end of its probability flow in one step.

    Trains the group "denoiser", the student, in one phase, "train"; the group "teacher" is frozen. Both start from a
    trained diffusion model: `InitFromRun(run, {"denoiser": "denoiser", "teacher": "denoiser"})`.

    Term: `distance`, the pseudo-Huber distance between the student's outputs at adjacent noise levels of a probability
    flow trajectory, over the distance of the levels (arXiv:2310.14189). One step of Heun's method with the teacher
    leads from the higher level to the lower one (arXiv:2303.01469, algorithm 2). The target is the student's output at
    the lower level, from its current parameters instead of their exponential moving average.

    The student is a `jaxdl.tasks.diffusion.Diffusion` with target "edm", which satisfies the boundary condition
    f(x, sigma_min) = x up to terms in sigma_min, and the sampler "consistency". Batches, evaluation metrics,
    predictions and samples are those of `Diffusion`, without `bits_per_dim`, which a student does not have.

    Attributes:
      network: The teacher's network, and the student's.
      schedule: Noise schedule of the levels, the teacher's `sampling`.
      levels: Number of noise levels, including sigma_min and sigma_max.
      guidance: Guidance scale of the teacher. 1: no guidance.
      guidance_interval: Noise levels (low, high] in sigma at which the teacher is guided. None: all levels.
      sigma_data: Standard deviation of the data, as the teacher's.
      classes: Number of classes, as the teacher's. 0: unconditional.
      steps: Sampling steps, 1 or a few.
      renoise_sigma: Noise level before the last of several sampling steps.
      fid_classifier: Trained classifier of the data's images for FID, see `jaxdl.tasks.parts.fid`. None: no FID.

    Raises:
      UserError: An argument out of range.
    """

    network: nn.Module
    schedule: Karras
    levels: int = 18
    guidance: float = 1.0
    guidance_interval: tuple[float, float] | None = None
    sigma_data: float = 0.5
    classes: int = 0
    steps: int = 2
    renoise_sigma: float = 0.8
    fid_classifier: FIDClassifier | None = None

    def __post_init__(self):
        check_ranges(self, levels="[2, inf)")
        _ = self.student  # raises on the other arguments

    @property
    def student(self) -> Diffusion:
        """The student as a diffusion model."""
        return Diffusion(
            self.network,
            self.schedule,
            LogNormal(),
            sigma_data=self.sigma_data,
            classes=self.classes,
            sampler="consistency",
            sampling=Karras(self.renoise_sigma, self.schedule.sigma_max, self.schedule.rho),
            steps=self.steps,
            guidance_interval=self.guidance_interval,  # only checked: students are not guided
            bits_per_dim=False,
            fid_classifier=self.fid_classifier,
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="train", trains=GROUP, loss=self.loss),)

    @property
    def presentation(self) -> DiffusionPresentation:
        return self.student.presentation

    def init(self, key: Array, batch: Batch) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        params, variables = self.student.init(key, batch)
        return {**params, TEACHER: jax.tree.map(jnp.copy, params[GROUP])}, variables

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        return self.student.id_ranges(params, variables, batch)

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        data, student = to_symmetric(batch["image"]), self.student
        keys = jax.vmap(jax.random.split)(example_keys(key, batch))
        number = jax.vmap(lambda key: jax.random.randint(key, (), 1, self.levels))(keys[:, 0])
        sigmas = self.schedule.sigma(jnp.linspace(0.0, 1.0, self.levels))
        high, low = sigmas[number], sigmas[number - 1]
        image = data + expand_like(high, data) * standard_normal(keys[:, 1], data.shape[1:])
        label = batch["label"] if self.classes else None
        image_low = jax.lax.stop_gradient(heun_step(self._teacher(params[TEACHER], label), image, high, low))
        target = jax.lax.stop_gradient(student.denoise(params, image_low, low, label))
        output = student.denoise(params, image, high, label)
        distance = pseudo_huber(output - target) / (high - low)
        return Outcome({"distance": Term(*per_example(batch, distance))}, variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        return self.student.evaluate(params, variables, batch, key)

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        return self.student.score(records, metrics, names)

    def sample(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        return self.student.sample(params, variables, batch, key)

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        return self.student.predict(params, variables, batch, key)

    def _teacher(self, params: PyTree, label: Array | None) -> samplers.Denoise:
        """Returns the teacher's denoiser with guidance; sigma [batch]."""

        def denoiser(label: Array | None) -> samplers.Denoise:
            return lambda image, sigma, previous: self.student.denoise({GROUP: params}, image, sigma, label)

        if self.guidance == 1.0 or label is None:
            return denoiser(label)
        conditional, unconditional = denoiser(label), denoiser(jnp.full_like(label, self.classes))
        if self.guidance_interval is None:
            return samplers.guided(conditional, unconditional, self.guidance)
        low, high = self.guidance_interval

        def denoise(image: Array, sigma: Array, previous: Array) -> Array:
            scale = jnp.where((low < sigma) & (sigma <= high), self.guidance, 1.0)
            return samplers.guided(conditional, unconditional, expand_like(scale, image))(image, sigma, previous)

        return denoise


def pseudo_huber(difference: Array) -> Array:
    """Returns the pseudo-Huber norm sqrt(|d|^2 + c^2) - c of differences [batch, ...] with d values, as [batch].

    c = 0.00054 sqrt(d) (arXiv:2310.14189, section 3.3).
    """
    flat = difference.reshape(len(difference), -1)
    c = 0.00054 * math.sqrt(flat.shape[1])
    return jnp.sqrt(jnp.sum(jnp.square(flat), axis=1) + c**2) - c


def heun_step(denoise: samplers.Denoise, image: Array, high: Array, low: Array) -> Array:
    """Integrates the probability flow ODE by one step of Heun's method, from sigma `high` to `low`, each [batch]."""
    previous = jnp.zeros_like(image)
    slope = (image - denoise(image, high, previous)) / expand_like(high, image)
    euler_step = image + expand_like(low - high, image) * slope
    slope_low = (euler_step - denoise(euler_step, low, previous)) / expand_like(low, image)
    return image + expand_like(low - high, image) * 0.5 * (slope + slope_low)
