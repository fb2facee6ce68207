"""Samplers of diffusion models: from noise to images, each one scan over decreasing noise levels.

A noisy image is x = y + sigma * n, see `jaxdl.decoding.noise_schedules`. The model is a denoiser D(x; sigma), called as
`denoise(image [batch, ...], sigma [], previous [batch, ...]) -> [batch, ...]`, the expected data. `previous` is the
output of the preceding call, 0 at first, for self-conditioning (arXiv:2208.04202). The probability flow ODE is
dx / dsigma = (x - D(x; sigma)) / sigma (arXiv:2206.00364, equations 1 and 3). Every sampler takes

- `denoise`;
- `image`: [batch, ...], noise times the first level;
- `sigmas`: [steps + 1], decreasing. If the last one is 0, the last step returns the denoiser's output;
- `noise`: `(step int32) -> [batch, ...]`, standard normal draws for stochastic samplers

and returns a `Trajectory`. The guidance scale of `guided` is an array: a sweep over it compiles once.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Denoise = Callable[[Array, Array, Array], Array]
Noise = Callable[[Array], Array]
Carry = tuple[Array, Array]  # image, previous output of the denoiser
Levels = tuple[Array, Array, Array]  # sigma, next sigma, index of the step


class Trajectory(NamedTuple):
    """Output of a sampler.

    Attributes:
      image: [batch, ...], the sample.
      denoised: [steps, batch, ...], the denoiser's output at each step.
    """

    image: Array
    denoised: Array


def guided(
    conditional: Denoise,
    unconditional: Denoise,
    scale: Array | float,
    interval: tuple[float, float] | None = None,
) -> Denoise:
    """Returns a denoiser with classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598).

    Args:
      conditional: Conditional model.
      unconditional: Unconditional model.
      scale: Guidance scale, 1 + w in equation 6 of the paper. 1: the conditional model.
      interval: Guidance interval (low, high] of sigma (arXiv:2404.07724, equation 5). Outside it the conditional model
        is the denoiser, and the unconditional one is not evaluated. None: guidance at every level.
    """

    def denoise(image: Array, sigma: Array, previous: Array) -> Array:
        baseline = unconditional(image, sigma, previous)
        return baseline + scale * (conditional(image, sigma, previous) - baseline)

    if interval is None:
        return denoise
    low, high = interval

    def denoise_in_interval(image: Array, sigma: Array, previous: Array) -> Array:
        return jax.lax.cond((low < sigma) & (sigma <= high), denoise, conditional, image, sigma, previous)

    return denoise_in_interval


def ddim(denoise: Denoise, image: Array, sigmas: Array, noise: Noise | None = None, *, eta: float = 0.0) -> Trajectory:
    """Samples by DDIM (Song et al. 2020, arXiv:2010.02502), a first-order method.

    The stochasticity `eta` (equation 16) is 0 for the deterministic method, equal to Euler's, without `noise`. It is 1
    for DDPM's ancestral sampling.
    """

    def step(carry: Carry, levels: Levels) -> tuple[Carry, Array]:
        image, previous = carry
        sigma, sigma_next, index = levels
        denoised = denoise(image, sigma, previous)
        sigma_up = eta * sigma_next * jnp.sqrt(jnp.maximum(0.0, 1.0 - jnp.square(sigma_next / sigma)))
        sigma_down = jnp.sqrt(jnp.maximum(0.0, jnp.square(sigma_next) - jnp.square(sigma_up)))
        image = denoised + sigma_down / sigma * (image - denoised)
        if eta and noise is not None:
            image = image + sigma_up * noise(index)
        return (image, denoised), denoised

    return _scan(step, image, sigmas)


def ancestral(denoise: Denoise, image: Array, sigmas: Array, noise: Noise) -> Trajectory:
    """Samples by DDPM's ancestral sampler (arXiv:2006.11239) with the posterior variance, the smaller of its two."""
    return ddim(denoise, image, sigmas, noise, eta=1.0)


def consistency(denoise: Denoise, image: Array, sigmas: Array, noise: Noise) -> Trajectory:
    """Samples by multistep consistency sampling (arXiv:2303.01469, algorithm 1).

    Each step denoises to the data and adds independent noise of the next level. The denoiser is a consistency model,
    which returns the end of the probability flow; with other denoisers samples are blurred.
    """

    def step(carry: Carry, levels: Levels) -> tuple[Carry, Array]:
        image, previous = carry
        sigma, sigma_next, index = levels
        denoised = denoise(image, sigma, previous)
        return (denoised + sigma_next * noise(index), denoised), denoised

    return _scan(step, image, sigmas)


def euler(denoise: Denoise, image: Array, sigmas: Array, noise: Noise | None = None) -> Trajectory:
    """Samples by Euler's method on the probability flow ODE, equal to DDIM with eta = 0."""
    return ddim(denoise, image, sigmas)


def heun(denoise: Denoise, image: Array, sigmas: Array, noise: Noise | None = None) -> Trajectory:
    """Samples by Heun's second-order method (arXiv:2206.00364, algorithm 1), two denoiser calls per step."""

    def step(carry: Carry, levels: Levels) -> tuple[Carry, Array]:
        image, previous = carry
        sigma, sigma_next, _ = levels
        denoised = denoise(image, sigma, previous)
        slope = (image - denoised) / sigma
        euler_step = image + (sigma_next - sigma) * slope
        # At sigma_next = 0 the second slope is undefined, and the Euler step equals the denoiser's output.
        level = jnp.where(sigma_next > 0, sigma_next, sigma)
        last = denoise(euler_step, level, denoised)
        corrected = image + (sigma_next - sigma) * 0.5 * (slope + (euler_step - last) / level)
        return (jnp.where(sigma_next > 0, corrected, euler_step), last), denoised

    return _scan(step, image, sigmas)


def dpm_solver(denoise: Denoise, image: Array, sigmas: Array, noise: Noise | None = None) -> Trajectory:
    """Samples by DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2), one denoiser call per step.

    The multistep second-order method extrapolates the denoiser's output linearly in ln(sigma) from the last two steps.
    The first step and the step to sigma = 0 are of first order.
    """

    def step(carry: tuple[Array, Array, Array], levels: Levels) -> tuple[tuple, Array]:
        image, previous, h_previous = carry  # h: step size in ln(sigma), 0 before the first step
        sigma, sigma_next, _ = levels
        denoised = denoise(image, sigma, previous)
        h = jnp.where(sigma_next > 0, jnp.log(sigma / jnp.where(sigma_next > 0, sigma_next, sigma)), 0.0)
        second_order = (h_previous > 0) & (sigma_next > 0)
        share = jnp.where(second_order, h / (2.0 * jnp.where(h_previous > 0, h_previous, 1.0)), 0.0)
        extrapolated = denoised + share * (denoised - previous)
        ratio = sigma_next / sigma
        return (ratio * image + (1.0 - ratio) * extrapolated, denoised, h), denoised

    start = (image, jnp.zeros_like(image), jnp.zeros((), image.dtype))
    (image, _, _), denoised = jax.lax.scan(step, start, _levels(sigmas))
    return Trajectory(image, denoised)


def inpaint(
    denoise: Denoise, image: Array, sigmas: Array, noise: Noise, *, data: Array, known: Array, resamplings: int = 10
) -> Trajectory:
    """Inpaints with an unconditional model (RePaint, Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1).

    At each level the known region is the data with noise of that level, and the unknown region takes an ancestral step.
    Noise of the step's size then returns both to the level. Repetitions harmonize the two regions.

    Args:
      denoise, image, sigmas, noise: As for every sampler, see the module's docstring.
      data: [batch, ...], read where `known`.
      known: bool, or 0 and 1, broadcast to `data`.
      resamplings: Number of repetitions per level, U in the paper. 1: none.
    """
    known = jnp.asarray(known, bool)

    def resample(number: Array, state: Carry, sigma: Array, sigma_next: Array, index: Array) -> Carry:
        image, previous = state
        draw = 3 * (index * resamplings + number)
        image = jnp.where(known, data + sigma * noise(draw), image)
        denoised = denoise(image, sigma, previous)
        share = jnp.square(sigma_next / sigma)
        image = denoised + share * (image - denoised) + sigma_next * jnp.sqrt(1.0 - share) * noise(draw + 1)
        back = jnp.sqrt(jnp.square(sigma) - jnp.square(sigma_next)) * noise(draw + 2)
        again = (number < resamplings - 1) & (sigma_next > 0)
        return image + jnp.where(again, 1.0, 0.0) * back, denoised

    def step(carry: Carry, levels: Levels) -> tuple[Carry, Array]:
        # From sigma = 0 there is no way back.
        count = jnp.where(levels[1] > 0, resamplings, 1)
        image, denoised = jax.lax.fori_loop(0, count, lambda number, state: resample(number, state, *levels), carry)
        return (image, denoised), jnp.where(known, data, denoised)

    image, denoised = _scan(step, image, sigmas)
    return Trajectory(jnp.where(known, data, image), denoised)


def _scan(step: Callable, image: Array, sigmas: Array) -> Trajectory:
    """Scans steps `(Carry, Levels) -> (Carry, denoised)`."""
    (image, _), denoised = jax.lax.scan(step, (image, jnp.zeros_like(image)), _levels(sigmas))
    return Trajectory(image, denoised)


def _levels(sigmas: Array) -> Levels:
    """Returns the levels of all steps, each [steps]."""
    return sigmas[:-1], sigmas[1:], jnp.arange(len(sigmas) - 1)
