"""Generative adversarial networks (Goodfellow et al. 2014, arXiv:1406.2661)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.errors import UserError
from jaxdl.models.layers.spectral_norm import COLLECTION, power_iteration
from jaxdl.tasks.parts import adversarial, fid
from jaxdl.tasks.parts.apply import batch_coupling, init_module, per_example
from jaxdl.tasks.parts.arguments import check_choices, check_ranges
from jaxdl.tasks.parts.draws import standard_normal
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.latent_walks import slerp
from jaxdl.tasks.parts.pixels import from_symmetric, symmetric_to_uint8, to_symmetric
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
from jaxdl.viz.generation import GenerationPresentation

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
# In `variables`: the step of the last power iteration, so that micro-batches and phases of a step do not repeat it.
ITERATED = "spectral_step"
COLLAPSED = 0.5  # diversity, relative to real images, below which mode collapse is reported
PATH = 6  # images on a path between two latents


@dataclass(frozen=True, eq=False)
class ImageGeneration(Task):
    """Image generation with a generative adversarial network (GAN).

    Trains the groups "discriminator" and "generator" in phases of the same names, in that order. With a lazy penalty a
    phase "penalty" in between trains the discriminator.

    Batches: `image` uint8 [batch, h, w, c]; `label` int32 [batch] for conditional models. The networks use images in
    [-1, 1].

    Training metrics: `real_accuracy` and `fake_accuracy`, the share of images whose logit has the correct sign;
    `real_logit` and `fake_logit`, mean logits.

    Evaluation generates one image per real image, with the same label. Metrics: the four of training; `diversity`, the
    RMS distance between two generated images (of one class) relative to that of real images, 1 at best; `collapsed`, 1
    if the diversity is below 0.5, with a warning in the log. With an FID classifier also the metrics of
    `jaxdl.tasks.parts.fid.score` and, for conditional models, `label_accuracy`, the share of generated images that the
    FID classifier assigns to their label.

    Predictions: `image` uint8 [batch, h, w, c]; `path` uint8 [batch, 6, h, w, c], from that image to another one by
    spherical interpolation of the latents; `label` int32 [batch] of conditional models. Samples: `image`, `label`.

    Attributes:
      generator: `generator(latent [batch, latents], *, train) -> image [batch, h, w, c] in [-1, 1]`; for conditional
        models `generator(latent, label, *, train)`.
      discriminator: `discriminator(image, *, train) -> logits [batch]`; for conditional models `discriminator(image,
        label, *, train)`.
      loss: Adversarial loss, see `jaxdl.tasks.parts.adversarial.LOSSES`.
      penalty: Penalty on the discriminator's gradient: "r1" on real images (arXiv:1801.04406), "gradient" between real
        and generated images (WGAN-GP, arXiv:1704.00028), or None.
      penalty_weight: Coefficient of the penalty, gamma of R1 or lambda of WGAN-GP.
      penalty_every: 1: the penalty is a term of the discriminator's loss. More: a separate phase "penalty" every that
        many steps, with the coefficient multiplied by it (lazy regularization, arXiv:1912.04958). The optimizer of that
        phase should be SGD, because Adam's normalization cancels the coefficient.
      critic_steps: Updates of the discriminator per update of the generator.
      latents: Dimension of the standard normal latents.
      classes: Number of classes of conditional models. 0: unconditional.
      fid_classifier: Trained classifier of the data's images for FID, see `jaxdl.tasks.parts.fid`. None: no FID.

    Raises:
      UserError: An argument out of range, or a penalty on a discriminator with batch normalization.
    """

    presentation = GenerationPresentation()

    generator: nn.Module
    discriminator: nn.Module
    loss: adversarial.Loss = "non_saturating"
    penalty: str | None = None
    penalty_weight: float = 1.0
    penalty_every: int = 1
    critic_steps: int = 1
    latents: int = 64
    classes: int = 0
    fid_classifier: FIDClassifier | None = None

    def __post_init__(self):
        check_choices(self, loss=adversarial.LOSSES, penalty=("r1", "gradient", None))
        one = "[1, inf)"
        check_ranges(
            self, penalty_weight="[0, inf)", penalty_every=one, critic_steps=one, latents=one, classes="[0, inf)"
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        discriminator = Phase(DISCRIMINATOR, DISCRIMINATOR, self.discriminator_loss)
        generator = Phase(GENERATOR, GENERATOR, self.generator_loss, self.critic_steps)
        if self.penalty is None or self.penalty_every == 1:
            return discriminator, generator
        return discriminator, Phase("penalty", DISCRIMINATOR, self.penalty_loss, self.penalty_every), generator

    @property
    def batch_statistics(self) -> str:
        return batch_coupling(self.generator) or batch_coupling(self.discriminator)

    def init(self, key: Array, batch: Batch) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        image = to_symmetric(batch["image"][:1])
        label = (jnp.zeros(1, jnp.int32),) if self.classes else ()
        latent = jnp.zeros((1, self.latents))
        keys = jax.random.split(key, 3)
        generated = jax.eval_shape(lambda: self.generator.init_with_output(keys[0], latent, *label, train=False)[0])
        if generated.shape != image.shape:
            raise UserError(
                f"the generator outputs images {generated.shape[1:]}, but the data's are {image.shape[1:]};"
                " set its size and outputs"
            )
        params, variables = {}, {}
        for part in (
            init_module(GENERATOR, self.generator, keys[0], latent, *label),
            init_module(DISCRIMINATOR, self.discriminator, keys[1], image, *label),
            ({}, {}) if self.fid_classifier is None else self.fid_classifier.init(keys[2], batch["image"][:1]),
        ):
            params, variables = {**params, **part[0]}, {**variables, **part[1]}
        if self.penalty is not None and "batch_stats" in variables.get(DISCRIMINATOR, {}):
            raise UserError(
                f"penalty={self.penalty} needs a discriminator without batch normalization, because it is a gradient"
                " per image; use another norm or penalty=None"
            )
        if COLLECTION in variables.get(DISCRIMINATOR, {}):
            variables[ITERATED] = jnp.int32(-1)
        return params, variables

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        return [IdRange("label", self.classes, "task.classes")] if self.classes else []

    def discriminator_loss(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree
    ) -> Outcome:
        variables = _iterate(params, variables, step)
        real = to_symmetric(batch["image"])
        generated, _ = self._generate(params, variables, self._latent(key, 0, batch), batch, train=True)
        real_logits, variables = self._discriminate(params, variables, real, batch, train=True)
        fake_logits, variables = self._discriminate(params, variables, generated, batch, train=True)
        losses = adversarial.LOSSES[self.loss].real(real_logits) + adversarial.LOSSES[self.loss].fake(fake_logits)
        terms = {"adversarial": Term(*per_example(batch, losses))}
        if self.penalty is not None and self.penalty_every == 1:
            penalty = self._penalty(params, variables, real, generated, batch, jax.random.fold_in(key, 1))
            terms["penalty"] = Term(*per_example(batch, penalty), self.penalty_weight)
        metrics = {**self._logit_metrics("real", real_logits, batch), **self._logit_metrics("fake", fake_logits, batch)}
        return Outcome(terms, variables, metrics)

    def penalty_loss(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree
    ) -> Outcome:
        generated = real = to_symmetric(batch["image"])
        if self.penalty == "gradient":
            generated, _ = self._generate(params, variables, self._latent(key, 0, batch), batch, train=True)
        penalty = self._penalty(params, variables, real, generated, batch, jax.random.fold_in(key, 1))
        term = Term(*per_example(batch, penalty), self.penalty_every * self.penalty_weight)
        return Outcome({"penalty": term}, variables)

    def generator_loss(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree
    ) -> Outcome:
        generated, variables = self._generate(params, variables, self._latent(key, 0, batch), batch, train=True)
        logits, _ = self._discriminate(params, variables, generated, batch, train=True)
        losses = adversarial.LOSSES[self.loss].generator(logits)
        terms = {"adversarial": Term(*per_example(batch, losses))}
        return Outcome(terms, variables, self._logit_metrics("fake", logits, batch))

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        weight = batch["weight"]
        total = jnp.sum(weight)
        real = to_symmetric(batch["image"])
        generated, _ = self._generate(params, variables, self._latent(key, 0, batch), batch, train=False)
        label = batch["label"] if self.classes else jnp.zeros_like(batch["index"])
        member = jax.nn.one_hot(label, max(self.classes, 1)) * weight[:, None]
        metrics = {"share": (member.sum(0), total)}
        for name, image in (("real", real), ("fake", generated)):
            logits, _ = self._discriminate(params, variables, image, batch, train=False)
            metrics |= self._logit_metrics(name, logits, batch)
            flat = image.reshape(len(image), -1)
            square = jnp.sum(weight * jnp.square(flat).sum(1))
            metrics[f"{name}_square"] = (square[None], total)  # [1]: arrays are not reported
            metrics[f"{name}_mean"] = (member.T @ flat, total)
        if self.fid_classifier is None:
            return Evaluation(metrics)
        records = self.fid_classifier.records(params, variables, from_symmetric(real), from_symmetric(generated))
        if self.classes:
            metrics["label_accuracy"] = per_example(batch, records["generated_label"] == batch["label"])
        return Evaluation(metrics, records)

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        share = np.asarray(metrics["share"])
        variance = {}
        for name in ("real", "fake"):
            # The mean squared distance of two images of one class is twice the variance within classes.
            means = np.sum(np.square(metrics[f"{name}_mean"]), axis=1)
            variance[name] = float(metrics[f"{name}_square"][0] - np.sum(means[share > 0] / share[share > 0]))
        ratio = max(variance["fake"], 0.0) / variance["real"] if variance["real"] > 0 else 0.0
        diversity = float(np.sqrt(ratio))
        scores = fid.score(records) if records else {}
        if diversity < COLLAPSED:
            covered = f"; {scores['classes']:.0f} classes are covered" if "classes" in scores else ""
            logging.warning(
                "mode collapse: the diversity of generated images is %.2f of that of real images%s", diversity, covered
            )
        return {**scores, "diversity": diversity, "collapsed": float(diversity < COLLAPSED)}

    def sample(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        image, _ = self._generate(params, variables, self._latent(key, 0, batch), batch, train=False)
        return {"image": symmetric_to_uint8(image), **self._labels(batch)}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        start, stop = (self._latent(key, end, batch) for end in (0, 1))

        def generate(share: Array) -> Array:
            image, _ = self._generate(params, variables, slerp(start, stop, share), batch, train=False)
            return symmetric_to_uint8(image)

        path = jnp.moveaxis(jax.lax.map(generate, jnp.linspace(0.0, 1.0, PATH)), 0, 1)
        return {"image": path[:, 0], "path": path, **self._labels(batch)}

    def _labels(self, batch: Batch) -> dict[str, Array]:
        return {"label": batch["label"]} if self.classes else {}

    def _latent(self, key: Array, number: int, batch: Batch) -> Array:
        """Returns standard normal latents [batch, latents], drawn per example from key `number` of the batch."""
        return standard_normal(example_keys(jax.random.fold_in(key, number), batch), (self.latents,))

    def _generate(
        self, params: PyTree, variables: PyTree, latent: Array, batch: Batch, train: bool
    ) -> tuple[Array, PyTree]:
        """Returns images in [-1, 1] and the new variables."""
        return self._apply(GENERATOR, self.generator, params, variables, latent, batch, train)

    def _discriminate(
        self, params: PyTree, variables: PyTree, image: Array, batch: Batch, train: bool
    ) -> tuple[Array, PyTree]:
        """Returns logits of images in [-1, 1] and the new variables."""
        return self._apply(DISCRIMINATOR, self.discriminator, params, variables, image, batch, train)

    def _apply(
        self, group: str, network: nn.Module, params: PyTree, variables: PyTree, x: Array, batch: Batch, train: bool
    ) -> tuple[Array, PyTree]:
        collections = variables.get(group, {})
        inputs = ({"params": params[group], **collections}, x, *self._labels(batch).values())
        mutable = [name for name in collections if name != COLLECTION]
        if not train or not mutable:
            return network.apply(*inputs, train=train), variables  # type: ignore
        output, updated = network.apply(*inputs, train=True, mutable=mutable)
        return output, {**variables, group: {**collections, **updated}}

    def _penalty(
        self, params: PyTree, variables: PyTree, real: Array, generated: Array, batch: Batch, key: Array
    ) -> Array:
        """Returns the gradient penalty [batch] of the discriminator."""

        def discriminate(image: Array) -> Array:
            return self._discriminate(params, variables, image, batch, train=True)[0]

        if self.penalty == "r1":
            return adversarial.r1(discriminate, real)
        share = jax.vmap(jax.random.uniform)(example_keys(key, batch))
        return adversarial.gradient_penalty(discriminate, real, generated, share)

    def _logit_metrics(self, name: str, logits: Array, batch: Batch) -> dict[str, tuple[Array, Array]]:
        threshold = adversarial.LOSSES[self.loss].threshold
        return adversarial.logit_metrics(name, logits, batch["weight"], name == "real", threshold)


def _iterate(params: PyTree, variables: PyTree, step: Array) -> PyTree:
    """Runs this step's power iteration of a spectrally normalized discriminator, once per step."""
    if ITERATED not in variables:
        return variables
    collections = variables[DISCRIMINATOR]
    iterated = power_iteration(params[DISCRIMINATOR], collections[COLLECTION])
    due = step != variables[ITERATED]
    spectral = jax.tree.map(lambda new, old: jnp.where(due, new, old), iterated, collections[COLLECTION])
    step = jnp.asarray(step, jnp.int32)
    return {**variables, DISCRIMINATOR: {**collections, COLLECTION: spectral}, ITERATED: step}
