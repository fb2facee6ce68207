"""Feature pyramid and detector: shapes, parameters, gradients, precision, initialization."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import random_weights

from jaxdl.models.convnext import ConvNeXt
from jaxdl.models.fpn import LARGEST_EXPONENT, Detector, FeaturePyramid, upsample_to
from jaxdl.models.layers.norms import group_norm
from jaxdl.models.resnet import ResNet

CLASSES = 3


def image_batch(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def resnet(stages=2, dtype="float32"):
    return ResNet((1,) * stages, 10, width=8, norm=group_norm, zero_init=False, dtype=dtype)


def small(**arguments) -> Detector:
    options = {"num_classes": CLASSES, "backbone": resnet(), "levels": (0, 1), "channels": 8, "head_depth": 1}
    return Detector(**(options | arguments))


def shapes_of(model, image_shape):
    return jax.eval_shape(lambda key: model.init(key, jnp.zeros(image_shape), train=False), jax.random.key(0))


def start(model, image):
    return random_weights(model.init, image, train=False)


def run(model, variables, image, *, train=False, **arguments) -> Any:
    return jax.jit(lambda v, x: model.apply(v, x, train=train, **arguments))(variables, image)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def convnext(stages):
    return ConvNeXt((1,) * stages, 10, channels=(8, 16, 24)[:stages], patch=2, kernel=3)


@pytest.mark.parametrize(
    ("arguments", "size", "levels"),
    [
        ({"backbone": resnet(3), "levels": (1, 2)}, (24, 16), [(12, 8), (6, 4)]),
        (
            {"backbone": resnet(3), "levels": (0, 2), "extra_levels": 2},
            (13, 21),
            [(13, 21), (7, 11), (4, 6), (2, 3), (1, 2)],
        ),
        ({"backbone": convnext(3), "levels": (0, 2)}, (22, 31), [(11, 15), (5, 7), (2, 3)]),
        ({"backbone": convnext(2), "levels": (1, 1), "extra_levels": 1}, (17, 12), [(4, 3), (2, 2)]),
    ],
)
def test_every_level_has_three_float32_outputs(arguments, size, levels):
    model = small(**arguments)

    def outputs(key):
        image = jnp.zeros((2, *size, 3))
        return model.apply(model.init(key, image, train=False), image, train=False)

    shapes: Any = jax.tree.map(lambda array: (array.shape, array.dtype), jax.eval_shape(outputs, jax.random.key(0)))
    float32 = jnp.dtype("float32")
    assert shapes == {
        "class_logits": tuple(((2, *level, CLASSES), float32) for level in levels),
        "distances": tuple(((2, *level, 4), float32) for level in levels),
        "centerness": tuple(((2, *level), float32) for level in levels),
    }


def test_the_number_of_parameters_is_the_sum_of_pyramid_and_head():
    channels, depth, inputs, extra = 16, 3, (8, 16, 32), 2
    model = small(backbone=resnet(3), levels=(0, 2), extra_levels=extra, channels=channels, head_depth=depth)
    params = shapes_of(model, (1, 16, 16, 3))["params"]
    conv, norm = 9 * channels**2, 2 * channels
    pyramid = sum(inputs) * channels + len(inputs) * (conv + 2 * norm) + extra * (conv + norm)
    head = 2 * depth * (conv + norm) + (9 * channels + 1) * (CLASSES + 4 + 1)
    assert count(params["pyramid"]) == pyramid
    assert count(params["head"]) == head
    assert count(params["scale"]) == len(inputs) + extra
    assert set(params["backbone"]) == {"stem", "stage1", "stage2", "stage3"}  # the head of the backbone is not created


def test_scales_of_a_resnet_are_its_stage_outputs():
    model, image = resnet(3), image_batch(2, 9, 12, 1)
    variables = start(model, image)
    scales = run(model, variables, image, method="scales")
    assert [scale.shape for scale in scales] == [(2, 9, 12, 8), (2, 5, 6, 16), (2, 3, 3, 32)]
    np.testing.assert_allclose(scales[-1], run(model, variables, image, method="features"), rtol=1e-5, atol=1e-6)


def test_gradients_reach_every_parameter():
    model, image = small(backbone=resnet(2), extra_levels=1), image_batch(2, 9, 10, 1)
    variables = start(model, image)

    def loss(params):
        outputs = model.apply({"params": params}, image, train=True)
        return sum(jnp.sum(jnp.sin(3 * array)) for array in jax.tree.leaves(outputs))

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables["params"])):
        assert np.isfinite(gradient).all(), path
        every_level = len(path) == 1  # includes the scales of the levels
        assert (np.abs(gradient).min() if every_level else np.abs(gradient).max()) > 0, path


def test_group_norm_is_independent_of_other_examples():
    model, image = small(), image_batch(3, 8, 8, 1)
    variables = start(model, image)
    assert set(variables) == {"params"}
    outputs, first = run(model, variables, image, train=True), run(model, variables, image[:1], train=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[:1], b, rtol=1e-4, atol=1e-5), outputs, first)


def test_initial_probabilities_are_near_the_prior_and_distances_near_the_stride():
    model, image = small(extra_levels=1), image_batch(2, 16, 16, 3)
    outputs = jax.jit(lambda key: model.init_with_output(key, image, train=False)[0])(jax.random.key(0))
    for stride, logits, distances in zip((1, 2, 4), outputs["class_logits"], outputs["distances"]):
        assert abs(float(jax.nn.sigmoid(logits).mean()) - 0.01) < 0.003
        assert np.all(distances > 0)
        assert abs(float(distances.mean()) / stride - 1) < 0.3


@pytest.mark.parametrize("factor", [1e6, -1e6])
def test_distances_are_finite_and_positive_for_extreme_logits(factor):
    model, image = small(), image_batch(2, 16, 16, 3)
    variables = start(model, image)
    variables["params"]["scale"] = variables["params"]["scale"] * factor
    for stride, distances in zip((1, 2), run(model, variables, image)["distances"]):
        assert np.isfinite(distances).all()
        assert np.all(distances > 0)
        np.testing.assert_allclose(distances.max(), stride * np.exp(LARGEST_EXPONENT), rtol=1e-4)


def test_levels_have_separate_scales_and_share_the_head():
    model, image = small(), image_batch(2, 8, 8, 3)
    variables = start(model, image)
    before, after = (
        run(model, {"params": {**variables["params"], "scale": np.array(scale, np.float32)}}, image)
        for scale in ([1, 1], [1, 2])
    )
    np.testing.assert_array_equal(before["distances"][0], after["distances"][0])
    np.testing.assert_allclose(after["distances"][1] / 2, (before["distances"][1] / 2) ** 2, rtol=1e-4)


def test_bfloat16_computation_gives_float32_outputs():
    model, image = small(backbone=resnet(dtype="bfloat16"), dtype="bfloat16"), image_batch(2, 8, 8, 1)
    variables = start(model, image)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    outputs, captured = run(model, variables, image, capture_intermediates=True, mutable=["intermediates"])
    assert {array.dtype for array in jax.tree.leaves(outputs)} == {jnp.dtype("float32")}
    assert captured["intermediates"]["head"]["box_tower"]["__call__"][0].dtype == jnp.bfloat16
    assert captured["intermediates"]["pyramid"]["__call__"][0][0].dtype == jnp.bfloat16


def test_every_parameter_has_logical_axis_names():
    params = shapes_of(small(extra_levels=1), (1, 8, 8, 1))["params"]
    boxes = jax.tree_util.tree_leaves_with_path(params, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned))
    for path, box in boxes:
        assert isinstance(box, nn.LogicallyPartitioned), path
        assert len(box.names) == box.value.ndim
    assert params["pyramid"]["lateral1"]["kernel"].names == (None, None, "channels_in", "channels")
    assert params["head"]["class_logits"]["kernel"].names == (None, None, "channels_in", "classes")


@pytest.mark.parametrize(("coarse", "fine"), [((2, 3), (4, 6)), ((2, 3), (3, 5)), ((2, 3), (5, 7))])
def test_coarse_levels_are_upsampled_cropped_and_extended(coarse, fine):
    x = image_batch(1, *coarse, 2)
    rows, columns = (np.minimum(np.arange(size) // 2, limit - 1) for size, limit in zip(fine, coarse))
    np.testing.assert_array_equal(upsample_to(x, jnp.zeros((1, *fine, 4))), np.asarray(x)[:, rows][:, :, columns])


def test_a_pyramid_propagates_coarse_features_to_finer_levels():
    scales = [image_batch(1, 8, 8, 4), image_batch(1, 4, 4, 4)]
    model = FeaturePyramid(channels=8)
    variables = start(model, scales)
    before = run(model, variables, scales)
    after = run(model, variables, [scales[0], scales[1].at[0, 0, 0, 0].add(3.0)])
    assert not np.allclose(before[0], after[0])
    after = run(model, variables, [scales[0].at[0, 0, 0, 0].add(3.0), scales[1]])
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize(
    ("levels", "message"),
    [((1, 0), "0 <= first <= last"), ((-1, 1), "0 <= first <= last"), ((0, 2), "the backbone has 2 stages")],
)
def test_invalid_levels_are_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(small(levels=levels), (1, 8, 8, 1))


def test_scales_that_are_not_halved_are_refused():
    with pytest.raises(ValueError, match="must halve"):
        jax.eval_shape(
            lambda key: FeaturePyramid().init(key, [jnp.zeros((1, 8, 8, 4)), jnp.zeros((1, 2, 2, 4))], train=False),
            jax.random.key(0),
        )
