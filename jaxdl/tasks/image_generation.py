"""Image generation by a game of two networks (Goodfellow et al. 2014, arXiv:1406.2661).

Batches: `image` uint8 [batch, height, width, channels], `weight` float32 [batch], `index` [batch]; for conditional
models also `label` int32 [batch]. Networks see images in [-1, 1].
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.errors import UserError
from jaxdl.models.layers.spectral_norm import COLLECTION, power_iteration
from jaxdl.tasks.parts import adversarial, fid
from jaxdl.tasks.parts.apply import batch_coupling
from jaxdl.tasks.parts.pixels import from_symmetric, symmetric_to_uint8, to_symmetric
from jaxdl.training.task import Array, Evaluation, FunctionTask, Names, Outcome, Phase, PyTree, Term, example_keys

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
# In `variables`: the step whose power iteration is made, so that micro-batches and phases do not make another.
ITERATED = "spectral_step"
COLLAPSED = 0.5  # an alarm sounds when generated images differ from each other less than this, relative to real ones
PATH = 6  # images on the way between two latents


def image_generation(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    loss: adversarial.Loss = "non_saturating",
    penalty: str | None = None,
    penalty_weight: float = 1.0,
    penalty_every: int = 1,
    critic_steps: int = 1,
    latents: int = 64,
    classes: int = 0,
    fid_classifier: fid.FIDClassifier | None = None,
) -> Any:
    """Trains the groups "discriminator" and "generator", each in the phase of its name, in that order.

    Args:
      generator: `generator(latent [batch, latents], *, train) -> image [batch, h, w, c] in [-1, 1]`; with classes
        `generator(latent, label, *, train)`.
      discriminator: `discriminator(image, *, train) -> logits [batch]`; with classes `discriminator(image, label,
        *, train)`.
      loss: see `jaxdl.tasks.parts.adversarial.real_loss`.
      penalty: on the discriminator's gradient: "r1", on real images, "gradient", between real and generated ones
        (WGAN-GP), or None.
      penalty_weight: its coefficient: R1's gamma, WGAN-GP's lambda.
      penalty_every: 1 makes the penalty a term of the discriminator's loss. More makes it a phase of its own,
        "penalty", that runs every so many steps with as many times the weight (lazy, arXiv:1912.04958). Its optimizer
        should be SGD: under Adam, which divides by the gradient's size, the weight has no meaning there.
      critic_steps: updates of the discriminator for one of the generator, which runs every so many steps.
      latents: numbers in a latent, each drawn from the normal distribution.
      classes: how many labels there are, for conditional networks: a generated image has its example's label. 0: none.
      fid_classifier: a trained classifier for FID and the like, frozen; None for none.

    Metrics in training: `real_accuracy`, `fake_accuracy`, the share of images whose logit is on the right side of 0,
    and mean logits `real_logit`, `fake_logit`.
    Evaluation makes one image for each real one, of the same label: the same four; `diversity`, the root mean squared
    distance between two generated images (of one class) relative to that of real ones, 1 at best; `collapsed`, 1 if
    that is below 0.5, when a warning is printed, too; with an FID classifier what `jaxdl.tasks.parts.fid.score` tells,
    and for conditional models `label_accuracy`, how often it predicts the label that was asked for.
    Predictions: `image` uint8 [batch, h, w, c]; `path` uint8 [batch, 6, h, w, c], from that image to another one
    along the sphere of latents; `label` int32 [batch] of conditional models.

    Raises:
      UserError: an argument out of range, or a penalty on a discriminator with batch normalization.
    """
    adversarial.check_loss(loss)
    if penalty not in ("r1", "gradient", None):
        raise UserError(f"penalty is '{penalty}'; use r1, gradient or None")
    if penalty_weight < 0:
        raise UserError(f"penalty_weight={penalty_weight}: must be at least 0")
    for name, value in (("penalty_every", penalty_every), ("critic_steps", critic_steps), ("latents", latents)):
        if value < 1:
            raise UserError(f"{name}={value}: must be at least 1")
    if penalty is not None and batch_coupling(discriminator):
        raise UserError("a gradient penalty needs a discriminator without batch normalization: each image by itself")
    game = Game(generator, discriminator, loss, penalty, penalty_weight, latents, classes, fid_classifier)
    phases = [
        Phase(DISCRIMINATOR, DISCRIMINATOR, functools.partial(_discriminator_loss, game, penalty_every == 1)),
        Phase(GENERATOR, GENERATOR, functools.partial(_generator_loss, game), critic_steps),
    ]
    if penalty is not None and penalty_every > 1:
        loss_fn = functools.partial(_penalty_loss, game, penalty_every)
        phases.insert(1, Phase("penalty", DISCRIMINATOR, loss_fn, penalty_every))
    return FunctionTask(
        init=game.init,
        phases=tuple(phases),
        evaluate=functools.partial(_evaluate, game),
        predict=functools.partial(_predict, game),
        sample=functools.partial(_sample, game),
        score=functools.partial(_score, game),
        draw=_draw,
        illustrate=illustrate,
        readable=readable,
        framing=None,
        batch_coupled=batch_coupling(generator) or batch_coupling(discriminator),
    )


@dataclasses.dataclass(frozen=True)
class Game:
    """The two networks and how they are applied; attributes as the arguments of `image_generation`."""

    generator: nn.Module
    discriminator: nn.Module
    loss: adversarial.Loss
    penalty: str | None
    penalty_weight: float
    latents: int
    classes: int
    fid_classifier: fid.FIDClassifier | None

    def init(self, key: Array, batch: Mapping[str, Array]) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """Parameters and variables by group.

        Raises:
          UserError: generated images have another shape than the real ones.
        """
        image = to_symmetric(batch["image"][:1])
        label = (jnp.zeros(1, jnp.int32),) if self.classes else ()
        latent = jnp.zeros((1, self.latents))
        keys = jax.random.split(key, 3)
        made = jax.eval_shape(
            lambda: self.generator.init_with_output(keys[0], latent, *label, train=False)[0]
        )  # before the discriminator meets it
        if made.shape != image.shape:
            raise UserError(f"the generator makes images {made.shape[1:]}, the data's are {image.shape[1:]}")
        params, variables = {}, {}
        for group, network, key, given in (
            (GENERATOR, self.generator, keys[0], latent),
            (DISCRIMINATOR, self.discriminator, keys[1], image),
        ):
            collections = dict(network.init(key, given, *label, train=False))
            params[group] = collections.pop("params")
            variables |= {group: collections} if collections else {}
        if COLLECTION in variables.get(DISCRIMINATOR, {}):
            variables[ITERATED] = jnp.int32(-1)
        if self.fid_classifier is not None:
            judged, more = self.fid_classifier.init(keys[2], batch["image"][:1])
            params, variables = {**params, **judged}, {**variables, **more}
        return params, variables

    def latent(self, key: Array, batch: Mapping[str, Array]) -> Array:
        """[batch, latents], of each example by itself."""
        return jax.vmap(lambda key: jax.random.normal(key, (self.latents,)))(example_keys(key, batch))

    def generate(
        self, params: PyTree, variables: PyTree, latent: Array, batch: Mapping[str, Array], train: bool
    ) -> tuple[Array, PyTree]:
        """Images in [-1, 1], and the variables after them."""
        return self._apply(GENERATOR, self.generator, params, variables, latent, batch, train)

    def discriminate(
        self, params: PyTree, variables: PyTree, image: Array, batch: Mapping[str, Array], train: bool
    ) -> tuple[Array, PyTree]:
        """Logits of images in [-1, 1], and the variables after them."""
        return self._apply(DISCRIMINATOR, self.discriminator, params, variables, image, batch, train)

    def _apply(
        self,
        group: str,
        network: nn.Module,
        params: PyTree,
        variables: PyTree,
        given: Array,
        batch: Mapping[str, Array],
        train: bool,
    ) -> tuple[Array, PyTree]:
        collections = variables.get(group, {})
        inputs = ({"params": params[group], **collections}, given, *((batch["label"],) if self.classes else ()))
        changing = [name for name in collections if name != COLLECTION]
        if not train or not changing:
            return network.apply(*inputs, train=train), variables  # type: ignore
        output, updated = network.apply(*inputs, train=True, mutable=changing)
        return output, {**variables, group: {**collections, **updated}}

    def penalties(
        self, params: PyTree, variables: PyTree, real: Array, generated: Array, batch: Mapping[str, Array], key: Array
    ) -> Array:
        """[batch] what `penalty` says of the discriminator at these images."""

        def discriminate(image: Array) -> Array:
            return self.discriminate(params, variables, image, batch, train=True)[0]

        if self.penalty == "r1":
            return adversarial.r1(discriminate, real)
        share = jax.vmap(jax.random.uniform)(example_keys(key, batch))
        return adversarial.gradient_penalty(discriminate, real, generated, share)


def _discriminator_loss(
    game: Game,
    penalized: bool,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    variables = _iterate(params, variables, step)
    weight, threshold = batch["weight"], adversarial.threshold_of(game.loss)
    total = jnp.sum(weight)
    real = to_symmetric(batch["image"])
    latent = game.latent(jax.random.fold_in(key, 0), batch)
    generated, _ = game.generate(params, variables, latent, batch, train=True)
    real_logits, variables = game.discriminate(params, variables, real, batch, train=True)
    fake_logits, variables = game.discriminate(params, variables, generated, batch, train=True)
    losses = adversarial.real_loss(game.loss, real_logits) + adversarial.fake_loss(game.loss, fake_logits)
    terms = {"adversarial": Term(jnp.sum(weight * losses), total)}
    if penalized and game.penalty is not None:
        penalties = game.penalties(params, variables, real, generated, batch, jax.random.fold_in(key, 1))
        terms["penalty"] = Term(jnp.sum(weight * penalties), total, game.penalty_weight)
    return Outcome(
        terms=terms,
        variables=variables,
        metrics={
            **adversarial.logit_metrics("real", real_logits, weight, True, threshold),
            **adversarial.logit_metrics("fake", fake_logits, weight, False, threshold),
        },
    )


def _penalty_loss(
    game: Game, every: int, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array, step: Array
) -> Outcome:
    del step
    real = to_symmetric(batch["image"])
    latent = game.latent(jax.random.fold_in(key, 0), batch)
    generated = real
    if game.penalty == "gradient":
        generated, _ = game.generate(params, variables, latent, batch, train=True)
    penalties = game.penalties(params, variables, real, generated, batch, jax.random.fold_in(key, 1))
    weight = batch["weight"]
    term = Term(jnp.sum(weight * penalties), jnp.sum(weight), every * game.penalty_weight)
    return Outcome(terms={"penalty": term}, variables=variables)


def _generator_loss(
    game: Game, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array, step: Array
) -> Outcome:
    del step
    weight, threshold = batch["weight"], adversarial.threshold_of(game.loss)
    latent = game.latent(jax.random.fold_in(key, 0), batch)
    generated, variables = game.generate(params, variables, latent, batch, train=True)
    logits, _ = game.discriminate(params, variables, generated, batch, train=True)
    losses = adversarial.generator_loss(game.loss, logits)
    return Outcome(
        terms={"adversarial": Term(jnp.sum(weight * losses), jnp.sum(weight))},
        variables=variables,
        metrics=adversarial.logit_metrics("fake", logits, weight, False, threshold),
    )


def _iterate(params: PyTree, variables: PyTree, step: Array) -> PyTree:
    """`variables` after this step's power iteration of the discriminator, if it is normalized by its spectrum."""
    if ITERATED not in variables:
        return variables
    collections = variables[DISCRIMINATOR]
    new = power_iteration(params[DISCRIMINATOR], collections[COLLECTION])
    due = step != variables[ITERATED]
    spectral = jax.tree.map(lambda new, old: jnp.where(due, new, old), new, collections[COLLECTION])
    step = jnp.asarray(step, jnp.int32)
    return {**variables, DISCRIMINATOR: {**collections, COLLECTION: spectral}, ITERATED: step}


def _evaluate(game: Game, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array) -> Evaluation:
    weight, threshold = batch["weight"], adversarial.threshold_of(game.loss)
    total = jnp.sum(weight)
    real = to_symmetric(batch["image"])
    latent = game.latent(jax.random.fold_in(key, 0), batch)
    generated = game.generate(params, variables, latent, batch, train=False)[0]
    kind = batch["label"] if game.classes else jnp.zeros_like(batch["index"])
    member = jax.nn.one_hot(kind, max(game.classes, 1)) * weight[:, None]
    metrics = {"share": (member.sum(0), total)}
    for name, image in (("real", real), ("fake", generated)):
        logits = game.discriminate(params, variables, image, batch, train=False)[0]
        metrics |= adversarial.logit_metrics(name, logits, weight, name == "real", threshold)
        flat = image.reshape(len(image), -1)
        metrics[f"{name}_square"] = (jnp.sum(weight * jnp.square(flat).sum(1))[None], total)  # [1]: no figure to show
        metrics[f"{name}_mean"] = (member.T @ flat, total)
    if game.fid_classifier is None:
        return Evaluation(metrics)
    records = game.fid_classifier.records(params, variables, from_symmetric(real), from_symmetric(generated))
    if game.classes:
        metrics["label_accuracy"] = (jnp.sum(weight * (records["generated_label"] == batch["label"])), total)
    return Evaluation(metrics, records)


def _score(game: Game, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
    del names
    spread = {}
    for name in ("real", "fake"):
        # Twice the variance within classes is the mean squared distance of two images of one class.
        means = np.sum(np.square(metrics[f"{name}_mean"]), axis=1)
        share = np.asarray(metrics["share"])
        spread[name] = float(metrics[f"{name}_square"][0] - np.sum(means[share > 0] / share[share > 0]))
    diversity = float(np.sqrt(max(spread["fake"], 0.0) / spread["real"])) if spread["real"] > 0 else 0.0
    figures = fid.score(records) if game.fid_classifier is not None else {}
    figures |= {"diversity": diversity, "collapsed": float(diversity < COLLAPSED)}
    if diversity < COLLAPSED:
        found = f", {figures['classes']:.0f} classes found" if "classes" in figures else ""
        logging.warning(
            "generated images collapse: they differ from each other %.2f times as much as real ones%s", diversity, found
        )
    return figures


def _sample(game: Game, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array) -> dict[str, Array]:
    latent = game.latent(jax.random.fold_in(key, 0), batch)
    image = symmetric_to_uint8(game.generate(params, variables, latent, batch, train=False)[0])
    return {"image": image, **({"label": batch["label"]} if game.classes else {})}


def _predict(game: Game, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array) -> dict[str, Array]:
    start, stop = (game.latent(jax.random.fold_in(key, end), batch) for end in (0, 1))

    def image(share: Array) -> Array:
        latent = between(start, stop, share)
        return symmetric_to_uint8(game.generate(params, variables, latent, batch, train=False)[0])

    path = jnp.moveaxis(jax.lax.map(image, jnp.linspace(0.0, 1.0, PATH)), 0, 1)
    return {"image": path[:, 0], "path": path, **({"label": batch["label"]} if game.classes else {})}


def between(start: Array, stop: Array, share: Array) -> Array:
    """Spherical interpolation [batch, latents]: keeps to lengths that the generator knows (arXiv:1609.04468)."""

    def length(x: Array) -> Array:
        return jnp.sqrt(jnp.sum(jnp.square(x), -1, keepdims=True))

    cosine = jnp.sum(start * stop, -1, keepdims=True) / (length(start) * length(stop))
    angle = jnp.arccos(jnp.clip(cosine, -0.9999, 0.9999))
    return (jnp.sin((1.0 - share) * angle) * start + jnp.sin(share * angle) * stop) / jnp.sin(angle)


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`samples` beside real images, by class where the model knows classes, and `paths` between two samples."""
    del metrics
    from jaxdl.viz.generation import path_grid, real_and_generated

    labels = np.asarray(outputs["label"]) if "label" in outputs else None
    class_names = names.get("label") if labels is not None else None
    return {
        "samples": real_and_generated(np.asarray(batch["image"]), np.asarray(outputs["image"]), labels, class_names),
        "paths": path_grid(np.asarray(outputs["path"])),
    }


def illustrate(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> np.ndarray:
    """The generated image as it is."""
    del example, names
    return np.broadcast_to(outputs["image"], (*outputs["image"].shape[:2], 3))


def readable(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The class that was asked for."""
    del example
    return {"label": str(names["label"][int(outputs["label"])])} if "label" in outputs else {}
