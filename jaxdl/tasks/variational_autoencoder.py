"""Variational autoencoders: images from latents that are standard normal (Kingma & Welling 2013, arXiv:1312.6114).

Batches: `image` uint8 [batch, height, width, channels], `weight` float32 [batch] (0 on padding), `index` [batch]; and
`label` int32 [batch] for a model that is conditional on it or a fid_classifier.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.models.vae import Decoded
from jaxdl.tasks.parts import fid
from jaxdl.tasks.parts.apply import batch_coupling
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.latent_walks import (
    MAP,
    REACH,
    SHOWN,
    by_group,
    flat,
    walks,
)
from jaxdl.tasks.parts.likelihood import Likelihood
from jaxdl.tasks.parts.pixels import unit_to_symmetric, unit_to_uint8
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

GROUP = "autoencoder"
ACTIVE = 0.01  # a latent is active when its posterior's mean varies by more than this over the data (arXiv:1509.00519)
# What an example draws, each from a key of its own.
_PIXELS, _NOISE, _PRIOR, _BOUND = range(4)


def variational_autoencoder(
    model: nn.Module,
    *,
    likelihood: Likelihood,
    beta: float = 1.0,
    warmup: int = 0,
    free_bits: float = 0.0,
    samples: int = 1,
    bound_samples: int = 16,
    fid_classifier: FIDClassifier | None = None,
    batch_coupled: str | None = None,
) -> Any:
    """Trains the group "autoencoder" in one phase, "train".

    Terms: `reconstruction`, minus the log-likelihood of the image; `kl`, from the posterior to the prior, in closed
    form, with the coefficient beta. With `samples` > 1 one term, `importance_weighted`: minus the log mean of that many
    importance weights (Burda et al. 2015, arXiv:1509.00519), whose gradient differs from that of its parts.

    Args:
      model: with the methods of `jaxdl.models.vae`; it sees what the likelihood observes, scaled to [-1, 1].
      likelihood: `Bernoulli` on binarized images or `Gaussian` on grey values.
      beta: factor of the KL divergence (Higgins et al. 2017, beta-VAE); 1 for a bound on the likelihood.
      warmup: steps over which the factor rises linearly to beta (Bowman et al. 2015, arXiv:1511.06349).
      free_bits: nats of KL divergence that a latent (of a map: a channel, over all places) has for nothing in training:
        below that its KL has no gradient. By example, unlike in Kingma et al. 2016 (arXiv:1606.04934), who compare a
        minibatch's mean: so the loss stays a sum over examples.
      samples: of the latents, of each image in training.
      bound_samples: of each image in evaluation, for `bound`; 0 leaves it out. `launch.py eval RUN
        --set=task.bound_samples=5000` computes a tighter one; memory does not grow with it.
      fid_classifier: a classifier of the data's images; its weights are the group "fid_classifier",
        see `jaxdl.tasks.parts.fid`.
      batch_coupled: as in `image_classification`.

    Evaluation metrics, in nats an image: `loss`, minus the evidence lower bound from one draw; its parts
    `reconstruction` and `kl`, and by group of latents `kl_<number>`, if there are several; `bound`, minus the
    importance weighted bound. `active_units`: how many latents' posterior means vary over the data by more than 0.01
    of the prior's variance. With a fid_classifier the figures of `jaxdl.tasks.parts.fid.score`, from
    one draw from the prior an
    example: its expected pixels, not drawn ones.
    Predictions: `reconstruction` uint8 [batch, h, w, c] from the posterior's mean; `latents` [batch, n], that mean as
    noise under the prior; `observed` uint8, what the model saw; `loss` [batch]; `sample` uint8, from the prior; and for
    pictures, of the first 24 examples, `interpolation`, `traversal` [batch, 9, h, w, c] and `latent_map` [batch, 16,
    h, w, c]. A conditional model predicts under `label` int32 [batch], the one whose bound is best.

    Raises:
      UserError: an argument out of range; when traced, a label that is missing or outputs of another shape.
    """
    _check(beta, warmup, free_bits, samples, bound_samples)
    network = Network(model, likelihood)
    if samples > 1:
        loss = functools.partial(_weighted_loss, network, samples, functools.partial(_coefficient, beta, warmup))
    else:
        loss = functools.partial(_loss, network, free_bits, functools.partial(_coefficient, beta, warmup))
    return FunctionTask(
        init=functools.partial(_init, network, fid_classifier),
        phases=(Phase(name="train", trains=GROUP, loss=loss),),
        evaluate=functools.partial(_evaluate, network, bound_samples, fid_classifier),
        predict=functools.partial(_predict, network),
        score=_score,
        draw=_draw,
        illustrate=_illustrate,
        readable=_readable,
        batch_coupled=batch_coupling(model) if batch_coupled is None else batch_coupled,
    )


def _check(beta: float, warmup: int, free_bits: float, samples: int, bound_samples: int) -> None:
    if not 0.0 <= beta < np.inf:
        raise UserError(f"beta={beta}: must be a number of at least 0")
    if warmup < 0:
        raise UserError(f"warmup={warmup}: must be a number of steps, or 0 for none")
    if not 0.0 <= free_bits < np.inf:
        raise UserError(f"free_bits={free_bits}: must be a number of at least 0")
    if samples < 1 or bound_samples < 0:
        raise UserError(f"samples={samples}, bound_samples={bound_samples}: must be at least 1 and 0")
    if samples > 1 and free_bits:
        raise UserError(f"free_bits={free_bits} and samples={samples}: the importance weighted bound has no KL to free")


@dataclass(frozen=True)
class Network:
    """A model and its likelihood, applied to batches."""

    model: Any
    likelihood: Likelihood

    def label(self, batch: Mapping[str, Array]) -> Array | None:
        """The label that the model is conditional on, if it is."""
        if not getattr(self.model, "classes", 0):
            return None
        if "label" not in batch:
            raise UserError("the model is conditional on a label, and the batches have none; set classes to 0")
        return batch["label"]

    def observe(self, batch: Mapping[str, Array], keys: Array) -> Array:
        """float32 [batch, h, w, c] in [0, 1]: the pixels that the likelihood is about."""
        image = batch["image"]
        if image.ndim != 4:
            raise UserError(f"image has shape {image.shape}: the task needs [batch, height, width, channels]")
        return self.likelihood.observe(image, _fold(keys, _PIXELS))

    def noise(self, keys: Array) -> tuple[Array, ...]:
        """Standard normal [batch, *shape] for each group of latents, from a key an example."""
        shapes = enumerate(self.model.latent_shapes)
        return tuple(
            jax.vmap(lambda key, shape=shape: jax.random.normal(key, shape))(_fold(keys, group))
            for group, shape in shapes
        )

    def apply(
        self, params: PyTree, variables: PyTree, method: str, *arguments: Any, rng: Array | None = None
    ) -> tuple[Any, PyTree]:
        """What a method of the model gives, and the new variables; `rng` is for training, None for evaluation."""
        collections = variables.get(GROUP, {})
        inputs = {"params": params[GROUP], **collections}
        if rng is None:
            return self.model.apply(inputs, *arguments, train=False, method=method), variables
        options = {"train": True, "method": method, "rngs": {"dropout": rng}, "mutable": list(collections)}
        outputs, updated = self.model.apply(inputs, *arguments, **options)
        return outputs, {**variables, GROUP: updated} if collections else variables

    def score(self, decoded: Decoded, observed: Array) -> tuple[Array, list[Array]]:
        """The log-likelihood [batch], and the KL divergence of each group by latent or channel, [batch, n]."""
        self.check(decoded.output, observed)
        kls = [group.kl.sum(axis=tuple(range(1, group.kl.ndim - 1))) for group in decoded.groups]
        return self.likelihood.log_likelihood(decoded.output, observed), kls

    def check(self, output: Array, observed: Array) -> None:
        """Refuses outputs of another shape than the likelihood needs, with a UserError."""
        wanted = (*observed.shape[:3], self.likelihood.outputs(observed.shape[-1]))
        if output.shape != wanted:
            raise UserError(f"the model gives {output.shape}: the likelihood needs {wanted}; set its shape and outputs")

    def log_weight(self, decoded: Decoded, observed: Array, coefficient: Array | float = 1.0) -> Array:
        """[batch] log p(image, latents) - log q(latents | image), in nats."""
        log_likelihood, _ = self.score(decoded, observed)
        return log_likelihood - coefficient * sum(group.log_ratio for group in decoded.groups)


def _fold(keys: Array, number: int | Array) -> Array:
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def _coefficient(beta: float, warmup: int, step: Array) -> Array:
    return jnp.float32(beta) * jnp.minimum(1.0, (step + 1.0) / max(warmup, 1))


def _init(
    network: Network, fid_classifier: FIDClassifier | None, key: Array, batch: Mapping[str, Array]
) -> tuple[dict, dict]:
    keys = jax.random.split(key, 3)
    observed = network.observe(batch, example_keys(keys[0], batch))
    noise = network.noise(example_keys(keys[0], batch))
    collections = dict(
        network.model.init(keys[1], unit_to_symmetric(observed), noise, network.label(batch), train=False)
    )
    params, variables = {GROUP: collections.pop("params")}, {GROUP: collections} if collections else {}
    if fid_classifier is None:
        return params, variables
    more, statistics = fid_classifier.init(keys[2], batch["image"])
    return {**params, **more}, {**variables, **statistics}


def _loss(
    network: Network,
    free_bits: float,
    coefficient: Callable[[Array], Array],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    keys, rng, label = example_keys(key, batch), module_key(key, batch), network.label(batch)
    observed, noise = network.observe(batch, keys), network.noise(_fold(keys, _NOISE))
    apply = functools.partial(network.apply, params, rng=rng)
    encoded, variables = apply(variables, "encode", unit_to_symmetric(observed), label)
    decoded, variables = apply(variables, "decode", encoded, noise, label)
    log_likelihood, kls = network.score(decoded, observed)
    freed = sum(jnp.sum(jnp.maximum(kl, free_bits) if free_bits else kl, axis=-1) for kl in kls)
    true = sum(jnp.sum(kl, axis=-1) for kl in kls)
    weight = batch["weight"]
    total = jnp.sum(weight)
    return Outcome(
        terms={
            "reconstruction": Term(-jnp.sum(weight * log_likelihood), total),
            "kl": Term(jnp.sum(weight * freed), total, coefficient(step)),
        },
        variables=variables,
        metrics={"negative_elbo": (jnp.sum(weight * (true - log_likelihood)), total)},
    )


def _weighted_loss(
    network: Network,
    samples: int,
    coefficient: Callable[[Array], Array],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    keys, rng, label = example_keys(key, batch), module_key(key, batch), network.label(batch)
    observed, factor = network.observe(batch, keys), coefficient(step)
    encoded, variables = network.apply(params, variables, "encode", unit_to_symmetric(observed), label, rng=rng)

    def one(number: Array) -> tuple[Array, Array, PyTree]:
        noise = network.noise(_fold(_fold(keys, _NOISE), number))
        decoded, updated = network.apply(params, variables, "decode", encoded, noise, label, rng=rng)
        return network.log_weight(decoded, observed, factor), network.log_weight(decoded, observed), updated

    warmed, exact, updated = jax.vmap(one)(jnp.arange(samples))
    bound = jax.nn.logsumexp(warmed, axis=0) - jnp.log(samples)
    weight = batch["weight"]
    total = jnp.sum(weight)
    return Outcome(
        terms={"importance_weighted": Term(-jnp.sum(weight * bound), total)},
        variables=jax.tree.map(lambda leaf: leaf.mean(0).astype(leaf.dtype), updated),
        metrics={"negative_elbo": (-jnp.sum(weight * exact.mean(0)), total)},
    )


def importance_bound(log_weight: Callable[[Array], Array], samples: int, examples: int) -> Array:
    """[examples] the log mean of importance weights (arXiv:1509.00519), one after the other.

    Args:
      log_weight: the number of a sample -> [examples], in nats.
    """

    def add(so_far: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], None]:
        top, total = so_far
        weight = log_weight(number)
        higher = jnp.maximum(top, weight)
        return (higher, total * jnp.exp(top - higher) + jnp.exp(weight - higher)), None

    start = (jnp.full(examples, -jnp.inf), jnp.zeros(examples))
    (top, total), _ = jax.lax.scan(add, start, jnp.arange(samples))
    return top + jnp.log(total / samples)


def _evaluate(
    network: Network,
    bound_samples: int,
    fid_classifier: FIDClassifier | None,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> Evaluation:
    keys, label, weight = example_keys(key, batch), network.label(batch), batch["weight"]
    observed, apply = network.observe(batch, keys), functools.partial(network.apply, params, variables)
    encoded, _ = apply("encode", unit_to_symmetric(observed), label)

    def decode(keys: Array) -> Decoded:
        return apply("decode", encoded, network.noise(keys), label)[0]

    decoded = decode(_fold(keys, _NOISE))
    log_likelihood, kls = network.score(decoded, observed)
    by_group = [jnp.sum(kl, axis=-1) for kl in kls]
    values = {"loss": sum(by_group) - log_likelihood, "reconstruction": -log_likelihood, "kl": sum(by_group)}
    if len(by_group) > 1:
        values |= {f"kl_{number}": kl for number, kl in enumerate(by_group, start=1)}
    if bound_samples:
        chosen = _fold(keys, _BOUND)
        values["bound"] = -importance_bound(
            lambda number: network.log_weight(decode(_fold(chosen, number)), observed), bound_samples, len(keys)
        )
    shift = jnp.concatenate([group.shift.reshape(len(keys), -1) for group in decoded.groups], axis=-1)
    values |= {"shift": shift.T, "squared_shift": jnp.square(shift).T}
    metrics = {name: (jnp.sum(weight * value, axis=-1), jnp.sum(weight)) for name, value in values.items()}
    if fid_classifier is None:
        return Evaluation(metrics)
    output, _ = apply("generate", network.noise(_fold(keys, _PRIOR)), label)
    generated = 255.0 * network.likelihood.mean(output)
    return Evaluation(metrics, fid_classifier.records(params, variables, batch["image"], generated))


def _score(records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
    del names
    variance = np.asarray(metrics["squared_shift"]) - np.asarray(metrics["shift"]) ** 2
    return {"active_units": float(np.sum(variance > ACTIVE)), **(fid.score(records) if records else {})}


def _predict(
    network: Network, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    keys = example_keys(key, batch)
    observed, apply = network.observe(batch, keys), functools.partial(network.apply, params, variables)
    noise = network.noise(_fold(keys, _NOISE))
    label = _likeliest(network, apply, observed, noise)
    encoded, _ = apply("encode", unit_to_symmetric(observed), label)
    drawn, _ = apply("decode", encoded, noise, label)
    still, _ = apply("decode", encoded, jax.tree.map(jnp.zeros_like, noise), label)
    log_likelihood, kls = network.score(drawn, observed)
    latents = flat([group.white for group in still.groups])

    def generate(latents: Array, label: Array | None) -> Array:
        output, _ = apply("generate", by_group(latents, network.model.latent_shapes), label)
        return unit_to_uint8(network.likelihood.mean(output))

    activity = jnp.sum(flat([group.kl for group in still.groups]), axis=0)
    return {
        "reconstruction": unit_to_uint8(network.likelihood.mean(still.output)),
        "latents": latents,
        "observed": unit_to_uint8(observed),
        "loss": sum(jnp.sum(kl, axis=-1) for kl in kls) - log_likelihood,
        "sample": generate(flat(network.noise(_fold(keys, _PRIOR))), label),
        **walks(latents, jnp.argsort(-activity), label, generate),
        **({} if label is None else {"label": label}),
    }


def _likeliest(network: Network, apply: Callable[..., Any], observed: Array, noise: Sequence[Array]) -> Array | None:
    """The label under which the bound is best, int32 [batch]; None for a model without: users' images have no label."""

    def bound(label: Array) -> Array:
        label = jnp.full(observed.shape[0], label, jnp.int32)
        decoded, _ = apply("decode", apply("encode", unit_to_symmetric(observed), label)[0], noise, label)
        log_likelihood, kls = network.score(decoded, observed)
        return log_likelihood - sum(jnp.sum(kl, axis=-1) for kl in kls)

    classes = getattr(network.model, "classes", 0)
    return jnp.argmax(jax.lax.map(bound, jnp.arange(classes)), axis=0).astype(jnp.int32) if classes else None


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`reconstructions`, `samples`, `interpolation`, `traversal` and `latent_map`: see `jaxdl.viz.latent`."""
    from jaxdl.viz import latent

    del metrics, names
    shown = np.flatnonzero(np.asarray(batch.get("weight", np.ones(len(batch["image"])))) > 0)[:SHOWN]
    image, own = np.asarray(batch["image"])[shown], {name: np.asarray(value)[shown] for name, value in outputs.items()}
    rows = {"image": image, "seen": own["observed"], "reconstructed": own["reconstruction"]}
    return {
        "reconstructions": latent.rows_of_images(rows),
        "samples": latent.samples(own["sample"]),
        "interpolation": latent.interpolations(own["interpolation"]),
        "traversal": latent.traversals(own["traversal"], REACH),
        "latent_map": latent.latent_map(own["latent_map"][:MAP], REACH),
    }


def _illustrate(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> np.ndarray:
    """What the model saw of an image, and its reconstruction."""
    from jaxdl.viz import latent

    del example, names
    rows = {"seen": outputs["observed"], "reconstructed": outputs["reconstruction"]}
    return latent.rows_of_images({name: np.asarray(image)[None] for name, image in rows.items()})


def _readable(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> dict[str, Any]:
    del example
    row = {"loss": float(outputs["loss"]), "latents": np.asarray(outputs["latents"]).tolist()}
    if "label" not in outputs:
        return row
    label = int(outputs["label"])
    return {"label": names["label"][label] if "label" in names else label, **row}
