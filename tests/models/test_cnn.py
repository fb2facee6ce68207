"""ConvNet and ResNet: sizes, shapes, precision, names, and batch statistics over devices."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from modules import random_weights

from jaxdl.models.convnet import ConvNet
from jaxdl.models.layers.convolution import max_pool_2x2
from jaxdl.models.layers.dense import StochasticDepth, variance_scaling
from jaxdl.models.layers.norms import batch_norm, group_norm
from jaxdl.models.resnet import BasicBlock, Bottleneck, ResNet, resnet50


def image_batch(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def shapes_of(model, image_shape):
    return jax.eval_shape(lambda key: model.init(key, jnp.zeros(image_shape), train=False), jax.random.key(0))


def start(model, image):
    return random_weights(model.init, image, train=False)


def run(model, variables, image, *, train=False, key=None, **arguments) -> Any:
    rngs = {} if key is None else {"dropout": jax.random.key(key)}
    return jax.jit(lambda v, x: model.apply(v, x, train=train, rngs=rngs, **arguments))(variables, image)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_resnet50_has_the_published_number_of_parameters():
    collections = shapes_of(resnet50(), (1, 224, 224, 3))
    assert count(collections["params"]) == 25_557_032
    assert count(collections["batch_stats"]) == 53_120


def test_resnet18_has_the_published_number_of_parameters():
    model = ResNet(stage_sizes=(2, 2, 2, 2), num_classes=1000, block=BasicBlock, stem="imagenet")
    assert count(shapes_of(model, (1, 64, 64, 3))["params"]) == 11_689_512


@pytest.mark.parametrize(
    ("model", "image_shape", "features"),
    [
        (ConvNet(10, channels=(8, 16), depth=1), (2, 8, 8, 1), (2, 4, 4, 16)),
        (ConvNet(10, channels=(8, 16, 24), downsample="max"), (2, 28, 28, 1), (2, 7, 7, 24)),
        (ConvNet(10, channels=(8, 16, 24)), (2, 13, 10, 3), (2, 4, 3, 24)),
        (ResNet((1, 1, 1), 10, width=8), (2, 28, 28, 1), (2, 7, 7, 32)),
        (ResNet((1, 2), 10, width=8, block=Bottleneck), (2, 9, 12, 3), (2, 5, 6, 64)),
        (ResNet((1, 1), 10, width=8, stem="imagenet"), (2, 64, 64, 3), (2, 8, 8, 16)),
    ],
)
def test_shapes(model, image_shape, features):
    def both(key):
        variables = model.init(key, jnp.zeros(image_shape), train=False)
        maps = model.apply(variables, jnp.zeros(image_shape), train=False, method="features")
        return maps, model.apply(variables, jnp.zeros(image_shape), train=False)

    maps, logits = jax.eval_shape(both, jax.random.key(0))
    assert maps.shape == features
    assert logits.shape == (2, 10)
    assert logits.dtype == jnp.float32


def test_bfloat16_computes_in_it_and_keeps_float32_parameters_and_logits():
    model = ResNet((1, 1), 10, width=8, dtype="bfloat16")
    image = image_batch(2, 8, 8, 1)
    variables = start(model, image)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert run(model, variables, image, method="features").dtype == jnp.bfloat16
    logits, updated = run(model, variables, image, train=True, mutable=["batch_stats"])
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(updated)} == {jnp.dtype("float32")}


def test_features_and_classify_compose_to_the_network_and_stages_are_captured():
    model = ResNet((1, 1), 5, width=8)
    image = image_batch(2, 8, 8, 1)
    variables = start(model, image)
    logits, captured = run(model, variables, image, capture_intermediates=True, mutable=["intermediates"])
    features = run(model, variables, image, method="features")
    split = run(model, variables, features, method="classify")
    np.testing.assert_allclose(split, logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(captured["intermediates"]["stage2"]["__call__"][0], features, rtol=1e-5, atol=1e-6)
    assert {"stem", "stage1", "stage2", "head"} <= set(captured["intermediates"])


def test_every_parameter_has_logical_axis_names_and_no_convolution_has_a_bias():
    params = shapes_of(ResNet((1, 1), 10, width=8), (1, 8, 8, 1))["params"]
    boxes = jax.tree_util.tree_leaves_with_path(params, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned))
    for path, box in boxes:
        assert isinstance(box, nn.LogicallyPartitioned), path
        assert len(box.names) == box.value.ndim
    assert set(params["stage2"]["block1"]["conv1"]) == {"kernel"}
    assert params["stage2"]["block1"]["conv1"]["kernel"].names == (None, None, "channels_in", "channels")
    assert params["head"]["kernel"].names == ("embed", "classes")


def test_zero_init_makes_every_block_its_shortcut():
    image = image_batch(2, 8, 8, 1)
    model = ResNet((2,), 3, width=8, zero_init=True)
    variables = jax.jit(lambda key: model.init(key, image, train=False))(jax.random.key(0))
    _, captured = run(model, variables, image, capture_intermediates=True, mutable=["intermediates"])
    stem, stage = (captured["intermediates"][name]["__call__"][0] for name in ("stem", "stage1"))
    np.testing.assert_allclose(stem, stage, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 12), (3, 5, 12), (3, 4, 5, 12)])
def test_group_norm_matches_flax(shape):
    x, weights = 3.0 + 2.0 * image_batch(*shape), image_batch(*shape, seed=1)
    params = {"scale": np.linspace(0.5, 2.0, 12, dtype=np.float32), "bias": np.linspace(-1, 1, 12, dtype=np.float32)}

    def output_and_gradients(module):
        def total(params, x):
            return jnp.sum(weights * module.apply({"params": params}, x))

        return module.apply({"params": params}, x), *jax.grad(total, argnums=(0, 1))(params, x)

    output_and_gradients = jax.jit(output_and_gradients, static_argnums=0)
    outputs = output_and_gradients(group_norm(train=False, group_size=4, epsilon=1e-3))
    expected = output_and_gradients(nn.GroupNorm(num_groups=3, epsilon=1e-3))
    jax.tree.map(lambda actual, reference: np.testing.assert_allclose(actual, reference, atol=1e-4), outputs, expected)
    with pytest.raises(ValueError, match="group_size=5 does not divide 12"):
        group_norm(train=False, group_size=5).init(jax.random.key(0), x)


def test_group_norm_is_independent_of_other_examples():
    model = ConvNet(3, channels=(8, 16), depth=1, norm=group_norm)
    image = image_batch(4, 8, 8, 1)
    variables = start(model, image)
    assert set(variables) == {"params"}
    outputs = run(model, variables, image, train=True)
    np.testing.assert_allclose(outputs[:1], run(model, variables, image[:1], train=True), atol=1e-5)


def test_dropout_and_stochastic_depth_are_random_in_training_only():
    model = ResNet((1, 1), 3, width=8, dropout=0.5, stochastic_depth=0.5, zero_init=False, norm=group_norm)
    image = image_batch(8, 8, 8, 1)
    variables = start(model, image)
    first, second = (run(model, variables, image, train=True, key=key) for key in (1, 2))
    assert not np.allclose(first, second)
    assert np.isfinite(run(model, variables, image)).all()


def test_stochastic_depth_drops_whole_examples_and_preserves_the_mean():
    residual = jnp.ones((4000, 2, 3))
    drop = StochasticDepth(0.25)
    residuals = np.asarray(drop.apply({}, residual, train=True, rngs={"dropout": jax.random.key(0)}))
    assert np.all(residuals == residuals[:, :1, :1])
    assert set(np.unique(residuals)) == {0.0, np.float32(1 / 0.75)}
    assert abs(residuals.mean() - 1) < 0.03


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_kernels_have_the_initialization_of_linen(mode):
    key, shape = jax.random.key(3), (3, 5, 16)
    expected = nn.initializers.variance_scaling(2.0, mode, "truncated_normal")(key, shape)
    np.testing.assert_allclose(variance_scaling(2.0, mode)(key, shape), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (2, 7, 9, 3)])
def test_max_pool_matches_linen(shape):
    x = image_batch(*shape)
    np.testing.assert_array_equal(max_pool_2x2(x), nn.max_pool(x, (2, 2), (2, 2)))


def test_batch_norm_in_pmap_equals_jit_over_the_global_batch():
    devices = 8
    assert jax.device_count() >= devices
    model = ConvNet(3, channels=(8, 16), depth=1, norm=batch_norm)
    image = image_batch(16, 8, 8, 1) * jnp.linspace(0.1, 3.0, 16)[:, None, None, None]
    variables = start(model, image)
    params, statistics = variables["params"], {"batch_stats": variables["batch_stats"]}

    def gradient(image, axis=None):
        def loss(params):
            logits, updated = model.apply({"params": params, **statistics}, image, train=True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(logits)), (logits, updated)

        gradients, (logits, updated) = jax.grad(loss, has_aux=True)(params)
        return gradients if axis is None else lax.psum(gradients, axis), logits, updated

    expected = jax.jit(gradient)(image)
    cut = jax.pmap(lambda image: gradient(image, "data"), "data")(image.reshape(devices, 2, 8, 8, 1))
    np.testing.assert_allclose(np.asarray(cut[1]).reshape(16, 3), expected[1], rtol=1e-4, atol=1e-5)
    for part in (0, 2):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[3], b, rtol=2e-3, atol=1e-4), cut[part], expected[part])


def test_unknown_options_are_refused():
    for model in (ResNet((1,), 3, stem="large"), ConvNet(3, downsample="average")):  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match=r"use ('|one of)"):
            shapes_of(model, (1, 8, 8, 1))
