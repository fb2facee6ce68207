"""VAE models: Gaussian KL, latents and priors, shapes, hierarchy, conditioning."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.dense_ladder_vae import DenseLadderVAE
from jaxdl.models.hierarchical_vae import LadderVAE
from jaxdl.models.layers.convolution import shuffle
from jaxdl.models.vae import (
    VAE,
    ConvDecoder,
    ConvEncoder,
    DenseDecoder,
    DenseEncoder,
    Normal,
    draw_latent,
    kl_divergence,
)

SHAPE = (4, 4)
LABEL = jnp.array([1, 2], jnp.int32)


def normals(seed, shape=(3, 5)):
    draws = np.random.default_rng(seed)
    return Normal(jnp.asarray(draws.normal(size=shape)), jnp.asarray(draws.normal(size=shape)))


def density(value, normal):
    """Computes log N(value; mean, variance) elementwise in numpy."""
    mean, log_variance = np.asarray(normal.mean), np.asarray(normal.log_variance)
    return -0.5 * ((value - mean) ** 2 / np.exp(log_variance) + log_variance + np.log(2 * np.pi))


def test_kl_matches_the_closed_form():
    posterior, prior = normals(0), normals(1)
    posterior_std, prior_std = (
        np.exp(0.5 * np.asarray(normal.log_variance, np.float64)) for normal in (posterior, prior)
    )
    gap = np.asarray(posterior.mean - prior.mean, np.float64)
    expected = np.log(prior_std / posterior_std) + (posterior_std**2 + gap**2) / (2 * prior_std**2) - 0.5
    np.testing.assert_allclose(kl_divergence(posterior, prior), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(kl_divergence(prior, prior), 0.0, atol=1e-7)


def test_kl_is_the_mean_log_ratio_of_samples():
    posterior, prior = normals(2, (1, 2)), normals(3, (1, 2))
    noise = jnp.asarray(np.random.default_rng(4).normal(size=(200_000, 2)))
    repeated = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, noise.shape), (posterior, prior))
    ratios = draw_latent(repeated[0], repeated[1], noise).log_ratio
    error = float(ratios.std()) / np.sqrt(len(ratios))
    assert abs(float(ratios.mean()) - float(kl_divergence(posterior, prior).sum())) < 4 * error


def test_a_latent_is_sampled_from_the_posterior_and_scored_by_the_prior():
    posterior, prior = normals(5), normals(6)
    noise = np.random.default_rng(7).normal(size=(3, 5)).astype(np.float32)
    latent = draw_latent(posterior, prior, jnp.asarray(noise))
    value = np.asarray(posterior.mean) + np.exp(0.5 * np.asarray(posterior.log_variance)) * noise
    np.testing.assert_allclose(latent.value, value, rtol=1e-5)
    np.testing.assert_allclose(
        latent.log_ratio, (density(value, posterior) - density(value, prior)).sum(-1), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(prior.at(latent.white), value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(prior.at(latent.shift), posterior.mean, rtol=1e-4, atol=1e-5)


def test_depth_to_space_assigns_blocks_to_positions():
    x = np.arange(2 * 2 * 3 * 8).reshape(2, 2, 3, 8)
    output = np.asarray(shuffle(jnp.asarray(x), 2))
    assert output.shape == (2, 4, 6, 2)
    for row, column in np.ndindex(4, 6):
        place = 2 * (row % 2) + column % 2
        np.testing.assert_array_equal(output[:, row, column], x[:, row // 2, column // 2, 2 * place : 2 * place + 2])


def dense_vae(**arguments):
    return VAE(DenseEncoder((8,)), DenseDecoder((8,), shape=SHAPE), latents=3, **arguments)


MODELS = {
    "dense": dense_vae,
    "conv": lambda **arguments: VAE(
        ConvEncoder((8,), blocks=0), ConvDecoder((8,), shape=SHAPE, blocks=0), latents=3, **arguments
    ),
    "dense ladder": lambda **arguments: DenseLadderVAE((8,), (3, 2, 4), SHAPE, **arguments),
    "ladder": lambda **arguments: LadderVAE((8, 8), (1, 2), top=3, shape=SHAPE, blocks=0, **arguments),
}


@functools.cache
def initialized(kind):
    """Returns a conditional model, its parameters, perturbed parameters, and compiled methods."""
    model = MODELS[kind](classes=4)
    quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    init = quick(functools.partial(model.init, train=False))
    params = init(jax.random.key(0), images(), noises(model), LABEL)
    leaves, tree = jax.tree.flatten(params)
    draws = np.random.default_rng(1)
    moved = [leaf + 0.3 * draws.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    call = quick(functools.partial(model.apply, train=False))
    generate = quick(functools.partial(model.apply, train=False, method="generate"))
    return model, params, jax.tree.unflatten(tree, moved), call, generate


def images(count=2, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, *SHAPE, 1)), jnp.float32)


def noises(model, seed=0, count=2):
    draws = np.random.default_rng(seed)
    return tuple(jnp.asarray(draws.normal(size=(count, *shape)), jnp.float32) for shape in model.latent_shapes)


@pytest.mark.parametrize("kind", MODELS)
def test_generation_from_the_latents_of_decode_reproduces_it(kind):
    model, _, params, call, generate = initialized(kind)
    decoded = call(params, images(), noises(model), LABEL)
    assert decoded.output.shape == (2, *SHAPE, 1)
    assert [group.value.shape[1:] for group in decoded.groups] == list(model.latent_shapes)
    reproduced = generate(params, tuple(group.white for group in decoded.groups), LABEL)
    np.testing.assert_allclose(reproduced, decoded.output, rtol=1e-3, atol=1e-4)


def test_groups_of_a_hierarchy_are_sorted_from_coarse_to_fine():
    assert LadderVAE((8, 16, 16), (2, 0, 4), top=5, shape=(16, 24)).latent_shapes == ((5,), (2, 3, 4), (8, 12, 2))


def test_kl_of_a_hierarchy_is_zero_where_posterior_equals_prior():
    """The posterior heads are zero-initialized residuals of the prior, which is perturbed here."""
    model, start, moved, call, _ = initialized("ladder")
    params = {"params": {**moved["params"]}}
    for level in (1, 2):
        group = {**moved["params"][f"group{level}"]}
        group["posterior_head"] = start["params"][f"group{level}"]["posterior_head"]
        params["params"][f"group{level}"] = group
    top, *maps = call(params, images(), noises(model), LABEL).groups
    assert float(top.kl.max()) > 1e-3
    for group in maps:
        np.testing.assert_array_equal(group.kl, 0.0)
        np.testing.assert_allclose(group.log_ratio, 0.0, atol=1e-5)
        assert float(jnp.abs(group.value - group.white).max()) > 1e-2
    params["params"]["top_head"] = jax.tree.map(jnp.zeros_like, moved["params"]["top_head"])
    np.testing.assert_array_equal(call(params, images(), noises(model), LABEL).groups[0].kl, 0.0)


def test_groups_of_a_hierarchy_depend_on_earlier_groups():
    model, _, params, call, _ = initialized("ladder")
    before = noises(model)
    perturbed = (before[0], before[1] + 1.0, before[2])
    output, perturbed_output = (call(params, images(), noise, LABEL) for noise in (before, perturbed))
    np.testing.assert_array_equal(output.groups[0].value, perturbed_output.groups[0].value)
    assert float(jnp.abs(output.groups[2].value - perturbed_output.groups[2].value).max()) > 1e-4
    assert float(jnp.abs(output.output - perturbed_output.output).max()) > 1e-4


@pytest.mark.parametrize("kind", MODELS)
def test_encoder_and_decoder_are_conditional_on_the_label(kind):
    model, _, params, call, generate = initialized(kind)
    noise, other_label = noises(model), LABEL + 1
    shifts = [call(params, images(), noise, label).groups[0].shift for label in (LABEL, other_label)]
    assert float(jnp.abs(shifts[0] - shifts[1]).max()) > 1e-4
    outputs = [generate(params, noise, label) for label in (LABEL, other_label)]
    assert float(jnp.abs(outputs[0] - outputs[1]).max()) > 1e-4


def test_a_missing_label_and_indivisible_sides_are_refused():
    model, _, params, call, _ = initialized("dense")
    with pytest.raises(ValueError, match="label of 4 classes; the batch needs 'label'"):
        call(params, images(), noises(model))
    with pytest.raises(ValueError, match="which 4 must divide"):
        _ = LadderVAE((8, 8), (1, 1), shape=(12, 10)).latent_shapes
