"""Prediction targets and loss weightings of denoising networks, as preconditioning (arXiv:2206.00364, table 1).

With x = y + sigma * n the denoiser is D(x; sigma) = c_skip * x + c_out * F(c_in * x; c_noise), where F is the network.
"""

from collections.abc import Callable

import jax.numpy as jnp

from jaxdl.training.task import Array

MIN_SNR_GAMMA = 5.0  # arXiv:2303.09556
_NOISE_SCALE = 100.0  # ln(sigma) from 0.002 to 80 then spans about 1,000, the range of DDPM's timesteps

# (sigma, sigma_data) -> (c_skip, c_out).
TARGETS: dict[str, Callable[[Array, float], tuple[Array, Array]]] = {
    "noise": lambda sigma, sigma_data: (jnp.ones_like(sigma), -sigma),  # arXiv:2006.11239
    "data": lambda sigma, sigma_data: (jnp.zeros_like(sigma), jnp.ones_like(sigma)),
    "v": lambda sigma, sigma_data: (1 / (1 + sigma**2), -sigma / jnp.sqrt(1 + sigma**2)),  # arXiv:2202.00512
    "velocity": lambda sigma, sigma_data: (1 / (1 + sigma), -sigma / (1 + sigma)),  # n - y, arXiv:2210.02747
    "edm": lambda sigma, sigma_data: (  # arXiv:2206.00364
        sigma_data**2 / (sigma**2 + sigma_data**2),
        sigma * sigma_data / jnp.sqrt(sigma**2 + sigma_data**2),
    ),
}
# (sigma, sigma_data, c_out) -> weight of the squared error of F, which is the weight of that of D times c_out^2.
WEIGHTINGS: dict[str, Callable[[Array, float, Array], Array]] = {
    "simple": lambda sigma, sigma_data, c_out: jnp.ones_like(sigma),
    "min_snr": lambda sigma, sigma_data, c_out: jnp.minimum(1 / sigma**2, MIN_SNR_GAMMA) * c_out**2,
    "edm": lambda sigma, sigma_data, c_out: (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2 * c_out**2,
    # The velocity of a predicted image is (x - D) / t with t = sigma / (1 + sigma) (arXiv:2511.13720).
    "velocity": lambda sigma, sigma_data, c_out: jnp.square((1 + sigma) / sigma) * c_out**2,
}


def c_in(sigma: Array, sigma_data: float) -> Array:
    """Returns the scale of the network's input, which has unit variance then."""
    return 1.0 / jnp.sqrt(jnp.square(sigma) + sigma_data**2)


def c_noise(sigma: Array) -> Array:
    """Returns the network's noise conditioning, 100 ln(sigma)."""
    return _NOISE_SCALE * jnp.log(sigma)


def expand_like(values: Array, image: Array) -> Array:
    """Reshapes values [batch] to [batch, 1, ...], to broadcast with an image [batch, ...]."""
    return values.reshape(-1, *(1,) * (image.ndim - 1))
