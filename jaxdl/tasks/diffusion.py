"""Diffusion and flow matching: a network learns to take noise away, and makes images from noise alone.

Batches: `image` uint8 [batch, height, width, channels]; `label` int32 [batch] where the network is conditional;
`weight` float32 [batch] (0 on padding), `index` [batch], from which every example's noise is drawn: other noise at
every training step, always the same in evaluation.

A noisy image is data + sigma * noise, data in [-1, 1]; see `jaxdl.decoding.noise_schedules` for why that covers DDPM,
EDM and flow matching. What the network predicts, how its errors count, and which levels it sees are independent
choices.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.decoding import diffusion_samplers as samplers
from jaxdl.decoding.noise_schedules import Schedule, Times
from jaxdl.errors import UserError, nearest
from jaxdl.tasks.image_generation import between, illustrate, readable
from jaxdl.tasks.parts import fid
from jaxdl.tasks.parts.bits_per_dim import MOST_LEAST, bits_per_dim, wide
from jaxdl.tasks.parts.pixels import symmetric_to_uint8, to_symmetric
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

GROUP = "denoiser"
BANDS = 5  # of noise levels, by how many training images have them
STRIP = 8  # images of a trajectory
_CONDITION = 100.0  # by which the network is told ln(sigma): levels from 0.002 to 80 then span a thousand or so

Scales = Callable[[Array, float], tuple[Array, Array]]

# The expected data are skip * image + out * output: (sigma, deviation of the data) -> (skip, out).
TARGETS: dict[str, Scales] = {
    "noise": lambda sigma, deviation: (jnp.ones_like(sigma), -sigma),  # arXiv:2006.11239
    "data": lambda sigma, deviation: (jnp.zeros_like(sigma), jnp.ones_like(sigma)),
    "v": lambda sigma, deviation: (1 / (1 + sigma**2), -sigma / jnp.sqrt(1 + sigma**2)),  # arXiv:2202.00512
    "velocity": lambda sigma, deviation: (1 / (1 + sigma), -sigma / (1 + sigma)),  # noise - data: arXiv:2210.02747
    "edm": lambda sigma, deviation: (  # arXiv:2206.00364
        deviation**2 / (sigma**2 + deviation**2),
        sigma * deviation / jnp.sqrt(sigma**2 + deviation**2),
    ),
}
# How a squared error of the network's output counts: (sigma, deviation of the data, out) -> weight.
WEIGHTINGS: dict[str, Callable[[Array, float, Array], Array]] = {
    "simple": lambda sigma, deviation, out: jnp.ones_like(sigma),
    "min_snr": lambda sigma, deviation, out: jnp.minimum(1 / sigma**2, 5.0) * out**2,  # arXiv:2303.09556
    "edm": lambda sigma, deviation, out: (sigma**2 + deviation**2) / (sigma * deviation) ** 2 * out**2,
}
SAMPLERS = {
    "ancestral": samplers.ancestral,
    "ddim": samplers.ddim,
    "euler": samplers.euler,
    "heun": samplers.heun,
    "dpm_solver": samplers.dpm_solver,
    "consistency": samplers.consistency,
}
Box = tuple[float, float, float, float]


def diffusion(
    network: nn.Module,
    schedule: Schedule,
    times: Times,
    *,
    target: str = "edm",
    weighting: str = "simple",
    deviation: float = 0.5,
    classes: int = 0,
    drop_label: float = 0.1,
    self_condition: bool = False,
    sampler: str = "dpm_solver",
    sampling: Schedule | None = None,
    steps: int = 20,
    guidance: float = 1.0,
    walk: int = 0,
    edit: float = 0.0,
    repaint: Box | None = None,
    bound: bool = True,
    fid_classifier: fid.FIDClassifier | None = None,
) -> Any:
    """Trains the group "denoiser" in one phase, "train": one term, the weighted squared error, a mean over pixels.

    Args:
      network: `network(image [batch, h, w, c], level [batch], label int32 [batch] or None, *, train) -> [batch, h, w,
        c]`, such as `jaxdl.models.ddpm_unet.DiffusionUNet`; the label `classes` stands for none. It sees the noisy
        image at unit variance, with `self_condition` twice as many channels, and 100 ln sigma.
      schedule: sigma over time, see `jaxdl.decoding.noise_schedules`.
      times: which times training sees.
      target: what the network predicts: "noise", "data", "v", "velocity", or EDM's mixture "edm".
      weighting: of its squared error: "simple" takes it as it is; "min_snr" and "edm" weigh the error of the expected
        data by min(1 / sigma^2, 5) and by 1 / sigma^2 + 1 / deviation^2. With target "edm", "simple" is "edm".
      deviation: of the data in [-1, 1].
      classes: how many labels there are, for conditional networks; 0: none.
      drop_label: share of training images whose label is hidden.
      self_condition: the network also sees what it expected before, when it is asked step by step; in training it is
        asked twice, and for every other image sees its first answer (arXiv:2208.04202). At first it sees 0.
      sampler: "ancestral", "ddim", "euler", "heun", "dpm_solver", or, for consistency models, "consistency".
      sampling: the schedule that samples follow, evenly in time and then to 0; None: `schedule`.
      steps: of sampling.
      guidance: of conditional networks: 1 asks the network once a step, any other value twice.
      walk: `predict --samples` makes rows of so many images on the way from one noise to the next, along the sphere;
        0: every image of a noise of its own.
      edit: how far in time, up to 1, `predict` takes a picture towards noise before it denoises it again, as no
        class in particular: an image-to-image translation (SDEdit, arXiv:2108.01073). 0: it makes images from nothing
        and looks at no picture.
      repaint: (top, left, bottom, right) in shares of height and width: `predict` fills this part of a picture in anew,
        so that it fits the rest (`jaxdl.decoding.diffusion_samplers.repaint`). None: no.
      bound: evaluate `bits_per_dim`.
      fid_classifier: a trained classifier for FID and the like, frozen; None: evaluation makes no images.

    Evaluation metrics: `loss`; `loss_1` to `loss_5`, its part on each fifth of the training images by noise level, the
    least noisy first; `bits_per_dim`, an upper bound on the negative log-likelihood of the 8-bit images in bits per
    pixel and channel, one noise level an example (arXiv:2107.00630); with an FID classifier what
    `jaxdl.tasks.parts.fid.score`
    tells of one sampled image for each real one, of the same label, and with classes `label_accuracy`, how often the
    FID classifier predicts the label that was asked for.
    Predictions and samples: `image` uint8 [batch, h, w, c]; `strip` uint8 [batch, 8, h, w, c], what the network
    expected on the way, the first step first; `label` of conditional models. Predictions also: `noised`, of the strip's
    shape, a real image on the way to noise.

    Raises:
      UserError: an argument out of range.
    """
    for name, value, known in (
        ("target", target, TARGETS),
        ("weighting", weighting, WEIGHTINGS),
        ("sampler", sampler, SAMPLERS),
    ):
        if value not in known:
            raise UserError(f"{name} is '{value}'; {nearest(value, known)}")
    if steps < 1 or deviation <= 0 or not 0 <= drop_label <= 1:
        raise UserError(
            f"steps={steps}, deviation={deviation}, drop_label={drop_label}: must be 1 or more, above 0, 0..1"
        )
    if not 0 <= edit <= 1:
        raise UserError(f"edit={edit}: a time between 0 and 1")
    if walk < 0 or walk == 1:
        raise UserError(f"walk={walk}: a row of at least 2 images, or 0")
    if repaint is not None:
        top, left, bottom, right = repaint
        if edit or not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
            raise UserError(f"repaint={repaint}: shares 0 <= top < bottom <= 1, 0 <= left < right <= 1, without edit")
    if bound and schedule.least > MOST_LEAST:
        raise UserError(
            f"bits_per_dim needs a schedule whose least is at most {MOST_LEAST:.3f}: set it so, or bound=False"
        )
    if guidance != 1.0 and not classes:
        raise UserError(f"guidance={guidance} needs a network with classes")
    told = Diffusion(
        network,
        schedule,
        times,
        target,
        weighting,
        deviation,
        classes,
        drop_label,
        self_condition,
        sampling or schedule,
        fid_classifier,
    )
    made = Sampling(told, sampler, steps, guidance)
    return FunctionTask(
        init=told.init,
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, told)),),
        evaluate=functools.partial(_evaluate, told, made, bound),
        predict=functools.partial(_predict, told, made, edit, repaint),
        sample=functools.partial(_sample, told, made, walk),
        score=_score if fid_classifier is not None else None,
        draw=_draw,
        illustrate=illustrate,
        readable=readable,
        framing="crop" if edit or repaint else None,
    )


@dataclass(frozen=True)
class Diffusion:
    """The network and what it is taught; attributes as the arguments of `diffusion`."""

    network: nn.Module
    schedule: Schedule
    times: Times
    target: str
    weighting: str
    deviation: float
    classes: int
    drop_label: float
    self_condition: bool
    sampling: Schedule
    fid_classifier: fid.FIDClassifier | None

    def init(self, key: Array, batch: Mapping[str, Array]) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """Parameters and variables by group."""
        image = to_symmetric(batch["image"][:1])
        label = jnp.zeros(1, jnp.int32) if self.classes else None
        network, judged = jax.random.split(key)
        seen = jnp.concatenate([image, image], axis=-1) if self.self_condition else image
        collections = dict(self.network.init(network, seen, jnp.zeros(1), label, train=False))
        params, variables = {GROUP: collections.pop("params")}, {}
        if collections:
            raise UserError(
                f"{type(self.network).__name__} keeps {', '.join(collections)}: diffusion takes none that does"
            )
        if self.fid_classifier is not None:
            more, kept = self.fid_classifier.init(judged, batch["image"][:1])
            params, variables = {**params, **more}, {**variables, **kept}
        return params, variables

    def output(
        self,
        params: PyTree,
        image: Array,
        sigma: Array,
        label: Array | None,
        guess: Array | None = None,
        key: Array | None = None,
    ) -> Array:
        """What the network says of noisy images; sigma [batch]; a guess of the data; a key for dropout: in training."""
        seen = wide(1.0 / jnp.sqrt(jnp.square(sigma) + self.deviation**2), image) * image
        if self.self_condition:
            seen = jnp.concatenate([seen, jnp.zeros_like(seen) if guess is None else guess], axis=-1)
        inputs = ({"params": params[GROUP]}, seen, _CONDITION * jnp.log(sigma), label)
        rngs = None if key is None else {"dropout": key}
        return self.network.apply(*inputs, train=key is not None, rngs=rngs)  # type: ignore

    def denoise(
        self, params: PyTree, image: Array, sigma: Array, label: Array | None, guess: Array | None = None
    ) -> Array:
        """The data that the network expects behind noisy images; sigma [batch]."""
        skip, out = TARGETS[self.target](sigma, self.deviation)
        return wide(skip, image) * image + wide(out, image) * self.output(params, image, sigma, label, guess)

    def errors(self, params: PyTree, batch: Mapping[str, Array], key: Array, train: bool) -> tuple[Array, Array]:
        """(weighted squared errors [batch], means over pixels; the quantiles [batch] of their levels)."""
        data = to_symmetric(batch["image"])
        keys = jax.vmap(lambda key: jax.random.split(key, 4))(example_keys(jax.random.fold_in(key, 0), batch))
        quantile = jax.vmap(lambda key: jax.random.uniform(key, minval=1e-6, maxval=1.0 - 1e-6))(keys[:, 0])
        sigma = self.times.sigma(self.schedule, quantile)
        image = data + wide(sigma, data) * _normal(keys[:, 1], data.shape[1:])
        label = batch["label"] if self.classes else None
        if label is not None and train:
            hidden = jax.vmap(jax.random.uniform)(keys[:, 2]) < self.drop_label
            label = jnp.where(hidden, self.classes, label)
        skip, out = TARGETS[self.target](sigma, self.deviation)
        wanted = (data - wide(skip, data) * image) / wide(out, data)
        dropout, guess = (module_key(jax.random.fold_in(key, 1), batch) if train else None), None
        if self.self_condition:
            guess = jax.lax.stop_gradient(self.denoise(params, image, sigma, label))
            guess = wide(jax.vmap(jax.random.bernoulli)(keys[:, 3]), guess) * guess
        given = self.output(params, image, sigma, label, guess, dropout)
        error = jnp.mean(jnp.square(given - wanted), axis=(1, 2, 3))
        return WEIGHTINGS[self.weighting](sigma, self.deviation, out) * error, quantile


@dataclass(frozen=True)
class Sampling:
    """How images are made; attributes as the arguments of `diffusion`."""

    told: Diffusion
    sampler: str
    steps: int
    guidance: float

    def __call__(
        self,
        params: PyTree,
        batch: Mapping[str, Array],
        key: Array,
        shape: tuple[int, ...],
        start: Array | None = None,
        time: float = 1.0,
        known: Array | None = None,
        walk: int = 0,
    ) -> samplers.Trajectory:
        """An image of `shape` for each of the batch, of its label.

        Args:
          start: [batch, *shape]; then it is these, with the noise of `time`, that are denoised, as of no class.
          known: where `start` stays as it is; the rest is made anew.
          walk: as in `diffusion`.
        """
        told, index = self.told, batch["index"]
        keys = example_keys(key, {**batch, "index": index // walk * walk} if walk else batch)
        none = jnp.full(keys.shape[0], told.classes) if told.classes else None
        label = batch["label"] if told.classes and start is None else none

        def denoiser(label: Array | None) -> samplers.Denoise:
            return lambda image, sigma, guess: told.denoise(
                params, image, jnp.full(image.shape[0], sigma), label, guess
            )

        denoise = denoiser(label)
        if told.classes and start is None and self.guidance != 1.0:
            denoise = samplers.guided(denoise, denoiser(none), self.guidance)

        def noise(step: Array) -> Array:
            return _normal(jax.vmap(lambda key: jax.random.fold_in(key, step + 1))(keys), shape)

        sigmas = jnp.append(told.sampling.sigma(jnp.linspace(time, 0.0, self.steps)), 0.0)
        drawn = noise(jnp.int32(-1))
        if walk:
            row = example_keys(key, {**batch, "index": (index // walk + 1) * walk})
            other = _normal(jax.vmap(lambda key: jax.random.fold_in(key, 0))(row), shape)
            first, last = (end.reshape(end.shape[0], -1) for end in (drawn, other))
            drawn = between(first, last, (index % walk / (walk - 1))[:, None]).reshape(drawn.shape)
        image = sigmas[0] * drawn
        if known is not None:
            return samplers.repaint(denoise, image, sigmas, noise, data=start, known=known)  # type: ignore
        return SAMPLERS[self.sampler](denoise, image if start is None else start + image, sigmas, noise)


def _normal(keys: Array, shape: tuple[int, ...]) -> Array:
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def _loss(
    told: Diffusion, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array, step: Array
) -> Outcome:
    del step
    errors, _ = told.errors(params, batch, key, train=True)
    return Outcome({"error": Term(jnp.sum(batch["weight"] * errors), jnp.sum(batch["weight"]))}, variables)


def _evaluate(
    told: Diffusion,
    made: Sampling,
    bound: bool,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> Evaluation:
    weight = batch["weight"]
    errors, quantile = told.errors(params, batch, jax.random.fold_in(key, 0), train=False)
    metrics = {"loss": (jnp.sum(weight * errors), jnp.sum(weight))}
    for band in range(BANDS):
        member = weight * (jnp.floor(quantile * BANDS) == band)
        metrics[f"loss_{band + 1}"] = (jnp.sum(member * errors), jnp.sum(member))
    if bound:
        data = to_symmetric(batch["image"])
        keys = jax.vmap(lambda key: jax.random.split(key, 3))(example_keys(jax.random.fold_in(key, 1), batch))
        noise = jnp.stack([_normal(keys[:, number], data.shape[1:]) for number in (0, 1)])
        label = batch["label"] if told.classes else None
        bits = bits_per_dim(
            lambda image, sigma: told.denoise(params, image, sigma, label),
            told.schedule,
            data,
            noise,
            jax.vmap(jax.random.uniform)(keys[:, 2]),
        )
        metrics["bits_per_dim"] = (jnp.sum(weight * bits), jnp.sum(weight))
    if told.fid_classifier is None:
        return Evaluation(metrics)
    image = made(params, batch, jax.random.fold_in(key, 2), batch["image"].shape[1:]).image
    records = told.fid_classifier.records(
        params, variables, batch["image"], symmetric_to_uint8(image).astype(jnp.float32)
    )
    if told.classes:
        metrics["label_accuracy"] = (jnp.sum(weight * (records["generated_label"] == batch["label"])), jnp.sum(weight))
    return Evaluation(metrics, records)


def _score(records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
    del metrics, names
    return fid.score(records)


def _sample(
    told: Diffusion,
    made: Sampling,
    walk: int,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> dict[str, Array]:
    del variables
    way = made(params, batch, jax.random.fold_in(key, 2), batch["image"].shape[1:], walk=walk)
    return {**_shown(way), **({"label": batch["label"]} if told.classes else {})}


def _predict(
    told: Diffusion,
    made: Sampling,
    edit: float,
    repaint: Box | None,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> dict[str, Array]:
    del variables
    data = to_symmetric(batch["image"])
    given: dict[str, Any] = {"start": data, "time": edit} if edit else {}
    if repaint:
        given = {"start": data, "known": ~_inside(repaint, data.shape[1:3])}
    way = made(params, batch, jax.random.fold_in(key, 2), data.shape[1:], **given)
    sigmas = told.sampling.sigma(jnp.linspace(0.0, 1.0, STRIP))
    noise = _normal(example_keys(jax.random.fold_in(key, 3), batch), data.shape[1:])
    # As the variance-preserving process shows them, which stay in sight.
    noised = [(data + sigma * noise) / jnp.sqrt(1.0 + jnp.square(sigma / told.deviation)) for sigma in sigmas]
    outputs = {**_shown(way), "noised": symmetric_to_uint8(jnp.stack(noised, axis=1))}
    return {**outputs, **({"label": batch["label"]} if told.classes and not given else {})}


def _shown(way: samplers.Trajectory) -> dict[str, Array]:
    """`image` and `strip` of what a sampler made."""
    seen = np.linspace(0, len(way.denoised) - 1, STRIP).round().astype(int)
    strip = jnp.moveaxis(way.denoised[seen], 0, 1).at[:, -1].set(way.image)
    return {"image": symmetric_to_uint8(way.image), "strip": symmetric_to_uint8(strip)}


def _inside(box: Box, size: tuple[int, ...]) -> Array:
    """bool [height, width, 1]: the pixels of a box in shares."""
    top, left, bottom, right = (round(share * side) for share, side in zip(box, (*size, *size)))
    row, column = np.indices(size)
    return jnp.asarray((row >= top) & (row < bottom) & (column >= left) & (column < right))[..., None]


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`samples` beside real images, and by class; `denoising`, the way of some samples; `noising`, of real images."""
    del metrics
    from jaxdl.viz.generation import path_grid, real_and_generated

    labels = np.asarray(outputs["label"]) if "label" in outputs else None
    class_names = names.get("label") if labels is not None else None
    return {
        "samples": real_and_generated(np.asarray(batch["image"]), np.asarray(outputs["image"]), labels, class_names),
        "denoising": path_grid(np.asarray(outputs["strip"])),
        "noising": path_grid(np.asarray(outputs["noised"])),
    }
