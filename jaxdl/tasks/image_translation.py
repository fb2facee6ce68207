"""Unpaired image translation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts import adversarial
from jaxdl.tasks.parts.apply import per_example
from jaxdl.tasks.parts.arguments import check_choices, check_ranges
from jaxdl.tasks.parts.image_pool import empty_pool, update_pool
from jaxdl.tasks.parts.pixels import Normalize, symmetric_to_uint8
from jaxdl.training.task import (
    Array,
    Batch,
    Evaluation,
    Names,
    Outcome,
    Phase,
    PyTree,
    Task,
    Term,
    example_keys,
    module_key,
)
from jaxdl.viz.translation import ImageTranslationPresentation

GENERATORS, DISCRIMINATORS = "generators", "discriminators"
DIRECTIONS, STYLES = ("ab", "ba"), ("a", "b")
PAIRS = {"ab": ("ab", "b"), "ba": ("ba", "a"), "identity": ("a", "b")}  # metric -> images that are compared
SYMMETRIC = Normalize(mean=0.5, std=0.5)


@dataclass(frozen=True, eq=False)
class ImageTranslation(Task):
    """Unpaired image-to-image translation between two styles (CycleGAN, Zhu et al. 2017, arXiv:1703.10593).

    Trains the groups "generators" {ab, ba} and "discriminators" {a, b}, in phases of these names, in this order. The
    discriminators are trained on images from a pool, one per batch row and style (`jaxdl.tasks.parts.image_pool`),
    which is the task's carry; its images are generated before the generators' update.

    Batches: `image_a` and `image_b` uint8 [batch, height, width, channels], unpaired in training, paired in evaluation.
    With `paired` above 0 they must be pairs in training, too.

    Evaluation metrics, of pairs, with values in [0, 1]: `mae_ab` of the translated A and its B, `mae_ba`, and
    `mae_identity` of A itself and B; `relative_mae`, the mean of the first two divided by the third: below 1, a
    translation is closer to its true counterpart than the original. Likewise `lpips_ab`, `lpips_ba`, `lpips_identity`
    and `relative_lpips`.

    Predictions: `ab` and `ba`, translations of `image_a` and `image_b`, and `aba` and `bab`, their translations back,
    uint8 [batch, height, width, channels].

    Attributes:
      generator: Generator, `generator(image [batch, h, w, c] in [-1, 1], *, train) -> [batch, h, w, c]`, without
        variables; two copies are trained.
      discriminator: Discriminator, `discriminator(image, *, train) -> logits [batch, ...]`, without variables; two
        copies are trained.
      cycle: Coefficient of the cycle-consistency terms, the mean absolute error of an image translated there and back.
      identity: Coefficient of the identity terms, the mean absolute error of an image passed through the generator of
        its own style. 0 omits them. The paper uses half of `cycle`.
      paired: Coefficient of the mean absolute error of a translation and its true counterpart (pix2pix, Isola et al.
        2016, arXiv:1611.07004, with 100), an upper bound of unpaired training. 0 omits it.
      loss: Adversarial loss, see `jaxdl.tasks.parts.adversarial.LOSSES`.
      penalty: Coefficient of R1 on the mean logit of an image, for each discriminator. 0 omits it, as in the paper.
      pool: Size of the image pool per row and style. 0: the discriminators are trained on the new images.
      direction: Translation that `jaxdl predict` draws.
      perceptual: Network of LPIPS in evaluation, see `jaxdl.metrics.perceptual`. None: no LPIPS.

    Raises:
      UserError: An argument out of range, or a missing package for LPIPS.
    """

    generator: nn.Module
    discriminator: nn.Module
    cycle: float = 10.0
    identity: float = 5.0
    paired: float = 0.0
    loss: adversarial.Loss = "least_squares"
    penalty: float = 0.0
    pool: int = 8
    direction: Literal["ab", "ba"] = "ab"
    perceptual: str | None = "alexnet"

    def __post_init__(self):
        check_choices(self, loss=adversarial.LOSSES, direction=DIRECTIONS)
        check_ranges(self, cycle="[0, inf)", identity="[0, inf)", paired="[0, inf)")
        check_ranges(self, penalty="[0, inf)", pool="[0, inf)")
        if self.perceptual is not None:
            from jaxdl.metrics.perceptual import check_network

            check_network(self.perceptual)

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase(GENERATORS, GENERATORS, self.generator_loss),
            Phase(DISCRIMINATORS, DISCRIMINATORS, self.discriminator_loss),
        )

    @property
    def presentation(self) -> ImageTranslationPresentation:
        return ImageTranslationPresentation(self.direction)

    def check_data(self, data: Any) -> None:
        if self.paired and getattr(data.train, "paired", True) is False:
            raise UserError(
                f"task.paired={self.paired} compares images of data.train that are not pairs; set"
                " data.train.paired=True, as the recipe's argument `paired` does, or task.paired=0"
            )

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        a, b = _scaled(batch)
        if a.shape != b.shape:
            raise UserError(f"image_a has shape {a.shape}, but image_b has {b.shape}; resize both to one size")
        networks = ((GENERATORS, self.generator, DIRECTIONS), (DISCRIMINATORS, self.discriminator, STYLES))
        params: dict[str, dict[str, PyTree]] = {}
        for number, (group, module, names) in enumerate(networks):
            keys = jax.random.split(jax.random.fold_in(key, number), 2)
            copies = [dict(module.init(key, a, train=False)) for key in keys]
            if extra := sorted(set(copies[0]) - {"params"}):
                raise UserError(
                    f"{type(module).__name__} has the variables {', '.join(extra)}; image translation needs networks"
                    " without variables, for example with norm=instance_norm"
                )
            params[group] = {name: copy["params"] for name, copy in zip(names, copies)}
        return params, {}

    def carry(self, batch: Batch) -> dict[str, dict[str, Array]]:
        image = _scaled(batch)[0]
        return {style: empty_pool(image, self.pool) for style in STYLES}

    def generator_loss(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree
    ) -> Outcome:
        """Returns the adversarial, cycle and identity terms, and the pools with the generated images."""
        translate, discriminate = self._networks(params, batch, key)
        a, b = _scaled(batch)
        fake_b, same_b = both(translate, "ab", a, b) if self.identity else (translate("ab", a), b)
        fake_a, same_a = both(translate, "ba", b, a) if self.identity else (translate("ba", b), a)

        def term(values: Array, coefficient: float = 1.0) -> Term:
            return Term(*per_example(batch, _image_means(values)), coefficient)

        terms = {
            "adversarial_ab": term(adversarial.LOSSES[self.loss].generator(discriminate("b", fake_b))),
            "adversarial_ba": term(adversarial.LOSSES[self.loss].generator(discriminate("a", fake_a))),
            "cycle_a": term(jnp.abs(translate("ba", fake_b) - a), float(self.cycle)),
            "cycle_b": term(jnp.abs(translate("ab", fake_a) - b), float(self.cycle)),
        }
        if self.identity:
            terms["identity_a"] = term(jnp.abs(same_a - a), float(self.identity))
            terms["identity_b"] = term(jnp.abs(same_b - b), float(self.identity))
        if self.paired:
            terms["paired_ab"] = term(jnp.abs(fake_b - b), float(self.paired))
            terms["paired_ba"] = term(jnp.abs(fake_a - a), float(self.paired))
        draws = jax.vmap(lambda key: jax.random.uniform(key, (2, 2)))(example_keys(key, batch))
        pools = {
            style: update_pool(carry[style], jax.lax.stop_gradient(fake), draws[:, number])
            for number, (style, fake) in enumerate(zip(STYLES, (fake_a, fake_b)))
        }
        return Outcome(terms, variables, carry=pools)

    def discriminator_loss(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree
    ) -> Outcome:
        """Returns the terms of both discriminators on real images and on the images that the pools show."""
        _, discriminate = self._networks(params, batch, key)
        terms, metrics = {}, {}
        threshold = adversarial.LOSSES[self.loss].threshold
        for style, image in zip(STYLES, _scaled(batch)):
            real, fake = both(discriminate, style, image, carry[style]["shown"])
            losses = {
                "real": adversarial.LOSSES[self.loss].real(real),
                "fake": adversarial.LOSSES[self.loss].fake(fake),
            }
            for name, values in losses.items():
                terms[f"{name}_{style}"] = Term(*per_example(batch, _image_means(values)), 0.5)
            if self.penalty:
                r1 = adversarial.r1(lambda image, style=style: _image_means(discriminate(style, image)), image)
                terms[f"r1_{style}"] = Term(*per_example(batch, r1), float(self.penalty))
            metrics |= adversarial.logit_metrics(f"real_{style}", real, batch["weight"], True, threshold)
            metrics |= adversarial.logit_metrics(f"fake_{style}", fake, batch["weight"], False, threshold)
        return Outcome(terms, variables, metrics, carry)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        translate, _ = self._networks(params, batch)
        a, b = _scaled(batch)
        images = {"a": a, "b": b, "ab": translate("ab", a), "ba": translate("ba", b)}
        images = {name: jnp.clip((image + 1.0) / 2.0, 0.0, 1.0) for name, image in images.items()}
        metrics = {
            f"mae_{name}": per_example(batch, _image_means(jnp.abs(images[first] - images[second])))
            for name, (first, second) in PAIRS.items()
        }
        return Evaluation(metrics, {} if self.perceptual is None else images)

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        scores = {"relative_mae": _relative({name: float(metrics[f"mae_{name}"]) for name in PAIRS})}
        if self.perceptual is None:
            return scores
        from jaxdl.metrics.perceptual import lpips

        distances = {
            name: float(lpips(records[first], records[second], self.perceptual).mean())
            for name, (first, second) in PAIRS.items()
        }
        scores |= {f"lpips_{name}": distance for name, distance in distances.items()}
        return scores | {"relative_lpips": _relative(distances)}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        translate, _ = self._networks(params, batch)
        a, b = _scaled(batch)
        images = {"ab": translate("ab", a), "ba": translate("ba", b)}
        images |= {"aba": translate("ba", images["ab"]), "bab": translate("ab", images["ba"])}
        return {name: symmetric_to_uint8(image) for name, image in images.items()}

    def _networks(
        self, params: PyTree, batch: Batch, key: Array | None = None
    ) -> tuple[Callable[[str, Array], Array], Callable[[str, Array], Array]]:
        """Returns `translate(direction, image)` and `discriminate(style, image)`; a key for training."""
        train = key is not None
        rngs = None if key is None else {"dropout": module_key(key, batch)}

        def translate(direction: str, image: Array) -> Array:
            tree = {"params": params[GENERATORS][direction]}
            return jnp.asarray(self.generator.apply(tree, image, rngs=rngs, train=train), jnp.float32)

        def discriminate(style: str, image: Array) -> Array:
            tree = {"params": params[DISCRIMINATORS][style]}
            return jnp.asarray(self.discriminator.apply(tree, image, rngs=rngs, train=train), jnp.float32)

        return translate, discriminate


def both(network: Callable[[str, Array], Array], name: str, first: Array, second: Array) -> tuple[Array, Array]:
    """Returns `network(name, first)` and `network(name, second)`, computed as one batch.

    The images of one row are adjacent, so that a batch that is sharded over devices is not moved.
    """
    images = jnp.stack([first, second], axis=1)
    outputs = network(name, images.reshape(-1, *first.shape[1:]))
    outputs = outputs.reshape(first.shape[0], 2, *outputs.shape[1:])
    return outputs[:, 0], outputs[:, 1]


def _relative(distances: Mapping[str, float]) -> float:
    """Returns the mean distance of the translations divided by that of the identity, 1 if that is 0."""
    mean, identity = (distances["ab"] + distances["ba"]) / 2, distances["identity"]
    return mean / identity if identity else 1.0


def _scaled(batch: Batch) -> tuple[Array, Array]:
    """Returns `image_a` and `image_b` as float32 in [-1, 1]."""
    return SYMMETRIC(batch["image_a"]), SYMMETRIC(batch["image_b"])


def _image_means(values: Array) -> Array:
    """Returns the mean [batch] of values [batch, ...]."""
    return jnp.mean(values, axis=tuple(range(1, values.ndim)))
