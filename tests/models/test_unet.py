"""UNet: shapes at any size, parameters, gradients, precision, names, independent examples."""

import itertools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import random_weights

from jaxdl.models.layers.convolution import upsample_2x
from jaxdl.models.layers.norms import group_norm
from jaxdl.models.unet import PixelUnshuffle, TransposedConv, UNet, pad_to_multiple


def image_batch(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def shapes_of(model, image_shape):
    return jax.eval_shape(lambda key: model.init(key, jnp.zeros(image_shape), train=False), jax.random.key(0))


def start(model, image):
    return random_weights(model.init, image, train=False)


def run(model, variables, image, *, train=False, key=0, **arguments) -> Any:
    def apply(variables, image, key):
        return model.apply(variables, image, train=train, rngs={"dropout": key}, **arguments)

    return jax.jit(apply)(variables, image, jax.random.key(key))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("upsample", ["transposed", "nearest"])
@pytest.mark.parametrize("size", [(16, 16), (13, 9), (3, 5), (1, 30)])
def test_the_output_has_the_size_of_the_image(size, upsample):
    model = UNet(3, channels=(8, 16, 24), depth=1, upsample=upsample)

    def both(key):
        variables = model.init(key, jnp.zeros((2, *size, 1)), train=False)
        features = model.apply(variables, jnp.zeros((2, *size, 1)), train=False, method="features")
        return features, model.apply(variables, jnp.zeros((2, *size, 1)), train=False)

    features, outputs = jax.eval_shape(both, jax.random.key(0))
    assert features.shape == (2, *size, 8)
    assert outputs.shape == (2, *size, 3)
    assert outputs.dtype == jnp.float32


@pytest.mark.parametrize("upsample", ["transposed", "nearest"])
def test_the_number_of_parameters_is_that_of_its_convolutions(upsample):
    channels, depth, outputs, image_channels = (8, 16, 24), 2, 5, 3

    def block(before, after):
        return 9 * (before * after + (depth - 1) * after * after) + 2 * depth * after

    down = sum(block(*pair) for pair in zip((image_channels, *channels), channels))
    double = 4 if upsample == "transposed" else 9
    up = sum(double * coarse * fine + block(2 * fine, fine) for fine, coarse in itertools.pairwise(channels))
    model = UNet(outputs, channels=channels, depth=depth, upsample=upsample)
    expected = down + up + (channels[0] + 1) * outputs
    assert count(shapes_of(model, (1, 8, 8, image_channels))["params"]) == expected


def test_images_are_padded_by_reflection_at_the_bottom_and_right():
    image = np.arange(2 * 3 * 6, dtype=np.float32).reshape(2, 3, 6, 1)
    padded = np.asarray(pad_to_multiple(jnp.asarray(image), 4))
    assert padded.shape == (2, 4, 8, 1)
    np.testing.assert_array_equal(padded[:, :3, :6], image)
    np.testing.assert_array_equal(padded[:, 3, :6], image[:, 2])
    np.testing.assert_array_equal(padded[:, :3, 6:], image[:, :, :3:-1])
    model = UNet(2, channels=(8, 16, 16), depth=1, norm=group_norm)
    variables = start(model, jnp.asarray(image))
    expected = run(model, variables, jnp.asarray(padded))
    np.testing.assert_allclose(run(model, variables, jnp.asarray(image)), expected[:, :3, :6], rtol=1e-5, atol=1e-6)


def test_the_transposed_convolution_matches_jax_with_gradients():
    x, kernel = image_batch(2, 3, 5, 6), image_batch(2, 2, 6, 4, seed=1)

    def ours(x, kernel) -> Any:
        return TransposedConv(4, "float32").apply({"params": {"kernel": kernel}}, x)

    def theirs(x, kernel):
        return jax.lax.conv_transpose(x, kernel[::-1, ::-1], (2, 2), "VALID")

    def derivatives(convolve):
        return jax.value_and_grad(lambda *inputs: jnp.sum(jnp.sin(convolve(*inputs))), argnums=(0, 1))(x, kernel)

    np.testing.assert_allclose(ours(x, kernel), theirs(x, kernel), rtol=1e-5, atol=1e-5)
    for actual, expected in zip(jax.tree.leaves(derivatives(ours)), jax.tree.leaves(derivatives(theirs))):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_upsampling_repeats_values():
    x = image_batch(2, 3, 4, 2)
    np.testing.assert_array_equal(upsample_2x(x), np.repeat(np.repeat(x, 2, axis=1), 2, axis=2))


def test_gradients_reach_every_parameter():
    model = UNet(2, channels=(8, 16, 16), depth=1, norm=group_norm)
    image = image_batch(2, 9, 10, 1)
    variables = start(model, image)

    def loss(params):
        outputs: Any = model.apply({"params": params}, image, train=True)
        return jnp.sum(jnp.sin(outputs))

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables["params"])):
        assert np.isfinite(gradient).all(), path
        assert np.abs(gradient).max() > 0, path


def test_group_norm_is_independent_of_examples_and_dropout_random_in_training_only():
    model = UNet(2, channels=(8, 8), depth=1, norm=group_norm, dropout=0.5)
    image = image_batch(4, 4, 4, 1)
    variables = start(model, image)
    assert set(variables) == {"params"}
    outputs = run(model, variables, image)
    np.testing.assert_allclose(outputs[:1], run(model, variables, image[:1]), atol=1e-5)
    first, second = (run(model, variables, image, train=True, key=key) for key in (1, 2))
    assert not np.allclose(first, second)


def test_bfloat16_computation_keeps_float32_parameters_and_outputs():
    model = UNet(2, channels=(8, 16), depth=1, dtype="bfloat16")
    image = image_batch(2, 8, 8, 1)
    variables = start(model, image)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert run(model, variables, image, method="features").dtype == jnp.bfloat16
    outputs, updated = run(model, variables, image, train=True, mutable=["batch_stats"])
    assert outputs.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(updated)} == {jnp.dtype("float32")}


def test_every_parameter_has_logical_axis_names_and_no_convolution_has_a_bias():
    params = shapes_of(UNet(2, channels=(8, 16)), (1, 8, 8, 1))["params"]
    boxes = jax.tree_util.tree_leaves_with_path(params, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned))
    for path, box in boxes:
        assert isinstance(box, nn.LogicallyPartitioned), path
        assert len(box.names) == box.value.ndim
    assert set(params) == {"down1", "down2", "up1", "final"}
    assert set(params["down2"]["convs"]["conv1"]) == {"kernel"}
    assert params["down1"]["convs"]["conv1"]["kernel"].names == (None, None, None, "channels")
    assert params["up1"]["upsample"]["kernel"].names == (None, None, "channels_in", "channels")
    assert params["final"]["kernel"].names == ("embed", "classes")


def test_the_final_bias_sets_the_initial_output():
    model = UNet(2, channels=(8,), depth=1, final_bias=nn.initializers.constant(-math.log(99)))
    image = image_batch(1, 4, 4, 1)
    params = jax.jit(lambda key: nn.unbox(model.init(key, image, train=False))["params"])(jax.random.key(0))
    np.testing.assert_allclose(1 / (1 + np.exp(-params["final"]["bias"])), 0.01, rtol=1e-5)


def test_invalid_options_are_refused():
    with pytest.raises(ValueError, match="use 'transposed' or 'nearest'"):
        shapes_of(UNet(1, upsample="bilinear"), (1, 8, 8, 1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="at least one level"):
        shapes_of(UNet(1, channels=()), (1, 8, 8, 1))


class Blocks(nn.Module):
    """Returns its input, [batch, h / 2, w / 2, 4 * c]."""

    def __call__(self, image, *, train):
        assert image.shape[1:] == (3, 4, 12)
        return image


def test_pixel_unshuffle_returns_the_pixels_of_a_block_to_their_places():
    image = image_batch(2, 5, 7, 3)
    np.testing.assert_array_equal(PixelUnshuffle(Blocks()).apply({}, image, train=False), image)


def test_pixel_unshuffle_applies_its_network_to_blocks():
    model, image = PixelUnshuffle(UNet(8, channels=(8, 16), depth=1)), image_batch(2, 6, 10, 3)
    variables = start(model, image)
    outputs, params = run(model, variables, image), variables["params"]
    assert outputs.shape == (2, 6, 10, 2)
    blocks = image.reshape(2, 3, 2, 5, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 3, 5, 12)
    inner = {name: tree["network"] for name, tree in variables.items()}
    expected = run(model.network, inner, blocks)
    np.testing.assert_allclose(outputs[:, ::2, ::2], expected[..., :2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs[:, 1::2, ::2], expected[..., 4:6], rtol=1e-5, atol=1e-5)
    assert set(params) == {"network"}
