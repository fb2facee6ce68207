"""VQ-VAE: nearest codes, straight-through gradient, codebook EMA, micro-batches, task."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.models.vqvae import VQVAE, Codebook, Quantizer, nearest, split_largest, updated
from jaxdl.tasks.parts.likelihood import Gaussian
from jaxdl.tasks.vector_quantization import VectorQuantization

CODES, FEATURES, DECAY = 5, 3, 0.9


def vectors(batch=4, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, 2, 2, FEATURES)), jnp.float32)


@functools.cache
def quantizer(least=0.0):
    """Returns the initial variables, and a compiled call for codes and new variables."""
    module = Quantizer(CODES, FEATURES, DECAY, least)
    variables = module.init(jax.random.key(0), vectors(), jnp.ones(4), 0, train=False)

    @functools.partial(jax.jit, static_argnames="train")
    def call(variables, x, weight, step, train=True):
        return module.apply(variables, x, weight, step, train=train, mutable=["codebook"])

    return variables, call


def codes_of(collection: Any) -> np.ndarray:
    return np.asarray(Codebook(**collection).codes)


def numpy_nearest(x, codes):
    return np.square(np.asarray(x)[..., None, :] - codes).sum(-1).argmin(-1)


def test_nearest_code_minimizes_the_distance():
    codes = np.random.default_rng(1).normal(size=(CODES, FEATURES)).astype(np.float32)
    np.testing.assert_array_equal(nearest(vectors(), jnp.asarray(codes)), numpy_nearest(vectors(), codes))


def test_the_gradient_is_straight_through():
    variables, call = quantizer()
    slope = jnp.asarray(np.random.default_rng(2).normal(size=(4, 2, 2, FEATURES)), jnp.float32)

    def loss(x, variables):
        return jnp.sum(call(variables, x, jnp.ones(4), 0)[0].value * slope)

    to_vectors, to_codes = jax.grad(loss, argnums=(0, 1), allow_int=True)(vectors(), variables)
    np.testing.assert_array_equal(to_vectors, slope)
    np.testing.assert_array_equal(to_codes["codebook"]["sums"], 0.0)
    commitment = jax.grad(lambda x: call(variables, x, jnp.ones(4), 0)[0].commitment.sum())(vectors())
    codes = codes_of(variables["codebook"])
    expected = 2 * (np.asarray(vectors()) - codes[numpy_nearest(vectors(), codes)])
    np.testing.assert_allclose(commitment, expected, rtol=1e-5, atol=1e-6)


def test_the_codebook_ema_matches_numpy():
    variables, call = quantizer()
    counts = np.asarray(variables["codebook"]["counts"], np.float64)
    sums = np.asarray(variables["codebook"]["sums"], np.float64)
    weight = jnp.array([1.0, 1.0, 0.0, 1.0])  # the third example is padding
    for step in range(3):
        x = np.asarray(vectors(seed=10 + step), np.float64)
        codes = sums / counts[:, None]
        quantized, variables = call(variables, jnp.asarray(x, jnp.float32), weight, step)
        index = numpy_nearest(x, codes)
        np.testing.assert_array_equal(quantized.index, index)
        np.testing.assert_allclose(quantized.value, codes[index], rtol=1e-4, atol=1e-5)
        assignments = np.eye(CODES)[index] * np.array([1, 1, 0, 1.0])[:, None, None, None]
        counts = DECAY * counts + (1 - DECAY) * assignments.sum((0, 1, 2))
        sums = DECAY * sums + (1 - DECAY) * np.einsum("bhwk,bhwf->kf", assignments, x)
    # Evaluation includes the update of the last step, and does not change the variables.
    quantized, after = call(variables, vectors(seed=20), jnp.ones(4), 0, train=False)
    np.testing.assert_array_equal(quantized.index, numpy_nearest(vectors(seed=20), sums / counts[:, None]))
    jax.tree.map(np.testing.assert_array_equal, after, variables)


def test_micro_batches_of_a_step_use_the_same_codes_and_sum():
    variables, call = quantizer()
    _, start = call(variables, vectors(seed=5), jnp.ones(4), 0)
    x = vectors(seed=6)
    expected, after = call(start, x, jnp.ones(4), 1)
    between = start
    for rows in (slice(0, 1), slice(1, 4)):
        part, between = call(between, x[rows], jnp.ones(len(x[rows])), 1)
        np.testing.assert_array_equal(part.index, expected.index[rows])
        np.testing.assert_allclose(part.value, expected.value[rows], rtol=1e-6)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), between, after)


def book(counts, seed=0):
    counts = jnp.asarray(counts, jnp.float32)
    codes = jnp.asarray(np.random.default_rng(seed).normal(size=(len(counts), FEATURES)), jnp.float32)
    return Codebook(counts, codes * counts[:, None], jnp.zeros(len(counts)), jnp.zeros_like(codes), jnp.int32(0))


def test_an_unused_code_is_moved_next_to_the_most_used_one():
    before = book([4.0, 0.01, 9.0, 3.0])
    after = split_largest(before, least=0.5)
    np.testing.assert_allclose(after.counts, [4.0, 4.5, 4.5, 3.0])
    np.testing.assert_allclose(after.codes[jnp.array([0, 2, 3])], before.codes[jnp.array([0, 2, 3])], rtol=1e-6)
    apart = float(jnp.linalg.norm(after.codes[1] - before.codes[2]))
    assert 0 < apart < 0.1 * float(jnp.linalg.norm(before.codes[1] - before.codes[2]))
    for still in (split_largest(before, least=0.0), split_largest(book([4.0, 0.6, 9.0, 3.0]), least=0.5)):
        np.testing.assert_allclose(still.codes, before.codes, rtol=1e-6)


def test_an_unused_code_does_not_decay():
    start = state = book([2.0, 2.0])
    statistics = {"new_counts": jnp.array([5.0, 0.0]), "new_sums": jnp.array([[5.0] * FEATURES, [0.0] * FEATURES])}
    follow = jax.jit(lambda state: updated(state._replace(**statistics), 0.7))
    for _ in range(300):
        state = follow(state)
    np.testing.assert_allclose(state.codes[0], 1.0, rtol=1e-5)
    np.testing.assert_allclose(state.codes[1], start.codes[1], rtol=1e-4)


class Pixels(nn.Module):
    """Model that consists of a codebook; the pixels are its vectors."""

    codes: int = CODES

    @nn.compact
    def __call__(self, image, weight, step, *, train):
        scale = self.param("scale", nn.initializers.ones, ())
        quantized = Quantizer(self.codes, 1, name="quantizer")(image * scale, weight, step, train=train)
        return quantized.value, quantized


@functools.cache
def pixels():
    task = VectorQuantization(Pixels(), likelihood=Gaussian(0.5), commitment=2.0)
    params, variables = jax.jit(task.init)(jax.random.key(0), batch())
    return task, params, variables


def batch(size=6):
    image = np.random.default_rng(0).integers(0, 256, (size, 4, 4, 1), dtype=np.uint8)
    return {"image": image, "weight": np.ones(size, np.float32), "index": np.arange(size)}


def test_terms_and_metrics_match_numpy():
    task, params, variables = pixels()
    data = batch()
    data["weight"][-1] = 0
    outcome = jax.jit(task.phases[0].loss)(params, variables, data, jax.random.key(0), 0, {})
    grey, codes = data["image"] / 255.0, codes_of(variables["autoencoder"]["codebook"]["quantizer"])
    scaled = 2 * grey - 1
    index = numpy_nearest(scaled, codes)
    output = codes[index]
    density = -0.5 * ((grey - output) / 0.5) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi))
    terms = outcome.terms
    np.testing.assert_allclose(terms["reconstruction"].sum, -density[:5].sum(), rtol=1e-4)
    np.testing.assert_allclose(terms["commitment"].sum, ((scaled - output)[:5] ** 2).sum(), rtol=1e-4)
    assert (float(terms["reconstruction"].weight), float(terms["commitment"].coefficient)) == (5.0, 2.0)

    metrics = jax.jit(task.evaluate)(params, variables, data, jax.random.key(0)).metrics
    means = {name: np.asarray(total) / np.asarray(weight) for name, (total, weight) in metrics.items()}
    squares = np.square(grey - output.clip(0, 1))[:5].mean((1, 2, 3))
    np.testing.assert_allclose(means["loss"], -density[:5].sum() / 5, rtol=1e-4)
    np.testing.assert_allclose(means["psnr"], (-10 * np.log10(squares)).mean(), rtol=1e-4)
    scores = task.score({}, means, {})
    shares = np.bincount(index[:5].ravel(), minlength=CODES) / index[:5].size
    entropy = -sum(share * np.log(share) for share in shares if share)
    assert scores["perplexity"] == pytest.approx(np.exp(entropy), rel=1e-5)
    assert scores["bits"] == pytest.approx(16 * entropy / np.log(2), rel=1e-5)
    assert scores["codes_used"] == np.sum(shares > 0)


def test_predictions_and_their_pictures():
    model = VQVAE((8,), codes=CODES, features=2, blocks=0)
    task = VectorQuantization(model, likelihood=Gaussian(0.1))
    params, variables = jax.jit(task.init)(jax.random.key(0), batch())
    outputs = jax.device_get(jax.jit(task.predict)(params, variables, batch(), jax.random.key(0)))
    assert outputs["reconstruction"].shape == outputs["observed"].shape == (6, 4, 4, 1)
    assert outputs["codes"].shape == (6, 2, 2)
    np.testing.assert_array_equal(outputs["observed"], batch()["image"])
    example, output = ({name: value[0] for name, value in tree.items()} for tree in (batch(), outputs))
    for picture in (
        *task.presentation.pictures(batch(), outputs, {}, {}).values(),
        task.presentation.picture(example, output, {}),
    ):
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
    assert task.presentation.readable(example, output, {}) == {"codes": outputs["codes"][0].tolist()}


def test_invalid_arguments_are_refused():
    with pytest.raises(UserError, match="commitment=-1"):
        VectorQuantization(Pixels(), likelihood=Gaussian(), commitment=-1)
    _, params, variables = pixels()
    learned = VectorQuantization(Pixels(), likelihood=Gaussian(None))
    with pytest.raises(UserError, match=r"the task needs \[6, 4, 4, 2\]"):
        jax.eval_shape(learned.evaluate, params, variables, batch(), jax.random.key(0))
