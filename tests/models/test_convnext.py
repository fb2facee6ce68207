"""ConvNeXt: sizes, shapes, depthwise convolutions and their gradients, precision, names."""

import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from modules import random_weights

from jaxdl.distributed.mesh import (
    Parallel,
    active,
    batch_sharding,
    make_mesh,
    shardings,
)
from jaxdl.models.convnext import ConvNeXt, convnext_tiny, depthwise_shifted
from jaxdl.models.layers.norms import group_norm, layer_norm


def image_batch(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def small(**arguments) -> ConvNeXt:
    options = {
        "stage_sizes": (1, 1),
        "num_classes": 3,
        "channels": (8, 16),
        "patch": 2,
        "kernel": 3,
        "layer_scale": 0.5,
    }
    return ConvNeXt(**(options | arguments))


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


def test_convnext_tiny_has_the_published_number_of_parameters():
    assert count(shapes_of(convnext_tiny(), (1, 64, 64, 3))) == 28_589_128


@pytest.mark.parametrize(
    ("sizes", "channels", "patch", "kernel"), [((2, 1), (8, 24), 1, 5), ((1, 2, 1), (4, 8, 8), 2, 3)]
)
def test_the_number_of_parameters_is_that_of_its_layers(sizes, channels, patch, kernel):
    classes, image_channels = 7, 3
    stem = (patch**2 * image_channels + 3) * channels[0]
    downs = sum(2 * before + (4 * before + 1) * after for before, after in itertools.pairwise(channels))
    blocks = sum(size * (8 * width**2 + (kernel**2 + 9) * width) for size, width in zip(sizes, channels))
    head = 2 * channels[-1] + (channels[-1] + 1) * classes
    model = ConvNeXt(sizes, classes, channels=channels, patch=patch, kernel=kernel)
    assert count(shapes_of(model, (1, 16, 16, image_channels))) == stem + downs + blocks + head


@pytest.mark.parametrize(("size", "scales"), [((16, 12), [(8, 6), (4, 3)]), ((9, 15), [(4, 7), (2, 3)])])
def test_shapes(size, scales):
    model = small()

    def outputs(key):
        variables = model.init(key, jnp.zeros((2, *size, 3)), train=False)
        every = model.apply(variables, jnp.zeros((2, *size, 3)), train=False, method="scales")
        return every, model.apply(variables, jnp.zeros((2, *size, 3)), train=False)

    every, logits = jax.eval_shape(outputs, jax.random.key(0))
    assert [scale.shape for scale in every] == [(2, *shape, width) for shape, width in zip(scales, (8, 16))]
    assert logits.shape == (2, 3)
    assert logits.dtype == jnp.float32


def test_features_and_classify_compose_to_the_network_and_stages_are_captured():
    model, image = small(), image_batch(2, 8, 8, 1)
    variables = start(model, image)
    logits, captured = run(model, variables, image, capture_intermediates=True, mutable=["intermediates"])
    features = run(model, variables, image, method="features")
    np.testing.assert_allclose(run(model, variables, features, method="classify"), logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(captured["intermediates"]["stage2"]["__call__"][0], features, rtol=1e-5, atol=1e-6)
    assert {"stem", "stage1", "stage2", "head"} <= set(captured["intermediates"])


def grouped(x, kernel):
    pad, layout = (kernel.shape[0] // 2,) * 2, ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (1, 1), (pad, pad), dimension_numbers=layout, feature_group_count=x.shape[-1]
    )


@settings(max_examples=5, deadline=None)
@given(st.sampled_from([1, 3, 5, 7]), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_shifted_depthwise_convolution_matches_grouped_convolution_with_gradients(size, height, width, seed):
    x, kernel = image_batch(2, height, width, 3, seed=seed), image_batch(size, size, 1, 3, seed=seed + 1)

    def derivatives(convolve):
        return jax.value_and_grad(lambda x, kernel: jnp.sum(jnp.sin(convolve(x, kernel))), argnums=(0, 1))(x, kernel)

    np.testing.assert_allclose(depthwise_shifted(x, kernel), grouped(x, kernel), rtol=1e-4, atol=1e-4)
    for actual, expected in zip(jax.tree.leaves(derivatives(depthwise_shifted)), jax.tree.leaves(derivatives(grouped))):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


def test_both_depthwise_methods_give_equal_networks():
    image = image_batch(2, 8, 8, 1)
    variables = start(small(), image)
    outputs = [run(small(depthwise=method), variables, image) for method in ("shifted", "convolution")]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)


def test_shifted_gradients_in_pmap_sum_to_those_of_the_global_batch():
    x, kernel = image_batch(16, 5, 5, 4), image_batch(3, 3, 1, 4, seed=1)

    def gradient(x, kernel):
        return jax.grad(lambda kernel: jnp.sum(jnp.sin(depthwise_shifted(x, kernel))))(kernel)

    cut = jax.pmap(lambda x: lax.psum(gradient(x, kernel), "data"), "data")(x.reshape(8, 2, 5, 5, 4))
    np.testing.assert_allclose(cut[0], gradient(x, kernel), rtol=1e-4, atol=1e-4)


def test_gradients_over_a_mesh_of_three_axes_equal_those_of_one_device():
    model, image = small(stage_sizes=(1,), channels=(8,)), image_batch(8, 8, 8, 3)
    boxed, variables = shapes_of(model, image.shape), start(model, image)

    def gradient(variables, image):
        def loss(variables):
            logits: Any = model.apply(variables, image, train=True)
            return jnp.sum(jnp.sin(3 * logits))

        return jax.grad(loss)(variables)

    parallel = Parallel(mesh={"data": 2, "fsdp": 2, "tensor": 2})
    mesh = make_mesh(parallel)
    with active(mesh, parallel):
        cut = jax.device_put(variables, shardings(mesh, parallel.rules, boxed))
        over_mesh = jax.jit(gradient)(cut, jax.device_put(image, batch_sharding(mesh)))
    expected = jax.jit(gradient)(variables, image)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), over_mesh, expected)


def test_gradients_reach_every_parameter():
    model, image = small(), image_batch(2, 8, 9, 1)
    variables = start(model, image)

    def loss(params):
        outputs: Any = model.apply({"params": params}, image, train=True)
        return jnp.sum(jnp.sin(outputs))

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables["params"])):
        assert np.isfinite(gradient).all(), path
        assert np.abs(gradient).max() > 0, path


@pytest.mark.parametrize("norm", [layer_norm, group_norm])
def test_examples_are_independent(norm):
    model, image = small(norm=norm), image_batch(4, 8, 8, 1)
    variables = start(model, image)
    assert set(variables) == {"params"}
    outputs = run(model, variables, image, train=True)
    np.testing.assert_allclose(outputs[:1], run(model, variables, image[:1], train=True), atol=1e-5)


def test_layer_norm_normalizes_the_channels_of_each_position():
    x = image_batch(2, 3, 4, 8) * 3 + 1
    y = np.asarray(layer_norm(train=True).init_with_output(jax.random.key(0), x)[0])
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(-1), 1, atol=1e-3)


def test_a_small_layer_scale_initializes_blocks_near_the_identity():
    image, model = image_batch(2, 8, 8, 1), small(stage_sizes=(2,), channels=(8,), layer_scale=1e-6)
    variables = jax.jit(lambda key: model.init(key, image, train=False))(jax.random.key(0))
    _, captured = run(model, variables, image, capture_intermediates=True, mutable=["intermediates"])
    stem, stage = (captured["intermediates"][name]["__call__"][0] for name in ("stem", "stage1"))
    np.testing.assert_allclose(stem, stage, atol=1e-4)


def test_stochastic_depth_is_random_in_training_only_and_skips_the_first_block():
    model, image = small(stage_sizes=(1, 1), stochastic_depth=0.5), image_batch(16, 4, 4, 1)
    variables = start(model, image)
    first, second = (run(model, variables, image, train=True, key=key, method="scales") for key in (1, 2))
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.allclose(first[1], second[1])
    assert np.isfinite(run(model, variables, image)).all()


@pytest.mark.parametrize("depthwise", ["shifted", "convolution"])
def test_bfloat16_computation_keeps_float32_parameters_gradients_and_logits(depthwise):
    model, image = small(dtype="bfloat16", depthwise=depthwise), image_batch(2, 8, 8, 1)
    variables = start(model, image)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert run(model, variables, image, method="features").dtype == jnp.bfloat16
    assert run(model, variables, image).dtype == jnp.float32
    gradients = jax.eval_shape(jax.grad(lambda v: model.apply(v, image, train=True).sum()), variables)  # pyright: ignore
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}


def test_every_parameter_has_logical_axis_names():
    params = shapes_of(small(), (1, 8, 8, 1))["params"]
    boxes = jax.tree_util.tree_leaves_with_path(params, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned))
    for path, box in boxes:
        assert isinstance(box, nn.LogicallyPartitioned), path
        assert len(box.names) == box.value.ndim
    assert params["stem"]["conv"]["kernel"].names == (None, None, None, "channels")
    assert params["stage2"]["downsample"]["kernel"].names == (None, None, "channels_in", "channels")
    assert params["stage2"]["block1"]["depthwise_conv"]["kernel"].names == (None, None, None, "channels")
    assert params["stage2"]["block1"]["expand"]["kernel"].names == ("channels_in", "channels")
    assert params["stage2"]["block1"]["project"]["kernel"].names == ("channels", "channels_in")
    assert params["head"]["classifier"]["kernel"].names == ("embed", "classes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depthwise": "fast"}, "use 'shifted' or 'convolution'"),
        ({"kernel": 4}, "use an odd size"),
        ({"stage_sizes": (1,)}, "1 stage_sizes and 2 channels"),
        ({"patch": 4}, "1x1 positions are smaller than a 2x2 patch"),
    ],
)
def test_invalid_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(small(**arguments), (1, 6, 6, 1))
