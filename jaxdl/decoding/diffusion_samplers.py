"""From noise to images: samplers of diffusion models, each one scan over falling noise levels.

A noisy image is data + sigma * noise, see `jaxdl.decoding.noise_schedules`, and the model a denoiser: `denoise(image
[batch, ...], sigma scalar, guess [batch, ...]) -> [batch, ...]`, what it expects the data to be. The guess is what it
expected
when it was asked before, 0 at first: a model may look at it (self-conditioning, arXiv:2208.04202) or not. The
probability flow is d image / d sigma = (image - denoised) / sigma (arXiv:2206.00364). Every sampler takes

- `denoise`;
- `image`: [batch, ...], noise times the first level;
- `sigmas`: [steps + 1], falling; the last may be 0, and is then reached by what the model expects there;
- `noise`: `(step int32) -> [batch, ...]`, standard normal numbers, for samplers that add some.

and gives `Trajectory`. The guidance scale of `guided` is an array: a sweep over it compiles once.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Denoise = Callable[[Array, Array, Array], Array]


class Trajectory(NamedTuple):
    """What a sampler made.

    Attributes:
      image: [batch, ...], the last one.
      denoised: [steps, batch, ...], what the model expected at each step.
    """

    image: Array
    denoised: Array


def guided(conditional: Denoise, unconditional: Denoise, scale: Array | float) -> Denoise:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): 1 is the conditional model, more exaggerates."""

    def denoise(image: Array, sigma: Array, guess: Array) -> Array:
        plain = unconditional(image, sigma, guess)
        return plain + scale * (conditional(image, sigma, guess) - plain)

    return denoise


def ddim(
    denoise: Denoise,
    image: Array,
    sigmas: Array,
    noise: Callable[[Array], Array] | None = None,
    *,
    eta: float = 0.0,
) -> Trajectory:
    """DDIM (Song et al. 2020, arXiv:2010.02502), of first order. Without noise, Euler's method.

    Args:
      eta: how much of the noise is drawn anew at each step: 0 none, 1 as much as DDPM's ancestral sampling does.
    """

    def step(carry: tuple[Array, Array], levels: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        image, guess = carry
        sigma, following, number = levels
        clean = denoise(image, sigma, guess)
        fresh = eta * following * jnp.sqrt(jnp.maximum(0.0, 1.0 - jnp.square(following / sigma)))
        kept = jnp.sqrt(jnp.maximum(0.0, jnp.square(following) - jnp.square(fresh)))
        image = clean + kept / sigma * (image - clean)
        if eta and noise is not None:
            image = image + fresh * noise(number)
        return (image, clean), clean

    return _scan(step, image, sigmas)


def ancestral(denoise: Denoise, image: Array, sigmas: Array, noise: Callable[[Array], Array]) -> Trajectory:
    """The sampler of DDPM (Ho et al. 2020, arXiv:2006.11239), with the smaller of its two variances."""
    return ddim(denoise, image, sigmas, noise, eta=1.0)


def consistency(denoise: Denoise, image: Array, sigmas: Array, noise: Callable[[Array], Array]) -> Trajectory:
    """Each step denoises at once and adds the noise of the next level, all of it new (arXiv:2303.01469, algorithm 1).

    For consistency models, whose `denoise` gives the end of the probability flow; others make blurred images by it.
    """

    def step(carry: tuple[Array, Array], levels: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        image, guess = carry
        sigma, following, number = levels
        clean = denoise(image, sigma, guess)
        return (clean + following * noise(number), clean), clean

    return _scan(step, image, sigmas)


def euler(denoise: Denoise, image: Array, sigmas: Array, noise: Callable[[Array], Array] | None = None) -> Trajectory:
    """Euler's method on the probability flow, in any of its scalings: DDIM without noise."""
    del noise
    return ddim(denoise, image, sigmas)


def heun(denoise: Denoise, image: Array, sigmas: Array, noise: Callable[[Array], Array] | None = None) -> Trajectory:
    """Heun's method, of second order (arXiv:2206.00364): the model is asked twice a step."""
    del noise

    def step(carry: tuple[Array, Array], levels: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        image, guess = carry
        sigma, following, _ = levels
        clean = denoise(image, sigma, guess)
        slope = (image - clean) / sigma
        ahead = image + (following - sigma) * slope
        # At sigma = 0 there is no slope, and the first order's step reaches the expectation already.
        level = jnp.where(following > 0, following, sigma)
        last = denoise(ahead, level, clean)
        corrected = image + (following - sigma) * 0.5 * (slope + (ahead - last) / level)
        return (jnp.where(following > 0, corrected, ahead), last), clean

    return _scan(step, image, sigmas)


def dpm_solver(
    denoise: Denoise, image: Array, sigmas: Array, noise: Callable[[Array], Array] | None = None
) -> Trajectory:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095), of second order: the model is asked once a step.

    It is exact in the noise, and takes the expected data to change linearly with log sigma, as between the last two
    steps; the first step, and that to 0, take them to be constant.
    """
    del noise

    def step(carry: tuple[Array, Array, Array], levels: tuple[Array, Array, Array]) -> tuple[tuple, Array]:
        image, before, last = carry  # `last`: how far in log sigma the step before went, 0 for none
        sigma, following, _ = levels
        clean = denoise(image, sigma, before)
        width = jnp.where(following > 0, jnp.log(sigma / jnp.where(following > 0, following, sigma)), 0.0)
        share = jnp.where((last > 0) & (following > 0), width / (2.0 * jnp.where(last > 0, last, 1.0)), 0.0)
        expected = clean + share * (clean - before)
        ratio = following / sigma
        return (ratio * image + (1.0 - ratio) * expected, clean, width), clean

    start = (image, jnp.zeros_like(image), jnp.zeros((), image.dtype))
    (image, _, _), denoised = jax.lax.scan(step, start, _levels(sigmas))
    return Trajectory(image, denoised)


def repaint(
    denoise: Denoise,
    image: Array,
    sigmas: Array,
    noise: Callable[[Array], Array],
    *,
    data: Array,
    known: Array,
    rounds: int = 10,
) -> Trajectory:
    """Fills in what is missing with a model that never learnt to (RePaint, Lugmayr et al. 2022, arXiv:2201.09865).

    At each level the known part is the data with noise of that level, and the rest goes an ancestral step; noise of the
    step's size brings both back, `rounds` times, so that the rest comes to fit what is known.

    Args:
      data: [batch, ...], read where `known`.
      known: bool, or 0 and 1, broadcasts to `data`.
      rounds: 1 never goes back.
    """
    known = jnp.asarray(known, bool)

    def once(number: Array, state: tuple[Array, Array], sigma: Array, following: Array, index: Array) -> tuple:
        image, guess = state
        draw = 3 * (index * rounds + number)
        image = jnp.where(known, data + sigma * noise(draw), image)
        clean = denoise(image, sigma, guess)
        share = jnp.square(following / sigma)
        fresh = following * jnp.sqrt(1.0 - share) * noise(draw + 1)
        image = clean + share * (image - clean) + fresh
        back = jnp.sqrt(jnp.square(sigma) - jnp.square(following)) * noise(draw + 2)
        again = (number < rounds - 1) & (following > 0)
        return image + jnp.where(again, 1.0, 0.0) * back, clean

    def step(carry: tuple[Array, Array], levels: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        # To sigma = 0 there is no way back.
        count = jnp.where(levels[1] > 0, rounds, 1)
        image, clean = jax.lax.fori_loop(0, count, lambda number, state: once(number, state, *levels), carry)
        return (image, clean), jnp.where(known, data, clean)

    image, denoised = _scan(step, image, sigmas)
    return Trajectory(jnp.where(known, data, image), denoised)


def _scan(step: Callable, image: Array, sigmas: Array) -> Trajectory:
    """The steps one after the other, their carry an image and what was expected before."""
    (image, _), denoised = jax.lax.scan(step, (image, jnp.zeros_like(image)), _levels(sigmas))
    return Trajectory(image, denoised)


def _levels(sigmas: Array) -> tuple[Array, Array, Array]:
    """(sigma, the next one, number) of each step, [steps]."""
    return sigmas[:-1], sigmas[1:], jnp.arange(len(sigmas) - 1)
