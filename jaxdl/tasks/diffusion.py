"""Diffusion models and flow matching."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.decoding import diffusion_samplers as samplers
from jaxdl.decoding.noise_schedules import NoiseLevels, Schedule
from jaxdl.errors import UserError
from jaxdl.tasks.parts import fid
from jaxdl.tasks.parts.apply import apply_module, init_module, per_example
from jaxdl.tasks.parts.arguments import check_choices, check_ranges, require_features
from jaxdl.tasks.parts.bits_per_dim import MAX_SIGMA_MIN, variational_bound
from jaxdl.tasks.parts.draws import fold_keys, standard_normal
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.latent_walks import slerp
from jaxdl.tasks.parts.pixels import symmetric_to_uint8, to_symmetric
from jaxdl.tasks.parts.preconditioning import TARGETS, WEIGHTINGS, c_in, c_noise, expand_like
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
    module_key,
)
from jaxdl.viz.generation import DiffusionPresentation

GROUP = "denoiser"
BANDS = 5  # of noise levels in the evaluation, with equal shares of the training images
STRIP = 8  # images of a trajectory
SAMPLERS = {
    "ancestral": samplers.ancestral,
    "ddim": samplers.ddim,
    "euler": samplers.euler,
    "heun": samplers.heun,
    "dpm_solver": samplers.dpm_solver,
    "consistency": samplers.consistency,
}
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Diffusion(Task):
    """Diffusion model or flow matching: a denoiser, trained by denoising score matching, and a sampler.

    A noisy image is x = y + sigma * n with data y in [-1, 1] and n ~ N(0, I); see `jaxdl.decoding.noise_schedules` for
    the relation to DDPM, EDM and flow matching. The prediction target, the loss weighting and the distribution of noise
    levels are independent choices.

    Trains the group "denoiser" in one phase, "train". Term: `error`, the weighted MSE of the network's output.

    Batches: `image` uint8 [batch, h, w, c]; `label` int32 [batch] for class-conditional models; `embedding` float32
    [batch, embedding] for models of embeddings, and `label` for `label_accuracy`.

    Evaluation metrics: `loss`; `loss_1` to `loss_5`, the loss on each fifth of the noise levels in training, the least
    noisy first; `bits_per_dim`, the variational bound on the negative log-likelihood of 8-bit images, from one noise
    level per example (arXiv:2107.00630). With an FID classifier also the metrics of `jaxdl.tasks.parts.fid.score`, from
    one sample per real image with the same label, and, for conditional models, `label_accuracy`, the share of samples
    that the FID classifier assigns to their label.

    Predictions and samples: `image` uint8 [batch, h, w, c]; `strip` uint8 [batch, 8, h, w, c], the denoiser's output
    along the trajectory, the noisiest first; `label` of conditional models. Predictions of models without embeddings
    also: `noised` uint8 [batch, 8, h, w, c], the real image at increasing noise levels.

    Attributes:
      network: F(x; c_noise), `network(image [batch, h, w, c], level [batch], condition, *, train) -> [batch, h, w, c]`,
        such as `jaxdl.models.ddpm_unet.DiffusionUNet`. The condition is a label int32 [batch], an embedding [batch, n]
        or None. Label `classes` stands for no label, a vector of zeros for no embedding. Inputs are images of unit
        variance, with twice the channels if `self_condition`, and 100 ln(sigma).
      schedule: Noise schedule sigma(t).
      noise_levels: Distribution of noise levels in training.
      target: What the network predicts: "noise", "data", "v", "velocity" or "edm", see
        `jaxdl.tasks.parts.preconditioning.TARGETS`.
      weighting: Weighting of its squared error: "simple" (uniform); "min_snr", "edm" and "velocity" weight the squared
        error of the denoised image by min(1 / sigma^2, 5), by 1 / sigma^2 + 1 / sigma_data^2 and by
        (1 + 1 / sigma)^2. Equal to "simple": "edm" with target "edm", "velocity" with target "velocity".
      sigma_data: Standard deviation of the data in [-1, 1].
      classes: Number of classes of class-conditional models. 0: no classes.
      embedding: Size of the embeddings, such as of texts, on which the network is conditional. 0: no embeddings.
      drop_label: Share of training images without label or embedding, for classifier-free guidance.
      self_condition: Self-conditioning (arXiv:2208.04202): the denoiser's previous output is an input of the network, 0
        at first. In training half of the images use the output of a first pass.
      sampler: "ancestral", "ddim", "euler", "heun", "dpm_solver", or "consistency" for consistency models.
      sampling: Noise schedule of sampling, at equidistant times and then 0. None: `schedule`.
      steps: Sampling steps.
      guidance: Guidance scale of conditional models. 1: no guidance; other values evaluate the network twice per step.
      guidance_interval: Noise levels (low, high] in sigma that are guided (arXiv:2404.07724). At other levels the
        network is evaluated once, with its label. None: all levels.
      interpolate: Number of images per row of `predict --samples`, along the spherical interpolation between two noise
        images. 0: independent samples.
      edit: Time in [0, 1] up to which `predict` adds noise to its input image before it denoises it without label
        (SDEdit, arXiv:2108.01073). 0: `predict` samples from noise and takes no input image.
      inpaint: Region (top, left, bottom, right) of the input image, in shares of height and width, that `predict`
        inpaints, see `jaxdl.decoding.diffusion_samplers.inpaint`. None: no inpainting.
      bits_per_dim: Evaluate `bits_per_dim`.
      fid_classifier: Trained classifier of the data's images for FID, see `jaxdl.tasks.parts.fid`. None: the evaluation
        does not sample.

    Raises:
      UserError: An argument out of range, or, when traced, a network with other variables than parameters.
    """

    network: nn.Module
    schedule: Schedule
    noise_levels: NoiseLevels
    target: str = "edm"
    weighting: str = "simple"
    sigma_data: float = 0.5
    classes: int = 0
    embedding: int = 0
    drop_label: float = 0.1
    self_condition: bool = False
    sampler: str = "dpm_solver"
    sampling: Schedule | None = None
    steps: int = 20
    guidance: float = 1.0
    guidance_interval: tuple[float, float] | None = None
    interpolate: int = 0
    edit: float = 0.0
    inpaint: Box | None = None
    bits_per_dim: bool = True
    fid_classifier: FIDClassifier | None = None

    def __post_init__(self):
        check_choices(self, target=TARGETS, weighting=WEIGHTINGS, sampler=SAMPLERS)
        check_ranges(self, steps="[1, inf)", sigma_data="(0, inf)", drop_label="[0, 1]", edit="[0, 1]")
        if self.interpolate < 0 or self.interpolate == 1:
            raise UserError(f"interpolate={self.interpolate} must be at least 2 images per row, or 0")
        if self.inpaint is not None:
            top, left, bottom, right = self.inpaint
            if self.edit or not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
                raise UserError(
                    f"inpaint={self.inpaint} must be shares with 0 <= top < bottom <= 1 and 0 <= left < right <= 1, and"
                    " edit=0"
                )
        if self.bits_per_dim and self.schedule.sigma_min > MAX_SIGMA_MIN:
            raise UserError(
                f"bits_per_dim needs schedule.sigma_min to be at most {MAX_SIGMA_MIN:.3f}, not"
                f" {self.schedule.sigma_min}; lower it, or set bits_per_dim=False"
            )
        if self.classes and self.embedding:
            raise UserError(f"classes={self.classes} and embedding={self.embedding} exclude each other; set one to 0")
        if self.guidance != 1.0 and not (self.classes or self.embedding):
            raise UserError(
                f"guidance={self.guidance} needs a conditional network; set classes or embedding, or guidance=1"
            )
        if self.guidance_interval is not None:
            low, high = self.guidance_interval
            if not 0 <= low < high:
                raise UserError(f"guidance_interval={self.guidance_interval} must be noise levels with 0 <= low < high")

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="train", trains=GROUP, loss=self.loss),)

    @property
    def presentation(self) -> DiffusionPresentation:
        return DiffusionPresentation("crop" if self.edit or self.inpaint else None)

    def init(self, key: Array, batch: Batch) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        image = to_symmetric(batch["image"][:1])
        condition = self._no_condition(1) if self.classes or self.embedding else None
        keys = jax.random.split(key)
        inputs = jnp.concatenate([image, image], axis=-1) if self.self_condition else image
        params, variables = init_module(GROUP, self.network, keys[0], inputs, jnp.zeros(1), condition)
        if variables:
            raise UserError(
                f"{type(self.network).__name__} has the variables {', '.join(variables[GROUP])}, but diffusion supports"
                " networks with parameters only; use another norm"
            )
        if self.fid_classifier is not None:
            frozen, variables = self.fid_classifier.init(keys[1], batch["image"][:1])
            params = {**params, **frozen}
        return params, variables

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        return [IdRange("label", self.classes, "task.classes")] if self.classes else []

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        errors, _ = self._errors(params, batch, key, train=True)
        return Outcome({"error": Term(*per_example(batch, errors))}, variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        errors, quantile = self._errors(params, batch, jax.random.fold_in(key, 0), train=False)
        metrics = {"loss": per_example(batch, errors)}
        for band in range(BANDS):
            member = batch["weight"] * (jnp.floor(quantile * BANDS) == band)
            metrics[f"loss_{band + 1}"] = (jnp.sum(member * errors), jnp.sum(member))
        if self.bits_per_dim:
            metrics["bits_per_dim"] = per_example(batch, self._bound(params, batch, jax.random.fold_in(key, 1)))
        if self.fid_classifier is None:
            return Evaluation(metrics)
        image = self._generate(params, batch, jax.random.fold_in(key, 2)).image
        generated = symmetric_to_uint8(image).astype(jnp.float32)
        records = self.fid_classifier.records(params, variables, batch["image"], generated)
        if self.classes or self.embedding:
            require_features(batch, "label")
            metrics["label_accuracy"] = per_example(batch, records["generated_label"] == batch["label"])
        return Evaluation(metrics, records)

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        return fid.score(records) if records else {}

    def sample(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        trajectory = self._generate(params, batch, jax.random.fold_in(key, 2), interpolate=self.interpolate)
        return {**_trajectory_images(trajectory), **({"label": batch["label"]} if self.classes else {})}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        data = to_symmetric(batch["image"])
        inputs: dict[str, Any] = {"start": data, "time": self.edit} if self.edit else {}
        if self.inpaint:
            inputs = {"start": data, "known": ~_box_mask(self.inpaint, data.shape[1:3])}
        trajectory = self._generate(params, batch, jax.random.fold_in(key, 2), **inputs)
        sigmas = (self.sampling or self.schedule).sigma(jnp.linspace(0.0, 1.0, STRIP))
        noise = standard_normal(example_keys(jax.random.fold_in(key, 3), batch), data.shape[1:])
        # At the variance of the data, as the variance-preserving process: brighter images would be clipped.
        noised = [(data + sigma * noise) / jnp.sqrt(1.0 + jnp.square(sigma / self.sigma_data)) for sigma in sigmas]
        outputs = _trajectory_images(trajectory)
        if not self.embedding:  # `predict --text` has no real image
            outputs["noised"] = symmetric_to_uint8(jnp.stack(noised, axis=1))
        return {**outputs, **({"label": batch["label"]} if self.classes and not inputs else {})}

    def denoise(
        self, params: PyTree, image: Array, sigma: Array, label: Array | None, previous: Array | None = None
    ) -> Array:
        """Returns the denoised image D(x; sigma).

        Args:
          params: Parameters by group.
          image: x, [batch, h, w, c].
          sigma: [batch].
          label: int32 [batch] or an embedding [batch, n], or None for unconditional models.
          previous: Previous output of the denoiser, for self-conditioning. None: 0.
        """
        c_skip, c_out = TARGETS[self.target](sigma, self.sigma_data)
        output = self._network_output(params, image, sigma, label, previous)
        return expand_like(c_skip, image) * image + expand_like(c_out, image) * output

    def _condition(self, batch: Batch) -> Array | None:
        """Returns the labels or embeddings of a batch; None for unconditional models."""
        if not self.embedding:
            return batch["label"] if self.classes else None
        require_features(batch, "embedding", source="jaxdl.features.text_embeddings.TextConditioned")
        size = batch["embedding"].shape[-1]
        if size != self.embedding:
            raise UserError(f"the data have embeddings of size {size}; set embedding={size}, not {self.embedding}")
        return batch["embedding"]

    def _no_condition(self, count: int) -> Array:
        """Returns the input of a conditional network that stands for no condition, [count] or [count, embedding]."""
        return jnp.zeros((count, self.embedding)) if self.embedding else jnp.full(count, self.classes)

    def _network_output(
        self,
        params: PyTree,
        image: Array,
        sigma: Array,
        label: Array | None,
        previous: Array | None,
        key: Array | None = None,
    ) -> Array:
        """Returns F(c_in * x; c_noise); `key` for dropout, in training only."""
        inputs = expand_like(c_in(sigma, self.sigma_data), image) * image
        if self.self_condition:
            inputs = jnp.concatenate([inputs, jnp.zeros_like(inputs) if previous is None else previous], axis=-1)
        return apply_module(GROUP, self.network, params, {}, inputs, c_noise(sigma), label, key=key)[0]

    def _errors(self, params: PyTree, batch: Batch, key: Array, train: bool) -> tuple[Array, Array]:
        """Returns weighted MSEs [batch] and the quantiles [batch] of their noise levels."""
        data = to_symmetric(batch["image"])
        keys = jax.vmap(lambda key: jax.random.split(key, 4))(example_keys(jax.random.fold_in(key, 0), batch))
        quantile = jax.vmap(lambda key: jax.random.uniform(key, minval=1e-6, maxval=1.0 - 1e-6))(keys[:, 0])
        sigma = self.noise_levels.sigma(self.schedule, quantile)
        image = data + expand_like(sigma, data) * standard_normal(keys[:, 1], data.shape[1:])
        label = self._condition(batch)
        if label is not None and train:
            dropped = jax.vmap(jax.random.uniform)(keys[:, 2]) < self.drop_label
            label = jnp.where(expand_like(dropped, label), self._no_condition(len(label)), label)
        c_skip, c_out = TARGETS[self.target](sigma, self.sigma_data)
        target = (data - expand_like(c_skip, data) * image) / expand_like(c_out, data)
        dropout, previous = (module_key(jax.random.fold_in(key, 1), batch) if train else None), None
        if self.self_condition:
            previous = jax.lax.stop_gradient(self.denoise(params, image, sigma, label))
            previous = expand_like(jax.vmap(jax.random.bernoulli)(keys[:, 3]), previous) * previous
        output = self._network_output(params, image, sigma, label, previous, dropout)
        mse = jnp.mean(jnp.square(output - target), axis=(1, 2, 3))
        return WEIGHTINGS[self.weighting](sigma, self.sigma_data, c_out) * mse, quantile

    def _bound(self, params: PyTree, batch: Batch, key: Array) -> Array:
        """Returns the variational bound [batch] in bits per dimension."""
        data = to_symmetric(batch["image"])
        keys = jax.vmap(lambda key: jax.random.split(key, 3))(example_keys(key, batch))
        noise = jnp.stack([standard_normal(keys[:, number], data.shape[1:]) for number in (0, 1)])
        label = self._condition(batch)
        return variational_bound(
            lambda image, sigma: self.denoise(params, image, sigma, label),
            self.schedule,
            data,
            noise,
            jax.vmap(jax.random.uniform)(keys[:, 2]),
        )

    def _generate(
        self,
        params: PyTree,
        batch: Batch,
        key: Array,
        start: Array | None = None,
        time: float = 1.0,
        known: Array | None = None,
        interpolate: int = 0,
    ) -> samplers.Trajectory:
        """Samples one image per example, with its label.

        Args:
          params: Parameters by group.
          batch: A batch with `image`, of which only the shape matters, `index`, and `label` for conditional models.
          key: Key of the batch.
          start: Data [batch, h, w, c] to which the noise at `time` is added. None: pure noise.
          time: Initial time. With `start` sampling is unconditional.
          known: Mask of the region of `start` to keep while the rest is inpainted. None: no inpainting.
          interpolate: Number of images per interpolation between two noise images. 0: independent noise.
        """
        shape, index = batch["image"].shape[1:], batch["index"]
        keys = example_keys(key, {**batch, "index": index // interpolate * interpolate} if interpolate else batch)

        def noise(step: Array) -> Array:
            return standard_normal(fold_keys(keys, step + 1), shape)

        sigmas = jnp.append((self.sampling or self.schedule).sigma(jnp.linspace(time, 0.0, self.steps)), 0.0)
        initial = noise(jnp.int32(-1))
        if interpolate:
            next_keys = example_keys(key, {**batch, "index": (index // interpolate + 1) * interpolate})
            end = standard_normal(fold_keys(next_keys, 0), shape)
            share = (index % interpolate / (interpolate - 1))[:, None]
            flat, flat_end = (x.reshape(x.shape[0], -1) for x in (initial, end))
            initial = slerp(flat, flat_end, share).reshape(initial.shape)
        image = sigmas[0] * initial
        denoise = self._guided_denoiser(params, batch, conditional=start is None)
        if start is not None and known is not None:
            return samplers.inpaint(denoise, image, sigmas, noise, data=start, known=known)
        return SAMPLERS[self.sampler](denoise, image if start is None else start + image, sigmas, noise)

    def _guided_denoiser(self, params: PyTree, batch: Batch, conditional: bool) -> samplers.Denoise:
        """Returns the denoiser of a sampler, with guidance if it is conditional."""

        def denoiser(label: Array | None) -> samplers.Denoise:
            return lambda image, sigma, previous: self.denoise(
                params, image, jnp.full(image.shape[0], sigma), label, previous
            )

        if not (self.classes or self.embedding):
            return denoiser(None)
        unconditional = denoiser(self._no_condition(batch["index"].shape[0]))
        if not conditional:
            return unconditional
        denoise = denoiser(self._condition(batch))
        if self.guidance == 1.0:
            return denoise
        return samplers.guided(denoise, unconditional, self.guidance, self.guidance_interval)


def _trajectory_images(trajectory: samplers.Trajectory) -> dict[str, Array]:
    """Returns the sample `image` and the `strip` of denoised images along the trajectory."""
    shown = np.linspace(0, len(trajectory.denoised) - 1, STRIP).round().astype(int)
    strip = jnp.moveaxis(trajectory.denoised[shown], 0, 1).at[:, -1].set(trajectory.image)
    return {"image": symmetric_to_uint8(trajectory.image), "strip": symmetric_to_uint8(strip)}


def _box_mask(box: Box, size: tuple[int, ...]) -> Array:
    """Returns the mask of a box, bool [height, width, 1]."""
    top, left, bottom, right = (round(share * side) for share, side in zip(box, (*size, *size)))
    row, column = np.indices(size)
    return jnp.asarray((row >= top) & (row < bottom) & (column >= left) & (column < right))[..., None]
