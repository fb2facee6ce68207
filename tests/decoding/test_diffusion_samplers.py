"""Diffusion samplers with the optimal denoiser of Gaussian data."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.decoding import diffusion_samplers as samplers
from jaxdl.decoding.noise_schedules import Karras
from jaxdl.tasks.diffusion import SAMPLERS

MEAN, SPREAD = 0.3, 0.5  # mean and std of the data


def gaussian_denoiser(image, sigma, previous):
    """Returns the optimal denoiser for Gaussian data."""
    return MEAN + (image - MEAN) * SPREAD**2 / (SPREAD**2 + sigma**2)


def flowed(image, start, stop):
    """Returns the exact solution of the probability flow ODE between two levels."""
    return MEAN + (image - MEAN) * ((SPREAD**2 + stop**2) / (SPREAD**2 + start**2)) ** 0.5


def error_of(sampler, steps):
    """Returns the largest error of a sampler that integrates the flow from sigma 2 to 0.2."""
    sigmas = jnp.asarray(np.geomspace(2.0, 0.2, steps + 1))
    start = MEAN + jnp.asarray([[1.7], [-0.4], [3.0]])
    end = sampler(gaussian_denoiser, start, sigmas, None).image
    return float(jnp.abs(end - flowed(start, 2.0, 0.2)).max())


@pytest.mark.parametrize(
    ("sampler", "order"),
    [(samplers.euler, 1), (samplers.ddim, 1), (samplers.heun, 2), (samplers.dpm_solver, 2)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_samplers_converge_at_their_order(sampler, order):
    with jax.enable_x64(True):
        errors = [error_of(sampler, steps) for steps in (400, 800, 1600)]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(rates, order, atol=0.15)


@pytest.mark.parametrize("name", ["ancestral", "ddim", "heun", "dpm_solver"])
def test_samples_have_the_mean_and_std_of_the_data(name):
    count, schedule = 20_000, Karras()
    sigmas = jnp.append(schedule.sigma(jnp.linspace(1.0, 0.0, 200)), 0.0)

    def noise(step):
        return jax.random.normal(jax.random.fold_in(jax.random.key(0), step), (count, 1))

    run = jax.jit(lambda: getattr(samplers, name)(gaussian_denoiser, sigmas[0] * noise(10_000), sigmas, noise))
    image = np.asarray(run().image)
    # Two standard errors of the samples, and the discretization error of 200 first-order steps.
    np.testing.assert_allclose(image.mean(), MEAN, atol=0.008)
    np.testing.assert_allclose(image.std(), SPREAD, rtol=0.04)


def test_a_consistency_model_reaches_the_data_in_one_step_and_in_two():
    count = 20_000

    def end(image, sigma, previous):
        return flowed(image, sigma, 0.0)

    def noise(step):
        return jax.random.normal(jax.random.fold_in(jax.random.key(0), step), (count, 1))

    for sigmas in ([80.0, 0.0], [80.0, 0.8, 0.0]):
        image = np.asarray(samplers.consistency(end, 80.0 * noise(9), jnp.asarray(sigmas), noise).image)
        # The tolerance includes the mean at the highest level, 0.3 / 80 * 0.5.
        np.testing.assert_allclose((image.mean(), image.std()), (MEAN, SPREAD), atol=0.01)


@pytest.mark.parametrize("name", SAMPLERS)
def test_denoisers_receive_their_previous_output(name):
    """The denoiser adds 1 to its previous output, so its output is the number of calls."""

    def count(image, sigma, previous):
        return previous + 1.0

    sigmas = jnp.array([2.0, 1.0, 0.5, 0.0])
    trajectory = SAMPLERS[name](count, jnp.zeros((1, 1)), sigmas, lambda step: jnp.zeros((1, 1)))
    calls = [1, 3, 5] if name == "heun" else [1, 2, 3]
    np.testing.assert_array_equal(trajectory.denoised.ravel(), calls)


def test_guidance_extrapolates_from_the_unconditional_model():
    image, sigma = jnp.ones((2, 1)), jnp.float32(1.0)
    conditional, unconditional = (
        (lambda image, sigma, previous: image * 0.5),
        (lambda image, sigma, previous: image * 0.25),
    )
    compiled = jax.jit(lambda scale: samplers.guided(conditional, unconditional, scale)(image, sigma, image))
    np.testing.assert_allclose([compiled(scale)[0, 0] for scale in (0.0, 1.0, 3.0)], [0.25, 0.5, 1.0])


@pytest.mark.parametrize(("sigma", "guided"), [(0.2, False), (0.21, True), (4.0, True), (4.1, False)])
def test_the_unconditional_model_is_evaluated_inside_the_guidance_interval_only(sigma, guided):
    calls = []

    def unconditional(image, sigma, previous):
        jax.debug.callback(lambda: calls.append(sigma))
        return image * 0.25

    denoise = samplers.guided(lambda image, sigma, previous: image * 0.5, unconditional, 3.0, (0.2, 4.0))
    image = jnp.ones((2, 1))
    denoised = jax.jit(denoise)(image, jnp.float32(sigma), image)
    jax.effects_barrier()
    assert len(calls) == guided
    np.testing.assert_allclose(denoised, 1.0 if guided else 0.5)


@pytest.mark.slow
def test_inpainting_is_consistent_with_the_known_region():
    """Conditional distribution of one of two Gaussian variables with correlation 0.9."""
    count, correlation = 4000, 0.9
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    schedule = Karras(sigma_max=20.0)
    sigmas = jnp.append(schedule.sigma(jnp.linspace(1.0, 0.0, 60)), 0.0)

    def denoise(image, sigma, previous):
        return image @ jnp.linalg.solve(covariance + sigma**2 * np.eye(2), covariance)

    def noise(step):
        return jax.random.normal(jax.random.fold_in(jax.random.key(0), step), (count, 2))

    data, mask = jnp.array([1.5, 99.0]), jnp.array([True, False])
    run = jax.jit(
        lambda resamplings: samplers.inpaint(
            denoise, sigmas[0] * noise(100_000), sigmas, noise, data=data, known=mask, resamplings=resamplings
        ),
        static_argnums=0,
    )
    image = np.asarray(run(10).image)
    np.testing.assert_array_equal(image[:, 0], 1.5)
    np.testing.assert_allclose(image[:, 1].mean(), 1.5 * correlation, atol=0.05)
    np.testing.assert_allclose(image[:, 1].std(), math.sqrt(1 - correlation**2), rtol=0.08)
    # Without resampling the regions are less consistent.
    assert abs(np.asarray(run(1).image)[:, 1].mean() - 1.5 * correlation) > 0.1
