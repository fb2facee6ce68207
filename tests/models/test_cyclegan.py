"""CycleGAN networks: shapes, receptive field, instance norm, identity initialization."""

import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.cyclegan import PatchDiscriminator, StyleGenerator, instance_norm


def start(model, image, key=0):
    return nn.unbox(jax.jit(lambda key: model.init(key, image, train=False))(jax.random.key(key)))


def run(model, variables, image):
    return np.asarray(jax.jit(lambda image: model.apply(variables, image, train=True))(image))


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32)


@pytest.mark.parametrize(
    ("levels", "blocks", "upsample", "padding"),
    list(itertools.product((0, 2), (0, 2), ("transposed", "nearest"), ("reflect", "zero"))),
)
def test_a_generator_preserves_the_shape(levels, blocks, upsample, padding):
    model = StyleGenerator(width=4, levels=levels, blocks=blocks, upsample=upsample, padding=padding)

    def initialize(key):
        image = jnp.zeros((2, 8, 12, 3))
        return model.apply(model.init(key, image, train=False), image, train=True)

    output = jax.eval_shape(initialize, jax.random.key(0))
    assert (output.shape, output.dtype) == ((2, 8, 12, 3), jnp.float32)


def test_indivisible_sizes_are_refused():
    with pytest.raises(ValueError, match="levels=2"):
        jax.eval_shape(
            lambda: StyleGenerator(width=4, levels=2).init(jax.random.key(0), jnp.zeros((1, 8, 6, 3)), train=False)
        )


def test_the_generator_has_the_size_of_the_paper():
    """c7s1-64, d128, d256, R256 x 6, u128, u64, c7s1-3.

    Difference from the paper: 2x2 kernels up, and no bias before norms.
    """
    model = StyleGenerator()
    tree = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, 16, 16, 3)), train=False), jax.random.key(0))
    kernels = 49 * 3 * 64 + 9 * 64 * 128 + 9 * 128 * 256 + 6 * 2 * 9 * 256**2
    kernels += 4 * 256 * 128 + 4 * 128 * 64 + 49 * 64 * 3 + 3
    norms = 2 * (64 + 128 + 256 + 12 * 256 + 128 + 64)
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == kernels + norms


def test_a_residual_generator_starts_as_the_identity_and_is_trainable():
    model, image = StyleGenerator(width=4, levels=1, blocks=1, size=3, residual=True), images(2, 8, 8, 3)
    variables = start(model, image)
    np.testing.assert_array_equal(run(model, variables, image), image)

    def loss(variables):
        output: Any = model.apply(variables, image, train=True)
        return jnp.sum(output * images(2, 8, 8, 3, seed=1))

    gradient = jax.jit(jax.grad(loss))(variables)["params"]["exit"]["kernel"]
    assert np.abs(gradient).max() > 1e-3


def test_examples_are_independent_and_outputs_bounded():
    model, image = StyleGenerator(width=4, levels=1, blocks=1, size=3), images(3, 8, 8, 3)
    variables = start(model, image)
    outputs = run(model, variables, image)
    assert np.abs(outputs).max() <= 1
    perturbed_outputs = run(model, variables, image.at[1].set(0.3))
    np.testing.assert_allclose(perturbed_outputs[[0, 2]], outputs[[0, 2]], atol=1e-6)
    assert np.abs(perturbed_outputs[1] - outputs[1]).max() > 1e-3


def test_instance_norm_normalizes_each_channel_of_each_example():
    x = images(3, 5, 4, 6)
    module = instance_norm(train=True)
    output = module.apply(nn.unbox(module.init(jax.random.key(0), x)), x)
    x = np.asarray(x, np.float64)
    expected = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(np.asarray(output), expected, atol=1e-5)


@pytest.mark.parametrize(("channels", "receptive_field"), [((4, 4), 16), ((4, 4, 4), 34)])
def test_the_discriminator_has_the_receptive_field_of_a_patch(channels, receptive_field):
    """Without norms, which pool the whole image, a logit depends only on a square of pixels."""
    identity: Any = lambda *, train, dtype, name: lambda x: x  # noqa: E731
    side = 64
    model, image = PatchDiscriminator(channels=channels, norm=identity), images(1, side, side, 3)
    variables = start(model, image)
    cells = side // 2 ** (len(channels) - 1)
    assert run(model, variables, image).shape == (1, cells, cells, 1)

    def middle(image):
        judged: Any = model.apply(variables, image, train=True)
        return judged[0, cells // 2, cells // 2, 0]

    dependencies = np.argwhere(np.any(np.asarray(jax.jit(jax.grad(middle))(image))[0] != 0, -1))
    assert tuple(np.ptp(dependencies, axis=0) + 1) == (receptive_field, receptive_field)
