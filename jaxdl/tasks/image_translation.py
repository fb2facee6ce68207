"""Image translation between two styles from unpaired pictures: CycleGAN (Zhu et al. 2017, arXiv:1703.10593).

Batches: `image_a` and `image_b` uint8 [batch, height, width, channels], in training of one row but no pair, in
evaluation true pairs; `weight` float32 [batch] (0 on padding), `index` [batch].
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError, nearest
from jaxdl.tasks.parts.adversarial import (
    Loss,
    check_loss,
    fake_loss,
    generator_loss,
    logit_metrics,
    r1,
    real_loss,
    threshold_of,
)
from jaxdl.tasks.parts.apply import normalize_images
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

GENERATORS, DISCRIMINATORS = "generators", "discriminators"
DIRECTIONS = ("ab", "ba")
_SHOWN = 12  # pairs in a picture


def image_translation(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    cycle: float = 10.0,
    identity: float = 5.0,
    loss: Loss = "least_squares",
    penalty: float = 0.0,
    pool: int = 8,
    direction: Literal["ab", "ba"] = "ab",
    perceptual: str | None = "alexnet",
) -> Any:
    """Trains the groups "generators" {ab, ba} and "discriminators" {a, b}, in phases of these names, in this order.

    The discriminators see images that the generators made before their update, through a pool (Shrivastava et al. 2016,
    arXiv:1612.07828): every row of the batch has `pool` places for each style, filled one a step. Once they are full, a
    new image is shown itself, or with probability 1/2 takes the place of one of them, which is shown instead. The pools
    are the task's carry: they travel with the rows.

    Args:
      generator: `generator(image [batch, h, w, c] in -1..1, *, train) -> [batch, h, w, c]`; two of it are trained.
      discriminator: `discriminator(image, *, train) -> logits [batch, ...]`; two of it. Neither may keep variables.
      cycle: how much the mean absolute difference of an image from its translation and back counts, for both styles.
      identity: the same for an image from what the generator into its own style makes of it; 0: not computed. The
        paper takes half of `cycle`.
      loss: adversarial loss, see `jaxdl.tasks.parts.adversarial`.
      penalty: how much R1 counts for each discriminator, see `jaxdl.tasks.parts.adversarial`, with the mean of an
        image's logits; not in the paper. 0: not computed.
      pool: places for each row and style; 0: the discriminators see the new images.
      direction: which translation `launch.py predict` shows of a picture.
      perceptual: the network of LPIPS in evaluation, see `jaxdl.metrics.perceptual`; None: without it.

    Evaluation metrics, of true pairs, with values in 0..1: `mae_ab`, of the translated A from its B, `mae_ba`, and
    `mae_identity`, of A itself from B; `lpips_ab`, `lpips_ba`, `lpips_identity`, and `relative_lpips`, the mean of the
    first two as a share of the third: below 1 a translation looks more like its true counterpart than the original.
    Predictions: `ab` and `ba`, translations of `image_a` and `image_b`, and `aba` and `bab`, these back again, uint8
    [batch, height, width, channels].

    Raises:
      UserError: an argument out of range, or the package for LPIPS is missing.
    """
    check_loss(loss)
    for name, value in (("cycle", cycle), ("identity", identity), ("penalty", penalty), ("pool", pool)):
        if value < 0:
            raise UserError(f"{name}={value}: must be 0 or more")
    if direction not in DIRECTIONS:
        raise UserError(f"direction is '{direction}'; {nearest(direction, DIRECTIONS)}")
    if perceptual is not None:
        from jaxdl.metrics.perceptual import check_network

        check_network(perceptual)
    made = _Translation(generator, discriminator, float(cycle), float(identity), loss, float(penalty), pool)
    return FunctionTask(
        init=made.init,
        phases=(
            Phase(name=GENERATORS, trains=GENERATORS, loss=made.generators),
            Phase(name=DISCRIMINATORS, trains=DISCRIMINATORS, loss=made.discriminators),
        ),
        evaluate=functools.partial(made.evaluate, perceptual is not None),
        predict=made.predict,
        score=None if perceptual is None else functools.partial(_score, perceptual),
        draw=_draw,
        illustrate=functools.partial(_illustrate, direction),
        carry=made.carry,
    )


@dataclass(frozen=True)
class _Translation:
    """The functions of the task, see `image_translation` for the attributes."""

    generator: nn.Module
    discriminator: nn.Module
    cycle: float
    identity: float
    loss: Loss
    penalty: float
    pool: int

    def init(self, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
        """(params {group: {direction or style: tree}}, {})."""
        a, b = _scaled(batch)
        if a.shape != b.shape:
            raise UserError(f"image_a has shape {a.shape}, image_b {b.shape}: bring both to one")
        groups: dict[str, dict[str, PyTree]] = {}
        for number, (group, module, names) in enumerate(
            ((GENERATORS, self.generator, DIRECTIONS), (DISCRIMINATORS, self.discriminator, ("a", "b")))
        ):
            keys = jax.random.split(jax.random.fold_in(key, number), 2)
            made = [dict(module.init(key, a, train=False)) for key in keys]
            if set(made[0]) != {"params"}:
                raise UserError(
                    f"{type(module).__name__} keeps {', '.join(sorted(set(made[0]) - {'params'}))}: image_translation"
                    " takes networks that keep nothing but parameters; choose norm=instance_norm"
                )
            groups[group] = {name: one["params"] for name, one in zip(names, made)}
        return groups, {}

    def carry(self, batch: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        """For each style: `shown` [batch, h, w, c], what the discriminator sees next; `pool` [batch, pool, h, w, c],
        of which the first `filled` int32 [batch] hold images."""
        image = _scaled(batch)[0]
        style = {"shown": jnp.zeros_like(image)}
        if self.pool:
            style["pool"] = jnp.zeros((len(image), self.pool, *image.shape[1:]), image.dtype)
            style["filled"] = jnp.zeros(len(image), jnp.int32)
        return {name: dict(style) for name in ("a", "b")}

    def generators(
        self, params: PyTree, variables: PyTree, batch: Mapping[str, Any], key: Array, step: Array
    ) -> Outcome:
        """Adversarial, cycle and identity loss of both generators; puts their images into the pools."""
        del step
        translate, judge = self._networks(params, batch, key)
        weight, (a, b) = batch["weight"], _scaled(batch)
        total = jnp.sum(weight)
        made_b, same_b = both(translate, "ab", a, b) if self.identity else (translate("ab", a), b)
        made_a, same_a = both(translate, "ba", b, a) if self.identity else (translate("ba", b), a)

        def term(values: Array, coefficient: float = 1.0) -> Term:
            return Term(jnp.sum(weight * _mean(values)), total, coefficient)

        terms = {
            "adversarial_ab": term(generator_loss(self.loss, judge("b", made_b))),
            "adversarial_ba": term(generator_loss(self.loss, judge("a", made_a))),
            "cycle_a": term(jnp.abs(translate("ba", made_b) - a), self.cycle),
            "cycle_b": term(jnp.abs(translate("ab", made_a) - b), self.cycle),
        }
        if self.identity:
            terms["identity_a"] = term(jnp.abs(same_a - a), self.identity)
            terms["identity_b"] = term(jnp.abs(same_b - b), self.identity)
        draws = jax.vmap(lambda key: jax.random.uniform(key, (2, 2)))(example_keys(key, batch))
        carry = {
            name: visit(batch["carry"][name], jax.lax.stop_gradient(made), draws[:, number])
            for number, (name, made) in enumerate((("a", made_a), ("b", made_b)))
        }
        return Outcome(terms, variables, carry=carry)

    def discriminators(
        self, params: PyTree, variables: PyTree, batch: Mapping[str, Any], key: Array, step: Array
    ) -> Outcome:
        """Both discriminators on real images and on those that the pools show; half of each counts."""
        del step
        _, judge = self._networks(params, batch, key)
        weight, terms, metrics = batch["weight"], {}, {}
        total = jnp.sum(weight)
        for name, image in zip(("a", "b"), _scaled(batch)):
            real, fake = both(judge, name, image, batch["carry"][name]["shown"])
            terms[f"real_{name}"] = Term(jnp.sum(weight * _mean(real_loss(self.loss, real))), total, 0.5)
            terms[f"fake_{name}"] = Term(jnp.sum(weight * _mean(fake_loss(self.loss, fake))), total, 0.5)
            if self.penalty:
                steepness = r1(lambda image, name=name: _mean(judge(name, image)), image)
                terms[f"r1_{name}"] = Term(jnp.sum(weight * steepness), total, self.penalty)
            threshold = threshold_of(self.loss)
            metrics |= logit_metrics(f"real_{name}", real, weight, True, threshold)
            metrics |= logit_metrics(f"fake_{name}", fake, weight, False, threshold)
        return Outcome(terms, variables, metrics, batch["carry"])

    def evaluate(
        self, recorded: bool, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
    ) -> Evaluation:
        """Of true pairs; `recorded`: with all four images of each, float32 in 0..1, for `_score`."""
        del variables
        translate, _ = self._networks(params, batch)
        a, b = _scaled(batch)
        images = {"a": a, "b": b, "ab": translate("ab", a), "ba": translate("ba", b)}
        images = {name: jnp.clip((image + 1.0) / 2.0, 0.0, 1.0) for name, image in images.items()}
        weight = batch["weight"]
        metrics = {}
        for name, (first, second) in {"ab": ("ab", "b"), "ba": ("ba", "a"), "identity": ("a", "b")}.items():
            difference = _mean(jnp.abs(images[first] - images[second]))
            metrics[f"mae_{name}"] = (jnp.sum(weight * difference), jnp.sum(weight))
        return Evaluation(metrics, images if recorded else {})

    def predict(self, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array) -> dict[str, Array]:
        """`ab`, `ba`, `aba`, `bab`, uint8."""
        del variables, key
        translate, _ = self._networks(params, batch)
        a, b = _scaled(batch)
        images = {"ab": translate("ab", a), "ba": translate("ba", b)}
        images |= {"aba": translate("ba", images["ab"]), "bab": translate("ab", images["ba"])}
        return {
            name: jnp.clip(jnp.round((image + 1.0) * 127.5), 0, 255).astype(jnp.uint8) for name, image in images.items()
        }

    def _networks(
        self, params: PyTree, batch: Mapping[str, Any], key: Array | None = None
    ) -> tuple[Callable[[str, Array], Array], Callable[[str, Array], Array]]:
        """(`translate(direction, image)`, `judge(style, image)`); a key: in training."""
        train = key is not None
        rngs = None if key is None else {"dropout": module_key(key, batch)}

        def translate(direction: str, image: Array) -> Array:
            tree = {"params": params[GENERATORS][direction]}
            return jnp.asarray(self.generator.apply(tree, image, rngs=rngs, train=train), jnp.float32)

        def judge(style: str, image: Array) -> Array:
            tree = {"params": params[DISCRIMINATORS][style]}
            return jnp.asarray(self.discriminator.apply(tree, image, rngs=rngs, train=train), jnp.float32)

        return translate, judge


def both(network: Callable[[str, Array], Array], name: str, first: Array, second: Array) -> tuple[Array, Array]:
    """`network(name, first)` and `network(name, second)`, computed as one batch.

    The images of one row come one after the other, so that a batch that is cut over devices stays where it is.
    """
    images = jnp.stack([first, second], axis=1)
    outputs = network(name, images.reshape(-1, *first.shape[1:]))
    outputs = outputs.reshape(first.shape[0], 2, *outputs.shape[1:])
    return outputs[:, 0], outputs[:, 1]


def visit(state: Mapping[str, Array], made: Array, draws: Array) -> dict[str, Array]:
    """The pools of one style after new images came: of every row its own (see `image_translation`).

    Args:
      state: as `_Translation.carry` gives it.
      made: [batch, h, w, c], a new image for each row.
      draws: [batch, 2], uniform in [0, 1): a full pool's place in question, and whether it changes hands (below 1/2).
    """
    if "pool" not in state:
        return {"shown": made}
    places = state["pool"].shape[1]
    full = state["filled"] >= places
    place = jnp.where(full, jnp.floor(draws[:, 0] * places).astype(jnp.int32), state["filled"])
    here = (jnp.arange(places) == place[:, None])[..., None, None, None]  # [batch, pool, 1, 1, 1]
    old = jnp.sum(jnp.where(here, state["pool"], 0.0), axis=1)
    swapped = full & (draws[:, 1] < 0.5)
    return {
        "shown": jnp.where(swapped[:, None, None, None], old, made),
        "pool": jnp.where(here & (swapped | ~full)[:, None, None, None, None], made[:, None], state["pool"]),
        "filled": jnp.minimum(state["filled"] + 1, places),
    }


def _scaled(batch: Mapping[str, Any]) -> tuple[Array, Array]:
    """`image_a` and `image_b` as float32 in -1..1."""
    first, second = (normalize_images(batch[name], mean=0.5, std=0.5) for name in ("image_a", "image_b"))
    return first, second


def _mean(values: Array) -> Array:
    """[batch, ...] -> [batch]."""
    return jnp.mean(values, axis=tuple(range(1, values.ndim)))


def _score(network: str, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict:
    from jaxdl.metrics.perceptual import lpips

    del metrics, names
    pairs = {"ab": ("ab", "b"), "ba": ("ba", "a"), "identity": ("a", "b")}
    found = {
        f"lpips_{name}": float(lpips(records[first], records[second], network).mean())
        for name, (first, second) in pairs.items()
    }
    both = (found["lpips_ab"] + found["lpips_ba"]) / 2
    return found | {"relative_lpips": both / found["lpips_identity"] if found["lpips_identity"] else 1.0}


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`translations`: of some pairs each picture, its translation, what it should be, and the way back."""
    from jaxdl.viz.translation import image_table

    del metrics
    a, b = names.get("style", ("A", "B"))
    weight = np.asarray(batch.get("weight", np.ones(len(batch["image_a"]))))
    there = np.flatnonzero(weight > 0)
    rows = there[np.linspace(0, len(there) - 1, min(_SHOWN, len(there))).astype(int)]  # neighbours are often alike
    columns = {}
    for given, made, true, back, title in (
        ("image_a", "ab", "image_b", "aba", (a, b)),
        ("image_b", "ba", "image_a", "bab", (b, a)),
    ):
        columns[title[0]] = batch[given]
        columns[f"made {title[1]}"] = outputs[made]
        columns[f"true {title[1]}"] = batch[true]
        columns[f"back to {title[0]}"] = outputs[back]
    return {"translations": image_table({title: np.asarray(images)[rows] for title, images in columns.items()})}


def _illustrate(direction: str, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> np.ndarray:
    """The picture as the network took it, and its translation."""
    from jaxdl.viz.translation import image_table

    styles = names.get("style", ("A", "B"))
    given = example[f"image_{direction[0]}"]
    title = f"as {styles[DIRECTIONS.index(direction) - 1]}"
    return image_table({"given": np.asarray(given)[None], title: np.asarray(outputs[direction])[None]}, size=224)
