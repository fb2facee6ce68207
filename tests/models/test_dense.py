"""Dense layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.layers.dense import dense


@pytest.mark.parametrize("features", [3, 8])
def test_a_dense_layer_has_the_derivatives_of_a_matrix_product(features):
    """Reverse mode, forward mode and forward over reverse."""
    x, direction = jax.random.normal(jax.random.key(0), (2, 2, 4, 5))
    layer = dense(features, use_bias=False)
    kernel = nn.unbox(layer.init(jax.random.key(1), x))["params"]["kernel"]

    def loss(x, kernel):
        return jnp.sum(jnp.tanh(jnp.asarray(layer.apply({"params": {"kernel": kernel}}, x))) ** 2)

    def expected(x, kernel):
        return jnp.sum(jnp.tanh(jnp.einsum("abi,io->abo", x, kernel)) ** 2)

    def derivatives(f):
        gradient = jax.grad(f, argnums=(0, 1))
        primals, tangents = (x, kernel), (direction, jnp.sin(kernel))
        return gradient(*primals), jax.jvp(f, primals, tangents), jax.jvp(gradient, primals, tangents)

    for ours, theirs in zip(jax.tree.leaves(derivatives(loss)), jax.tree.leaves(derivatives(expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
