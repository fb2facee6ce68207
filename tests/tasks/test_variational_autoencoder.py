"""VAE task: likelihoods, bounds against an exact likelihood, free bits, warm-up."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.models.vae import VAE, DenseDecoder, DenseEncoder
from jaxdl.tasks.parts.likelihood import Bernoulli, Gaussian
from jaxdl.tasks.variational_autoencoder import VariationalAutoencoder, importance_bound
from jaxdl.training.task import example_keys

GROUP = VariationalAutoencoder.group
STD = 0.3
# Orthogonal columns: the exact posterior is diagonal, like the model's. The third latent is unused.
WEIGHTS = np.array([[0.5, 0.2, 0.0], [0.5, -0.2, 0.0], [-0.3, 0.4, 0.0], [0.3, 0.4, 0.0]])
BIAS = np.array([0.4, 0.5, 0.6, 0.3])


class Flat(nn.Module):
    """Identity encoder features: the pixels."""

    @nn.compact
    def __call__(self, image, *, train):
        return image.reshape(len(image), -1)


def linear(**arguments):
    model = VAE(Flat(), DenseDecoder((), shape=(2, 2)), latents=3)
    return VariationalAutoencoder(model, likelihood=Gaussian(STD), **arguments)


def linear_params(shift=0.0, stretch=1.0):
    """Returns parameters of `linear` with the exact posterior, or a shifted and wider one.

    The shift is `shift` std.
    """
    precision = 1.0 + (WEIGHTS**2).sum(0) / STD**2
    gain = WEIGHTS / STD**2 / precision  # posterior mean = (x - bias) @ gain
    # The encoder's input is 2 * x - 1.
    kernel = np.concatenate([gain / 2, np.zeros_like(gain)], axis=1)
    mean = (0.5 - BIAS) @ gain + shift / np.sqrt(precision)
    log_variance = np.log(stretch) - np.log(precision)
    arrays = {
        "posterior": {"kernel": kernel, "bias": np.concatenate([mean, log_variance])},
        "decoder": {"final": {"kernel": WEIGHTS.T, "bias": BIAS}},
    }
    return {GROUP: jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), arrays)}


def linear_batch(examples=400):
    image = np.random.default_rng(0).integers(0, 256, (examples, 2, 2, 1), dtype=np.uint8)
    return {"image": image, "weight": np.ones(examples, np.float32), "index": np.arange(examples)}


def exact(image):
    """Computes log p(image) in nats, [examples], of a Gaussian with covariance W W' + std^2."""
    covariance = WEIGHTS @ WEIGHTS.T + STD**2 * np.eye(4)
    gap = image.reshape(len(image), 4) / 255.0 - BIAS
    squares = np.einsum("ni,ij,nj->n", gap, np.linalg.inv(covariance), gap)
    return -0.5 * (squares + np.linalg.slogdet(covariance)[1] + 4 * math.log(2 * math.pi))


@functools.cache
def evaluator(bound_samples):
    return jax.jit(linear(bound_samples=bound_samples).evaluate)


def evaluated(params, batch, bound_samples):
    metrics = evaluator(bound_samples)(params, {}, batch, jax.random.key(3)).metrics
    return {name: np.asarray(total) / np.asarray(weight) for name, (total, weight) in metrics.items()}


def test_linear_parameters_have_the_shapes_of_the_model():
    params, variables = jax.eval_shape(linear().init, jax.random.key(0), linear_batch(2))
    assert variables == {}
    shapes = [jax.tree.map(jnp.shape, nn.unbox(tree)) for tree in (params, linear_params())]
    assert shapes[0] == shapes[1]


def test_bounds_equal_the_likelihood_for_the_exact_posterior():
    batch = linear_batch()
    metrics = evaluated(linear_params(), batch, 1)
    nll = -exact(batch["image"]).mean()
    np.testing.assert_allclose(metrics["bound"], nll, rtol=1e-4)
    # The KL term is exact; the reconstruction term uses one sample.
    np.testing.assert_allclose(metrics["loss"], nll, atol=0.3)
    np.testing.assert_allclose(metrics["loss"], metrics["reconstruction"] + metrics["kl"], rtol=1e-5)


def test_more_samples_tighten_the_bound_to_the_likelihood():
    batch = linear_batch()
    params = linear_params(shift=0.7, stretch=1.5)
    nll = -exact(batch["image"]).mean()
    loss = evaluated(params, batch, 1)["loss"]
    bounds = [evaluated(params, batch, samples)["bound"] for samples in (1, 10, 500)]
    # The gap of the ELBO is the KL between the two posteriors, equal for the three latents.
    gap = 3 * 0.5 * (1.5 + 0.7**2 - 1 - math.log(1.5))
    np.testing.assert_allclose(loss, nll + gap, atol=0.3)
    np.testing.assert_allclose(bounds[0], nll + gap, atol=0.3)
    assert bounds[0] > bounds[1] > bounds[2] > nll - 0.02
    assert bounds[2] < nll + 0.03


def test_the_importance_bound_is_the_log_mean_of_the_weights():
    weights = np.random.default_rng(0).normal(scale=30, size=(7, 5)).astype(np.float32) - 1000
    bound = importance_bound(lambda number: jnp.asarray(weights)[number], 7, 5)
    top = weights.max(0)
    np.testing.assert_allclose(bound, top + np.log(np.exp(weights - top).mean(0)), rtol=1e-6)


def test_training_on_the_importance_weighted_bound():
    batch = linear_batch(50)
    loss = jax.jit(linear(samples=5).phases[0].loss)
    outcome = loss(linear_params(), {}, batch, jax.random.key(0), 0, {})
    (term,) = outcome.terms.values()
    np.testing.assert_allclose(term.sum / term.weight, -exact(batch["image"]).mean(), rtol=1e-4)
    params = linear_params(shift=0.7, stretch=1.5)
    outcome = loss(params, {}, batch, jax.random.key(0), 0, {})
    (term,) = outcome.terms.values()
    total, weight = outcome.metrics["negative_elbo"]
    assert -exact(batch["image"]).mean() < term.sum / term.weight < total / weight


def test_unused_latents_are_not_active():
    batch = linear_batch()
    metrics = evaluated(linear_params(), batch, 1)
    task = linear()
    assert task.score({}, metrics, {}) == {"active_units": 2.0}
    gain = WEIGHTS / STD**2 / (1.0 + (WEIGHTS**2).sum(0) / STD**2)
    means = (batch["image"].reshape(-1, 4) / 255.0 - BIAS) @ gain
    np.testing.assert_allclose(metrics["squared_shift"] - metrics["shift"] ** 2, means.var(0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_warm_up_increases_the_coefficient_of_the_kl_linearly(beta):
    batch, params = linear_batch(8), linear_params()
    loss = jax.jit(linear(beta=beta, warmup=10).phases[0].loss)
    outcomes = {step: loss(params, {}, batch, jax.random.key(0), step, {}) for step in (0, 4, 9, 50)}
    for step, share in ((0, 0.1), (4, 0.5), (9, 1.0), (50, 1.0)):
        np.testing.assert_allclose(outcomes[step].terms["kl"].coefficient, beta * share, rtol=1e-6)
        np.testing.assert_allclose(outcomes[step].terms["reconstruction"].coefficient, 1.0)
    assert outcomes[0].terms["kl"].sum == outcomes[50].terms["kl"].sum


def test_free_bits_bound_the_kl_per_latent():
    batch, params = linear_batch(8), linear_params()

    def term(free_bits):
        loss = linear(free_bits=free_bits).phases[0].loss

        def kl(params):
            outcome = loss(params, {}, batch, jax.random.key(0), 0, {})
            return outcome.terms["kl"].sum, outcome

        (total, outcome), gradient = jax.jit(jax.value_and_grad(kl, has_aux=True))(params)
        return float(total), float(jnp.abs(gradient[GROUP]["posterior"]["kernel"]).sum()), outcome

    plain, moves, outcome = term(0.0)
    assert moves > 0
    free, still, freed = term(100.0)
    assert free == pytest.approx(8 * 3 * 100.0)
    assert still == 0.0
    # The posterior of the third latent equals the prior: only its KL is below the free bits.
    assert term(1e-3)[0] == pytest.approx(plain + 8 * 1e-3, rel=1e-5)
    np.testing.assert_allclose(freed.metrics["negative_elbo"], outcome.metrics["negative_elbo"], rtol=1e-6)


def test_bernoulli_matches_numpy():
    draws = np.random.default_rng(0)
    logits = draws.normal(scale=3, size=(3, 4, 5, 2)).astype(np.float32)
    observed = draws.integers(0, 2, (3, 4, 5, 2)).astype(np.float32)
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = (observed * np.log(probability) + (1 - observed) * np.log1p(-probability)).sum((1, 2, 3))
    likelihood = Bernoulli()
    np.testing.assert_allclose(likelihood.log_likelihood(jnp.asarray(logits), jnp.asarray(observed)), expected, 1e-5)
    np.testing.assert_allclose(likelihood.mean(jnp.asarray(logits)), probability, rtol=1e-5)


def test_binarization_follows_the_gray_value_and_is_per_example():
    grey = np.broadcast_to(np.array([0, 51, 204, 255], np.uint8)[:, None, None, None], (4, 60, 60, 1))
    keys = example_keys(jax.random.key(0), {"index": jnp.array([3, 8, 5, 2])})
    binarized = np.asarray(Bernoulli().observe(jnp.asarray(grey), keys))
    assert set(np.unique(binarized)) == {0.0, 1.0}
    np.testing.assert_allclose(binarized.mean((1, 2, 3)), [0.0, 0.2, 0.8, 1.0], atol=0.03)
    single = Bernoulli().observe(jnp.asarray(grey[2:3]), keys[2:3])
    np.testing.assert_array_equal(single[0], binarized[2])
    fixed = Bernoulli("threshold").observe(jnp.asarray(grey), keys)
    np.testing.assert_array_equal(np.asarray(fixed).mean((1, 2, 3)), [0, 0, 1, 1])


@pytest.mark.parametrize("std", [0.2, None])
def test_gaussian_matches_numpy(std):
    draws = np.random.default_rng(0)
    observed = draws.uniform(size=(3, 4, 5, 2)).astype(np.float32)
    likelihood = Gaussian(std, min_std=0.05)
    assert likelihood.outputs(2) == (2 if std else 4)
    output = draws.normal(size=(3, 4, 5, likelihood.outputs(2))).astype(np.float32)
    spread = std if std else 0.05 + np.log1p(np.exp(output[..., 2:]))
    scaled = (observed - output[..., :2]) / spread
    expected = (-0.5 * scaled**2 - np.log(spread * np.sqrt(2 * np.pi))).sum((1, 2, 3))
    np.testing.assert_allclose(likelihood.log_likelihood(jnp.asarray(output), jnp.asarray(observed)), expected, 1e-5)
    np.testing.assert_array_equal(likelihood.mean(jnp.asarray(output)), output[..., :2].clip(0, 1))


@functools.cache
def small(classes=0):
    """Returns a task on images of 4x4, its parameters and its compiled functions."""
    model = VAE(DenseEncoder((8,)), DenseDecoder((8,), shape=(4, 4)), latents=2, classes=classes)
    task = VariationalAutoencoder(model, likelihood=Bernoulli(), bound_samples=3)
    params, variables = jax.jit(task.init)(jax.random.key(0), small_batch())
    return task, nn.unbox(params), variables, jax.jit(task.evaluate), jax.jit(task.predict)


def small_batch(size=6):
    draws = np.random.default_rng(0)
    return {
        "image": draws.integers(0, 256, (size, 4, 4, 1), dtype=np.uint8),
        "label": (np.arange(size) % 3).astype(np.int32),
        "weight": np.ones(size, np.float32),
        "index": np.arange(10, 10 + size),
    }


@pytest.mark.parametrize("classes", [0, 3])
def test_metrics_sum_over_batches_and_padding_has_no_weight(classes):
    _, params, variables, evaluate, _ = small(classes)
    batch = small_batch()
    expected = evaluate(params, variables, batch, jax.random.key(1)).metrics
    parts = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 2), slice(2, 6))]
    parts[0] = {name: np.concatenate([value, value]) for name, value in parts[0].items()}
    parts[0]["weight"][2:] = 0
    sums = jax.tree.map(jnp.add, *(evaluate(params, variables, part, jax.random.key(1)).metrics for part in parts))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), sums, expected)


@pytest.mark.parametrize("classes", [0, 3])
def test_predictions_and_their_pictures(classes):
    task, params, variables, _, predict = small(classes)
    batch = small_batch(30)
    outputs = jax.device_get(predict(params, variables, batch, jax.random.key(1)))
    assert {name: value.shape for name, value in outputs.items()} == {
        "reconstruction": (30, 4, 4, 1),
        "latents": (30, 2),
        "observed": (30, 4, 4, 1),
        "loss": (30,),
        "sample": (30, 4, 4, 1),
        "interpolation": (30, 9, 4, 4, 1),
        "traversal": (30, 9, 4, 4, 1),
        "latent_map": (30, 16, 4, 4, 1),
        **({"label": (30,)} if classes else {}),
    }
    paths = outputs["interpolation"].astype(int)
    ends = outputs["reconstruction"].astype(int)
    assert np.abs(paths[:24, 0] - ends[:24]).max() <= 1  # rounding
    if not classes:
        assert np.abs(paths[:23, -1] - ends[1:24]).max() <= 1
    truncated = ({name: value[:24] for name, value in tree.items()} for tree in (batch, outputs))
    pictures = task.presentation.pictures(*truncated, metrics={}, names={})
    assert set(pictures) == {"reconstructions", "samples", "interpolation", "traversal", "latent_map"}
    example, output = ({name: value[0] for name, value in tree.items()} for tree in (batch, outputs))
    for picture in (*pictures.values(), task.presentation.picture(example, output, {})):
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
    row = task.presentation.readable(example, output, {"label": ["a", "b", "c"]})
    np.testing.assert_allclose(row["latents"], outputs["latents"][0])
    assert not classes or row["label"] == "abc"[outputs["label"][0]]


def test_a_conditional_model_predicts_the_label_of_an_image():
    """The latent is unused: the image depends on the label only."""
    model = VAE(DenseEncoder(()), DenseDecoder((), shape=(4, 4)), latents=1, classes=3)
    task = VariationalAutoencoder(model, likelihood=Bernoulli("threshold"))
    image = np.zeros((3, 4, 4, 1), np.uint8)
    for label in range(3):
        image[label, label] = 255
    batch = {"image": image, "label": np.zeros(3, np.int32), "index": np.arange(3), "weight": np.ones(3)}
    params = jax.tree.map(jnp.zeros_like, nn.unbox(jax.eval_shape(task.init, jax.random.key(0), batch)[0]))
    kernel = np.concatenate([np.zeros((1, 16)), 10.0 * (image.reshape(3, 16) / 255.0 - 0.5)])
    params[GROUP]["decoder"]["final"]["kernel"] = jnp.asarray(kernel, jnp.float32)
    outputs = jax.jit(task.predict)(params, {}, batch, jax.random.key(0))
    np.testing.assert_array_equal(outputs["label"], [0, 1, 2])
    np.testing.assert_array_equal(np.asarray(outputs["reconstruction"]) > 127, image > 127)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": -1.0}, "beta=-1.0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"free_bits": -0.1}, "free_bits=-0.1"),
        ({"samples": 0}, "samples=0"),
        ({"bound_samples": -1}, "bound_samples=-1"),
        ({"samples": 2, "free_bits": 0.1}, "has no KL term"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        linear(**arguments)


def test_incompatible_batches_and_likelihoods_are_refused():
    batch = small_batch()
    del batch["label"]
    task, params, variables, *_ = small(3)
    with pytest.raises(UserError, match="conditional on a label"):
        task.evaluate(params, variables, batch, jax.random.key(0))
    model = VAE(DenseEncoder((8,)), DenseDecoder((8,), shape=(4, 4)), latents=2)
    task = VariationalAutoencoder(model, likelihood=Gaussian(None))
    with pytest.raises(UserError, match=r"the task needs \[6, 4, 4, 2\]"):
        jax.eval_shape(task.evaluate, small(0)[1], {}, batch, jax.random.key(0))
    with pytest.raises(UserError, match=r"std=0\.0 must be positive"):
        Gaussian(0.0)
    with pytest.raises(UserError, match="binarization='static'"):
        Bernoulli("static")  # pyright: ignore[reportArgumentType]
