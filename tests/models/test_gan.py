"""Generators, discriminators and spectral normalization against plain numpy."""

# The return types of flax's init and apply, and the optional methods of a task, are not expressed in types.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import apply, random_weights

from jaxdl.models.gan import (
    ConditionalNorm,
    DCGANDiscriminator,
    DCGANGenerator,
    Downconvolution,
    ResNetDiscriminator,
    ResNetGenerator,
    Upconvolution,
    mean_pool_2x2,
)
from jaxdl.models.layers.norms import batch_norm, group_norm
from jaxdl.models.layers.spectral_norm import SpectralConv, SpectralDense, power_iteration, spectral_norm


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def start(module, *inputs, **options):
    return random_weights(module.init, *inputs, **options)


def test_upconvolution_is_a_4x4_transposed_convolution():
    x, module = draws(2, 3, 5, 4), Upconvolution(6, use_bias=True)
    variables = start(module, x)
    variables["params"]["bias"] = np.arange(6, dtype=np.float32)
    output = apply(module, variables, x)
    kernel = np.asarray(variables["params"]["kernel"]).reshape(2, 2, 4, 2, 2, 6)
    expected = np.zeros((2, 2 * 3 + 2, 2 * 5 + 2, 6)) + np.arange(6.0)
    for row in range(3):  # every input adds a block of 4x4, at a stride of two
        for column in range(5):
            for a, b, i, j in np.ndindex(2, 2, 2, 2):
                place = 2 * row + 3 - i - 2 * a, 2 * column + 3 - j - 2 * b
                expected[:, place[0], place[1]] += x[:, row, column] @ kernel[a, b, :, i, j]
    np.testing.assert_allclose(output, expected[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 8), (7, 5)])
def test_downconvolution_is_a_4x4_convolution_with_stride_2(shape):
    x, module = draws(2, *shape, 3), Downconvolution(5)
    variables = start(module, x)
    variables["params"]["bias"] = np.arange(5, dtype=np.float32)
    kernel = np.asarray(variables["params"]["kernel"]).reshape(2, 2, 2, 2, 3, 5)  # square, position in it, channels
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(4, 4, 3, 5)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, shape[0] // 2, shape[1] // 2, 5)) + np.arange(5.0)
    for row, column in np.ndindex(*expected.shape[1:3]):
        window = padded[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
        expected[:, row, column] += np.tensordot(window, kernel, 3)
    np.testing.assert_allclose(apply(module, variables, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("generator", "shape"),
    [
        (DCGANGenerator(outputs=1, size=7, channels=(8, 8)), (28, 28, 1)),
        (DCGANGenerator(outputs=3, size=4, channels=(8, 8, 8, 8), norm=group_norm), (64, 64, 3)),
        (ResNetGenerator(outputs=1, size=7, channels=(8, 8, 8)), (28, 28, 1)),
        (ResNetGenerator(outputs=3, size=4, channels=(8, 8, 8, 8, 8), norm=group_norm), (64, 64, 3)),
    ],
)
def test_image_size_follows_from_the_depth_of_a_generator(generator, shape):
    latent = draws(2, 5)
    image = apply(generator, start(generator, latent, train=False), latent, train=False)
    assert image.shape == (2, *shape)
    assert np.all(np.abs(image) <= 1)
    assert np.std(image[0] - image[1]) > 0.01


@pytest.mark.parametrize(
    "discriminator", [DCGANDiscriminator(channels=(4, 8)), ResNetDiscriminator(channels=(4, 8), halvings=1)]
)
def test_discriminator_logits_are_independent(discriminator):
    image = draws(4, 12, 12, 1)
    variables = start(discriminator, image, train=False)
    logits = apply(discriminator, variables, image, train=True)
    assert logits.shape == (4,)
    np.testing.assert_allclose(apply(discriminator, variables, image[2:3], train=False), logits[2:3], rtol=1e-5)


def test_the_discriminator_of_the_paper_has_batch_norm_after_all_but_the_first_convolution():
    variables = start(DCGANDiscriminator(channels=(4, 8, 8), norm=batch_norm), draws(2, 16, 16, 1), train=False)
    assert set(variables["batch_stats"]) == {"norm2", "norm3"}
    assert ["bias" in variables["params"][f"conv{level}"] for level in (1, 2, 3)] == [True, False, False]


def settle(params, spectral, iterations=300):
    return jax.lax.fori_loop(0, iterations, lambda _, spectral: power_iteration(params, spectral), spectral)


def test_power_iteration_converges_to_the_largest_singular_value():
    image = draws(1, 8, 8, 3)
    network = ResNetDiscriminator(channels=(4, 8), halvings=1, classes=5)
    variables = start(network, image, jnp.zeros(1, int), train=False)
    updated = jax.eval_shape(power_iteration, variables["params"], variables["spectral"])
    assert jax.tree.structure(updated) == jax.tree.structure(variables["spectral"])
    settled = jax.jit(settle)(variables["params"], variables["spectral"])
    for path, u in jax.tree_util.tree_leaves_with_path(settled):
        kernel = functools.reduce(lambda tree, key: tree[key.key], path[:-1], variables["params"])["kernel"]
        exact = np.linalg.svd(np.asarray(kernel).reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        np.testing.assert_allclose(spectral_norm(kernel, u), exact, rtol=1e-4)
        np.testing.assert_allclose(spectral_norm(kernel, 0.3 * u), exact, rtol=1e-4)  # as an average of parameters does
    assert len(jax.tree.leaves(settled)) == 8


def test_the_initial_estimate_is_a_close_lower_bound():
    variables = nn.unbox(jax.jit(SpectralConv(8, 3).init)(jax.random.key(0), draws(1, 4, 4, 16)))
    kernel = np.asarray(variables["params"]["kernel"]).reshape(-1, 8)
    exact = np.linalg.svd(kernel, compute_uv=False)[0]
    estimate = spectral_norm(variables["params"]["kernel"], variables["spectral"]["u"])
    assert 0.9 * exact < estimate <= exact * (1 + 1e-6)


def test_the_gradient_of_the_spectral_norm_is_the_outer_product_of_its_singular_vectors():
    kernel = draws(2, 2, 3, 5)
    left_vectors, _, right = np.linalg.svd(kernel.reshape(-1, 5), full_matrices=False)
    gradient = jax.grad(spectral_norm)(jnp.asarray(kernel), jnp.asarray(right[0]))
    np.testing.assert_allclose(gradient.reshape(-1, 5), np.outer(left_vectors[:, 0], right[0]), atol=1e-5)


def test_a_normalized_layer_is_invariant_to_the_scale_of_its_kernel():
    x = draws(3, 6)
    variables = start(SpectralDense(4), x)
    params = settled = variables["params"]
    spectral = jax.jit(settle)(params, variables["spectral"])
    kernel = np.asarray(params["kernel"])
    expected = x @ (kernel / np.linalg.svd(kernel, compute_uv=False)[0]) + params["bias"]
    for scale in (1.0, 7.0):
        settled = {**params, "kernel": scale * params["kernel"]}
        output = apply(SpectralDense(4), {"params": settled, "spectral": spectral}, x)
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_projection_discriminator_adds_the_class_embedding_product():
    """The conditional logit adds the product of class embedding and summed features."""
    network = ResNetDiscriminator(channels=(4, 8), halvings=1, classes=5)
    image, label = draws(3, 8, 8, 1), np.array([4, 0, 2])
    variables = start(network, image, label, train=False)
    capture = functools.partial(
        network.apply, train=False, capture_intermediates=lambda module, _: module.name == "block2"
    )
    logits, conditional_logits = jax.jit(capture)(variables, image, label)
    features = np.maximum(conditional_logits["intermediates"]["block2"]["__call__"][0], 0).sum((1, 2))
    kernel = variables["params"]["projection"]["kernel"]
    vectors = kernel / spectral_norm(kernel, variables["spectral"]["projection"]["u"])
    plain = apply(network, variables, image, train=False)
    assert not np.allclose(logits, plain)
    np.testing.assert_allclose(logits - plain, np.sum(vectors[label] * features, -1), rtol=1e-3, atol=1e-4)


def test_conditional_norm_adds_scale_and_bias_of_the_class():
    x, label = draws(4, 3, 3, 8), np.array([0, 1, 2, 1])
    module = ConditionalNorm(group_norm, classes=3)
    variables = start(module, x, label, train=False)
    variables["params"]["scale"] = np.zeros((3, 8), np.float32)
    variables["params"]["bias"] = np.zeros((3, 8), np.float32)
    plain = np.asarray(apply(module, variables, x, None, train=False))
    np.testing.assert_array_equal(apply(module, variables, x, label, train=False), plain)
    variables["params"]["scale"][1], variables["params"]["bias"][1] = 2.0, -1.0
    expected = np.where((label == 1)[:, None, None, None], 3 * plain - 1, plain)
    np.testing.assert_allclose(apply(module, variables, x, label, train=False), expected, rtol=1e-5, atol=1e-6)


def test_average_pooling():
    x = draws(2, 4, 6, 3)
    expected = [[x[:, i : i + 2, j : j + 2].mean((1, 2)) for j in (0, 2, 4)] for i in (0, 2)]
    np.testing.assert_allclose(mean_pool_2x2(x), np.moveaxis(np.array(expected), 2, 0), rtol=1e-5, atol=1e-6)


def test_networks_on_blocks_of_pixels_have_images_of_the_same_size():
    latent, image = draws(2, 8), draws(2, 12, 12, 1)
    generator = ResNetGenerator(1, size=3, channels=(8, 8), norm=group_norm, patch=2)
    output, _ = jax.eval_shape(lambda: generator.init_with_output(jax.random.key(0), latent, train=False))
    assert output.shape == image.shape
    discriminator = ResNetDiscriminator(channels=(8,), halvings=1, patch=2)
    variables = start(discriminator, image, train=False)
    blocks = image.reshape(2, 6, 2, 6, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 6, 4)
    whole = apply(ResNetDiscriminator(channels=(8,), halvings=1), variables, blocks, train=False)
    np.testing.assert_allclose(apply(discriminator, variables, image, train=False), whole, rtol=1e-5)
