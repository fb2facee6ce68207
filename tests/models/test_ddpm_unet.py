"""Denoising networks: parameter counts of the papers, and patches."""

import math

import jax
import jax.numpy as jnp
import pytest

from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.models.dit import DiT


def test_parameter_counts_match_the_papers():
    def count(network, shape, label):
        variables = jax.eval_shape(
            lambda: network.init(jax.random.key(0), jnp.zeros(shape), jnp.zeros(1), label, train=False)
        )
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))

    ddpm = count(DiffusionUNet(outputs=3), (1, 32, 32, 3), None)
    assert round(ddpm / 1e6, 1) == 35.7
    xl = count(DiT(outputs=8, classes=1000), (1, 32, 32, 4), jnp.zeros(1, jnp.int32))
    assert round(xl / 1e6) == 675


def test_image_sizes_not_divisible_by_the_patch_are_refused():
    with pytest.raises(ValueError, match="4 does not divide"):
        DiffusionUNet(outputs=1, channels=(8, 8), attention=(False, False), groups=4, patch=2).init(
            jax.random.key(0), jnp.zeros((1, 10, 12, 1)), jnp.zeros(1), train=False
        )
