"""Noise schedules against the papers' formulas, and distributions of noise levels."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.decoding.noise_schedules import Cosine, Karras, Linear, LogitNormal, LogNormal, RectifiedFlow, Uniform
from jaxdl.errors import UserError

SCHEDULES = [Linear(), Cosine(), Karras(), RectifiedFlow()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda value: type(value).__name__)
def test_sigma_increases_from_sigma_min_to_sigma_max(schedule):
    sigma = np.asarray(schedule.sigma(jnp.linspace(0.0, 1.0, 101)))
    assert np.all(np.diff(sigma) > 0)
    np.testing.assert_allclose(sigma[[0, -1]], [schedule.sigma_min, schedule.sigma_max], rtol=2e-2)


def test_schedules_match_the_papers():
    time = jnp.linspace(0.05, 0.95, 19)
    sigma = {type(schedule): np.asarray(schedule.sigma(time), np.float64) for schedule in SCHEDULES}
    # The product of 1 - beta of DDPM, with many more steps than its 1,000.
    beta = np.linspace(0.1, 20.0, 100_000) / 100_000
    products = np.cumprod(1 - beta)[(np.asarray(time) * 100_000).astype(int)]
    np.testing.assert_allclose(1 / (1 + sigma[Linear] ** 2), products, rtol=1e-2)
    np.testing.assert_allclose(sigma[Cosine], np.tan(0.5 * np.pi * np.asarray(time)), rtol=7e-2)
    np.testing.assert_allclose(sigma[RectifiedFlow], time / (1 - time), rtol=5e-2)
    ends = 80 ** (1 / 7), 0.002 ** (1 / 7)
    np.testing.assert_allclose(sigma[Karras], (ends[1] + np.asarray(time) * (ends[0] - ends[1])) ** 7, rtol=1e-4)
    shifted = RectifiedFlow(shift=3.0).sigma(jnp.float32(0.5))
    np.testing.assert_allclose(shifted, 3 * 0.5 / (1 + 2 * 0.5) / (1 - 3 * 0.5 / (1 + 2 * 0.5)), rtol=2e-2)


def test_noise_levels_of_training_have_their_distribution():
    quantile = jnp.linspace(0.0005, 0.9995, 1000)
    logs = jnp.log(LogNormal(-1.2, 1.2).sigma(Karras(), quantile))
    np.testing.assert_allclose((logs.mean(), logs.std()), (-1.2, 1.2), atol=0.02)
    np.testing.assert_allclose(Uniform().sigma(Cosine(), quantile), Cosine().sigma(quantile))
    middle = LogitNormal().sigma(RectifiedFlow(), jnp.float32(0.5))
    np.testing.assert_allclose(middle, 1.0, rtol=2e-2)


def test_invalid_schedules_are_refused():
    with pytest.raises(UserError, match="sigma_min=0 must be positive"):
        Karras(sigma_min=0)
    with pytest.raises(UserError, match="shift=-1 must be positive"):
        RectifiedFlow(shift=-1)
    with pytest.raises(UserError, match="sigma_min=9 must be below sigma_max=3"):
        Cosine(sigma_min=9, sigma_max=3)
