"""Consistency distillation: order of the teacher's step, distance of adjacent levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import random_weights

from jaxdl.decoding.noise_schedules import Karras
from jaxdl.errors import UserError
from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.tasks.consistency import ConsistencyDistillation, heun_step, pseudo_huber

NETWORK = DiffusionUNet(outputs=1, channels=(8,), blocks=1, attention=(False,), groups=4)
MEAN, SPREAD = 0.3, 0.5  # mean and std of the data


def gaussian_denoiser(image, sigma, previous):
    """Returns the optimal denoiser for Gaussian data."""
    return MEAN + (image - MEAN) * SPREAD**2 / (SPREAD**2 + sigma**2)


def flowed(image, start, stop):
    """Returns the exact solution of the probability flow ODE between two levels."""
    return MEAN + (image - MEAN) * ((SPREAD**2 + stop**2) / (SPREAD**2 + start**2)) ** 0.5


def test_the_teacher_step_is_of_second_order():
    image = MEAN + jnp.asarray([[1.7], [-0.4], [3.0]])
    with jax.enable_x64(True):
        errors = []
        for step in (0.1, 0.05, 0.025):
            high = jnp.asarray([2.0, 1.0, 0.5])
            image_low = heun_step(
                lambda x, sigma, previous: gaussian_denoiser(x, sigma[:, None], previous), image, high, high - step
            )
            exact = flowed(image, high[:, None], high[:, None] - step)
            errors.append(float(jnp.abs(image_low - exact).max()))
    # The local error of a second-order method is of third order.
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 3, atol=0.2)


def test_the_distance_of_adjacent_levels_vanishes_with_their_spacing():
    """For adjacent levels the outputs are values of one smooth function at close points."""
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8),
        "index": np.arange(4, dtype=np.int32),
        "weight": np.ones(4, np.float32),
    }
    distances = []
    for levels in (5, 200):
        task = ConsistencyDistillation(NETWORK, Karras(sigma_min=0.1, sigma_max=1.0), levels=levels)
        params, variables = random_weights(task.init, batch)
        outcome = jax.jit(task.phases[0].loss)(params, variables, batch, jax.random.key(1), jnp.int32(0), {})
        spacing = 0.9 / (levels - 1)  # mean over examples
        distances.append(float(outcome.terms["distance"].sum) * spacing)
    assert distances[1] < 0.1 * distances[0]
    assert params.keys() == {"denoiser", "teacher"}
    with pytest.raises(UserError, match="levels=1"):
        ConsistencyDistillation(NETWORK, Karras(), levels=1)
    far = pseudo_huber(jnp.full((1, 100), 3.0))
    np.testing.assert_allclose(far, 30.0, rtol=1e-3)


def test_the_teacher_is_guided_inside_its_interval():
    network = DiffusionUNet(outputs=1, channels=(8,), blocks=1, attention=(False,), groups=4, classes=3)
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8),
        "label": np.array([0, 1, 2, 0], np.int32),
        "index": np.arange(4, dtype=np.int32),
        "weight": np.ones(4, np.float32),
    }

    def distance(**arguments):
        task = ConsistencyDistillation(network, Karras(), classes=3, **arguments)
        outcome = jax.jit(task.loss)(*random_weights(task.init, batch), batch, jax.random.key(1), jnp.int32(0), {})
        return float(outcome.terms["distance"].sum)

    everywhere, nowhere = distance(guidance=3.0), distance()
    assert everywhere != pytest.approx(nowhere, rel=1e-3)
    assert distance(guidance=3.0, guidance_interval=(0.0, 100.0)) == pytest.approx(everywhere, rel=1e-6)
    assert distance(guidance=3.0, guidance_interval=(90.0, 100.0)) == pytest.approx(nowhere, rel=1e-6)
    with pytest.raises(UserError, match="0 <= low < high"):
        ConsistencyDistillation(network, Karras(), classes=3, guidance_interval=(2.0, 1.0))
