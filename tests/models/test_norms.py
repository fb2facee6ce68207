"""Normalization layers against those of Flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import random_weights

from jaxdl.models.layers.norms import BatchNorm, batch_norm


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_has_the_outputs_gradients_and_statistics_of_flax(train):
    x, target = np.random.default_rng(0).normal(1.0, 2.0, (2, 4, 3, 5, 6)).astype(np.float32)
    ours = batch_norm(train=train, momentum=0.8)
    flax = nn.BatchNorm(use_running_average=not train, momentum=0.8, epsilon=1e-5)
    variables = random_weights(flax.init, x)

    def evaluate(module: nn.Module):
        def loss(params, x):
            y, changed = module.apply({**variables, "params": params}, x, mutable=["batch_stats"])
            return jnp.mean(jnp.square(y - target)), (y, changed)

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(variables["params"], x)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), evaluate(ours), evaluate(flax))


@pytest.mark.parametrize("unsupported", [{"axis": 1}, {"use_bias": False}, {"use_scale": False}])
def test_batch_norm_refuses_other_axes_and_a_missing_scale_or_bias(unsupported):
    with pytest.raises(ValueError, match=r"use flax\.linen\.BatchNorm"):
        BatchNorm(use_running_average=True, **unsupported).init(jax.random.key(0), jnp.ones((2, 3)))
