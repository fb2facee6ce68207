"""Autoencoders: shapes, encoder and decoder, odd sizes, independence of examples, errors."""

# The return types of flax's init and apply, and the optional methods of a task, are not expressed in types.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.autoencoder import ConvAutoencoder, DenseAutoencoder

KEY = jax.random.key(0)
MODELS = {
    "dense": (DenseAutoencoder(features=6, code=2, widths=(8, 5)), (6,)),
    "conv": (ConvAutoencoder((9, 7, 3), code=4, channels=(8, 16)), (9, 7, 3)),
}


@functools.cache
def initialized(name):
    """Returns model, variables, five inputs, their codes, the decoded codes and the outputs."""
    model, shape = MODELS[name]
    x = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    variables = jax.jit(functools.partial(model.init, train=False))(KEY, x)
    return model, variables, x, *applied(name, variables, x)


def applied(name, variables, x):
    model = MODELS[name][0]

    @jax.jit
    def run(variables, x):
        code = model.apply(variables, x, train=False, method="encode")
        return code, model.apply(variables, code, train=False, method="decode"), model.apply(variables, x, train=False)

    return run(variables, x)


@pytest.mark.parametrize("name", MODELS)
def test_a_call_is_encode_then_decode(name):
    model, _, x, code, decoded, output = initialized(name)
    assert code.shape == (5, model.code)
    assert code.dtype == output.dtype == jnp.float32
    assert output.shape == x.shape
    np.testing.assert_allclose(output, decoded, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_examples_are_independent(name):
    _, variables, x, code, _, output = initialized(name)
    perturbed = x.copy()
    perturbed[1:] = 7.0
    perturbed_output = applied(name, variables, perturbed)
    np.testing.assert_allclose(perturbed_output[0][0], code[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(perturbed_output[2][0], output[0], rtol=1e-5, atol=1e-6)
    assert np.abs(perturbed_output[2][1] - output[1]).max() > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_the_decoder_depends_on_the_code_only(name):
    """The rank of the outputs is at most the number of code dimensions."""
    model, variables, x, *_ = initialized(name)

    jacobian = jax.jit(jax.jacrev(lambda x: model.apply(variables, x[None], train=False)[0]))(x[0])
    size = int(np.prod(x.shape[1:]))
    matrix = np.asarray(jacobian, np.float64).reshape(size, size)
    values = np.linalg.svd(matrix, compute_uv=False)
    assert values[model.code - 1] > 1e-6 * values[0]
    assert values[model.code] < 1e-5 * values[0]


def test_a_linear_autoencoder_has_two_kernels():
    model = DenseAutoencoder(features=4, code=2, widths=())
    x = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    variables = model.init(KEY, x, train=False)
    parts = nn.unbox(variables)["params"]
    code = x @ parts["code"]["kernel"] + parts["code"]["bias"]
    expected = code @ parts["output"]["kernel"] + parts["output"]["bias"]
    np.testing.assert_allclose(model.apply(variables, x, train=False), expected, rtol=1e-5, atol=1e-6)


def test_decoder_widths_mirror_encoder_widths():
    _, variables, *_ = initialized("conv")
    shapes = jax.tree.map(lambda leaf: leaf.shape, nn.unbox(variables)["params"])
    assert shapes["upsample2"]["kernel"] == (2, 2, 16, 8)
    assert shapes["up1"]["conv1"]["kernel"] == (3, 3, 8, 8)
    assert shapes["widen"]["kernel"] == (4, 3 * 2 * 16)  # 9x7, halved twice and rounded up


def test_dropout_affects_training_inputs_only():
    model = DenseAutoencoder(features=6, code=2, widths=(8,), dropout=0.5)
    x = np.ones((4, 6), np.float32)
    variables = model.init(KEY, x, train=False)

    def run(number):
        return model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(number)})

    assert np.abs(run(1) - run(2)).max() > 1e-3
    rows = np.asarray(model.apply(variables, x, train=False))
    np.testing.assert_array_equal(rows, np.broadcast_to(rows[:1], rows.shape))


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (DenseAutoencoder(features=6, code=0), (2, 6), "code=0"),
        (DenseAutoencoder(features=6, code=2, widths=(8, 0)), (2, 6), r"widths=\(8, 0\)"),
        (ConvAutoencoder((8, 8, 1), 4, channels=()), (2, 8, 8, 1), r"channels=\(\)"),
        (ConvAutoencoder((8, 8, 1), 4, channels=(8,)), (2, 8, 9, 1), r"images have shape \(8, 9, 1\)"),
    ],
)
def test_invalid_options_are_refused(model, shape, message):
    with pytest.raises(ValueError, match=message):
        model.init(KEY, jnp.zeros(shape), train=False)
