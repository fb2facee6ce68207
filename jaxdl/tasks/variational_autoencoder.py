"""Variational autoencoders with standard normal latents (Kingma & Welling 2013, arXiv:1312.6114)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.models.vae import Decoded
from jaxdl.tasks.parts import fid
from jaxdl.tasks.parts.apply import apply_module, per_example
from jaxdl.tasks.parts.arguments import check_ranges
from jaxdl.tasks.parts.draws import fold_keys, standard_normal
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.latent_walks import flatten_groups, latent_walks, split_groups
from jaxdl.tasks.parts.likelihood import Likelihood, check_outputs, observe
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import unit_to_symmetric, unit_to_uint8
from jaxdl.training.task import (
    Array,
    Batch,
    Evaluation,
    IdRange,
    Names,
    Outcome,
    PyTree,
    Term,
    example_keys,
    module_key,
)
from jaxdl.viz.latent import VariationalAutoencoderPresentation

ACTIVE = 0.01  # least variance of the posterior mean over the data at which a latent is active (arXiv:1509.00519)
# Numbers of the keys of an example; `likelihood.observe` uses 0.
_NOISE, _PRIOR, _BOUND = range(1, 4)


@dataclass(frozen=True, eq=False)
class VariationalAutoencoder(ModelTask):
    """Variational autoencoder, trained on the evidence lower bound (ELBO) or the importance-weighted bound (IWAE).

    Trains the group "autoencoder" in one phase, "train". Terms: `reconstruction`, -log p(x | z); `kl`,
    KL(q(z | x) || p(z)) in closed form with coefficient beta. If samples > 1, one term, `importance_weighted`, the
    negative log mean of the importance weights p(x, z) / q(z | x) (Burda et al. 2015, arXiv:1509.00519, equation 8).

    Batches: `image` uint8 [batch, h, w, c]; `label` int32 [batch] if the model is conditional.

    Evaluation metrics, in nats per image: `loss`, the negative ELBO from one draw of the latents; `reconstruction`;
    `kl`, and `kl_<number>` per group of latents if there are several; `bound`, the negative importance-weighted bound.
    `active_units`: number of latents whose posterior mean varies over the data by more than 0.01 of the prior's
    variance. With an FID classifier also the metrics of `jaxdl.tasks.parts.fid.score`, from the expected pixels of one
    draw from the prior per example.

    Predictions: `reconstruction` uint8 [batch, h, w, c], from the posterior mean; `latents` [batch, n], that mean in
    standard deviations of the prior; `observed` uint8 [batch, h, w, c], the model's input; `loss` [batch]; `sample`
    uint8 [batch, h, w, c], from the prior; `interpolation`, `traversal` and `latent_map`, see
    `jaxdl.tasks.parts.latent_walks`. Conditional models predict with the label that maximizes the ELBO, `label`.

    Attributes:
      model: Model with the methods of `jaxdl.models.vae`. Its input is the observed image, scaled to [-1, 1].
      likelihood: `Bernoulli` for binarized images or `Gaussian` for gray values.
      beta: Coefficient of the KL (Higgins et al. 2017, beta-VAE). 1: the ELBO.
      warmup: Steps over which the coefficient increases linearly from 0 to beta (arXiv:1511.06349). 0: none.
      free_bits: Nats of KL per latent (per channel of a map, summed over positions) below which the KL has no gradient.
        Applied per example, so that the loss is a sum over examples; arXiv:1606.04934 applies it to a minibatch mean.
      samples: Draws of the latents per image in training. More than 1: the importance-weighted bound.
      bound_samples: Draws per image for `bound` in evaluation; memory does not depend on it. 0: no `bound`.
      fid_classifier: Trained classifier of the data's images for FID, see `jaxdl.tasks.parts.fid`. None: no FID.

    Raises:
      UserError: An argument out of range, or, when traced, a missing label or outputs of another shape.
    """

    group: ClassVar[str] = "autoencoder"
    presentation = VariationalAutoencoderPresentation()

    likelihood: Likelihood
    beta: float = 1.0
    warmup: int = 0
    free_bits: float = 0.0
    samples: int = 1
    bound_samples: int = 16
    fid_classifier: FIDClassifier | None = None

    def __post_init__(self):
        check_ranges(self, beta="[0, inf)", warmup="[0, inf)", free_bits="[0, inf)")
        check_ranges(self, samples="[1, inf)", bound_samples="[0, inf)")
        if self.samples > 1 and self.free_bits:
            raise UserError(
                f"free_bits={self.free_bits} with samples={self.samples}: the importance-weighted bound has no KL term;"
                " set one of them to its default"
            )

    def init(self, key: Array, batch: Batch) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        keys = jax.random.split(key, 3)
        examples = example_keys(keys[0], batch)
        image = unit_to_symmetric(observe(self.likelihood, batch, examples))
        params, variables = self.init_model(keys[1], image, self._noise(examples), self._label(batch))
        if self.fid_classifier is not None:
            frozen, statistics = self.fid_classifier.init(keys[2], batch["image"])
            params, variables = {**params, **frozen}, {**variables, **statistics}
        return params, variables

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        classes = getattr(self.model, "classes", 0)
        return [IdRange("label", classes, "task.model.classes")] if classes else []

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        keys, rng, label = example_keys(key, batch), module_key(key, batch), self._label(batch)
        observed = observe(self.likelihood, batch, keys)
        beta = jnp.float32(self.beta) * jnp.minimum(1.0, (step + 1.0) / max(self.warmup, 1))
        encoded, variables = self._apply("encode", params, variables, unit_to_symmetric(observed), label, key=rng)

        def decode(keys: Array) -> tuple[Decoded, PyTree]:
            return self._apply("decode", params, variables, encoded, self._noise(keys), label, key=rng)

        if self.samples > 1:
            return self._importance_weighted(batch, observed, decode, fold_keys(keys, _NOISE), beta)
        decoded, variables = decode(fold_keys(keys, _NOISE))
        log_likelihood, kls = self._elbo_parts(decoded, observed)
        free = [jnp.maximum(kl, self.free_bits) if self.free_bits else kl for kl in kls]
        return Outcome(
            terms={
                "reconstruction": Term(*per_example(batch, -log_likelihood)),
                "kl": Term(*per_example(batch, _total(free)), beta),
            },
            variables=variables,
            metrics={"negative_elbo": per_example(batch, _total(kls) - log_likelihood)},
        )

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        keys, label, weight = example_keys(key, batch), self._label(batch), batch["weight"]
        observed = observe(self.likelihood, batch, keys)
        encoded, _ = self._apply("encode", params, variables, unit_to_symmetric(observed), label)

        def decode(keys: Array) -> Decoded:
            return self._apply("decode", params, variables, encoded, self._noise(keys), label)[0]

        decoded = decode(fold_keys(keys, _NOISE))
        log_likelihood, kls = self._elbo_parts(decoded, observed)
        kls = [jnp.sum(kl, axis=-1) for kl in kls]
        values = {"loss": sum(kls) - log_likelihood, "reconstruction": -log_likelihood, "kl": sum(kls)}
        if len(kls) > 1:
            values |= {f"kl_{number}": kl for number, kl in enumerate(kls, start=1)}
        if self.bound_samples:
            bound_keys = fold_keys(keys, _BOUND)
            values["bound"] = -importance_bound(
                lambda number: self._log_weight(decode(fold_keys(bound_keys, number)), observed),
                self.bound_samples,
                len(keys),
            )
        metrics = {name: per_example(batch, value) for name, value in values.items()}
        shift = flatten_groups([group.shift for group in decoded.groups])
        for name, value in (("shift", shift), ("squared_shift", jnp.square(shift))):
            metrics[name] = (jnp.sum(weight * value.T, axis=-1), jnp.sum(weight))
        if self.fid_classifier is None:
            return Evaluation(metrics)
        output, _ = self._apply("generate", params, variables, self._noise(fold_keys(keys, _PRIOR)), label)
        generated = 255.0 * self.likelihood.mean(output)
        return Evaluation(metrics, self.fid_classifier.records(params, variables, batch["image"], generated))

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        variance = np.asarray(metrics["squared_shift"]) - np.asarray(metrics["shift"]) ** 2
        return {"active_units": float(np.sum(variance > ACTIVE)), **(fid.score(records) if records else {})}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        keys = example_keys(key, batch)
        observed = observe(self.likelihood, batch, keys)
        noise = self._noise(fold_keys(keys, _NOISE))
        label = self._likeliest_label(params, variables, observed, noise)
        encoded, _ = self._apply("encode", params, variables, unit_to_symmetric(observed), label)
        drawn, _ = self._apply("decode", params, variables, encoded, noise, label)
        mean, _ = self._apply("decode", params, variables, encoded, jax.tree.map(jnp.zeros_like, noise), label)
        latents = flatten_groups([group.white for group in mean.groups])

        def generate(latents: Array, label: Array | None) -> Array:
            groups = split_groups(latents, self.model.latent_shapes)
            output, _ = self._apply("generate", params, variables, groups, label)
            return unit_to_uint8(self.likelihood.mean(output))

        activity = jnp.sum(flatten_groups([group.kl for group in mean.groups]), axis=0)
        return {
            "reconstruction": unit_to_uint8(self.likelihood.mean(mean.output)),
            "latents": latents,
            "observed": unit_to_uint8(observed),
            "loss": -self._elbo(drawn, observed),
            "sample": generate(flatten_groups(self._noise(fold_keys(keys, _PRIOR))), label),
            **latent_walks(latents, jnp.argsort(-activity), label, generate),
            **({} if label is None else {"label": label}),
        }

    def _label(self, batch: Batch) -> Array | None:
        """Returns the label of a conditional model, None for an unconditional one."""
        if not getattr(self.model, "classes", 0):
            return None
        if "label" not in batch:
            raise UserError(
                f"the model is conditional on a label (classes={self.model.classes}), but the batches have none; set"
                " classes=0"
            )
        return batch["label"]

    def _noise(self, keys: Array) -> tuple[Array, ...]:
        """Returns standard normal draws [batch, *shape] per group of latents, with keys [batch]."""
        shapes = enumerate(self.model.latent_shapes)
        return tuple(standard_normal(fold_keys(keys, group), shape) for group, shape in shapes)

    def _apply(
        self, method: str, params: PyTree, variables: PyTree, *inputs: Any, key: Array | None = None
    ) -> tuple[Any, PyTree]:
        """Applies a method of the model; `key` in training only."""
        return apply_module(self.group, self.model, params, variables, *inputs, key=key, method=method)

    def _elbo_parts(self, decoded: Decoded, observed: Array) -> tuple[Array, list[Array]]:
        """Returns the log-likelihood [batch] and the KL by latent or channel, [batch, n] per group."""
        check_outputs(self.likelihood, decoded.output, observed)
        kls = [group.kl.sum(axis=tuple(range(1, group.kl.ndim - 1))) for group in decoded.groups]
        return self.likelihood.log_likelihood(decoded.output, observed), kls

    def _elbo(self, decoded: Decoded, observed: Array) -> Array:
        log_likelihood, kls = self._elbo_parts(decoded, observed)
        return log_likelihood - _total(kls)

    def _log_weight(self, decoded: Decoded, observed: Array, coefficient: Array | float = 1.0) -> Array:
        """Returns log p(x, z) - log q(z | x) [batch] in nats, with the ratio of the latents times `coefficient`."""
        log_likelihood, _ = self._elbo_parts(decoded, observed)
        return log_likelihood - coefficient * sum(group.log_ratio for group in decoded.groups)

    def _importance_weighted(
        self,
        batch: Batch,
        observed: Array,
        decode: Callable[[Array], tuple[Decoded, PyTree]],
        keys: Array,
        beta: Array,
    ) -> Outcome:
        """Returns the negative importance-weighted bound as the loss."""

        def draw(number: Array) -> tuple[Array, Array, PyTree]:
            decoded, updated = decode(fold_keys(keys, number))
            return self._log_weight(decoded, observed, beta), self._log_weight(decoded, observed), updated

        log_weights, exact, updated = jax.vmap(draw)(jnp.arange(self.samples))
        bound = jax.nn.logsumexp(log_weights, axis=0) - jnp.log(self.samples)
        return Outcome(
            terms={"importance_weighted": Term(*per_example(batch, -bound))},
            variables=jax.tree.map(lambda leaf: leaf.mean(0).astype(leaf.dtype), updated),
            metrics={"negative_elbo": per_example(batch, -exact.mean(0))},
        )

    def _likeliest_label(
        self, params: PyTree, variables: PyTree, observed: Array, noise: tuple[Array, ...]
    ) -> Array | None:
        """Returns the label int32 [batch] that maximizes the ELBO, since files for prediction have no label."""

        def elbo(label: Array) -> Array:
            label = jnp.full(observed.shape[0], label, jnp.int32)
            encoded, _ = self._apply("encode", params, variables, unit_to_symmetric(observed), label)
            return self._elbo(self._apply("decode", params, variables, encoded, noise, label)[0], observed)

        classes = getattr(self.model, "classes", 0)
        return jnp.argmax(jax.lax.map(elbo, jnp.arange(classes)), axis=0).astype(jnp.int32) if classes else None


def _total(kls: Sequence[Array]) -> Any:
    """Returns the KL [batch] over all groups and their latents."""
    return sum(jnp.sum(kl, axis=-1) for kl in kls)


def importance_bound(log_weight: Callable[[Array], Array], samples: int, examples: int) -> Array:
    """Returns the log mean of importance weights [examples], accumulated one draw at a time (arXiv:1509.00519).

    Args:
      log_weight: `(number of the draw) -> [examples]`, log importance weights in nats.
      samples: Number of draws.
      examples: Batch size.
    """

    def add(carry: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], None]:
        maximum, total = carry
        weight = log_weight(number)
        higher = jnp.maximum(maximum, weight)
        return (higher, total * jnp.exp(maximum - higher) + jnp.exp(weight - higher)), None

    start = (jnp.full(examples, -jnp.inf), jnp.zeros(examples))
    (maximum, total), _ = jax.lax.scan(add, start, jnp.arange(samples))
    return maximum + jnp.log(total / samples)
