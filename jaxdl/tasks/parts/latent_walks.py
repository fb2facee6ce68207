"""Walks through a latent space for pictures: interpolation, traversal of single latents, a map of two latents."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.training.task import Array
from jaxdl.viz.latent import MAP, REACH, SHOWN

_STEPS = 9


def latent_walks(
    latents: Array, order: Array, label: Array | None, generate: Callable[[Array, Array | None], Array]
) -> dict[str, Array]:
    """Returns images along walks through the latents of the first 24 examples; zeros for the other examples.

    If the batch size is unknown, as in an exported program, there are no walks.

    Args:
      latents: [batch, n], in standard deviations of the prior.
      order: [n], latents by decreasing KL.
      label: int32 [batch] of conditional models, or None.
      generate: `(latents [m, n], label [m] or None) -> images [m, h, w, c]`.

    Returns:
      `interpolation` [batch, 9, h, w, c], from each example to the next one; `traversal` [batch, 9, h, w, c], the first
      example with one latent per row moved from -2.5 to 2.5; `latent_map` [batch, 16, h, w, c], the first two latents
      on a grid, one row of the grid per example, and the other latents 0.
    """
    if not isinstance(latents.shape[0], int):
        return {}
    count, units = min(SHOWN, len(latents)), latents.shape[1]
    shown, row = latents[:count], jnp.arange(count)
    share = jnp.linspace(0.0, 1.0, _STEPS)[:, None]
    between = shown[:, None] * (1.0 - share) + jnp.roll(shown, -1, axis=0)[:, None] * share
    moved = jax.nn.one_hot(order[row % units], units)[:, None]
    along = shown[:1, None] * (1.0 - moved) + moved * jnp.linspace(-REACH, REACH, _STEPS)[:, None]
    across, down = jax.nn.one_hot(order[:1], units), jax.nn.one_hot(order[min(1, units - 1)], units)
    places = jnp.linspace(-REACH, REACH, MAP)
    plane = across * places[:, None] + (down * places[row % MAP, None])[:, None]
    own, first = (None, None) if label is None else (label[:count], jnp.broadcast_to(label[0], count))
    paths = {"interpolation": (between, own), "traversal": (along, first), "latent_map": (plane, first)}
    return {name: _decode_path(*path, len(latents), generate) for name, path in paths.items()}


def _decode_path(
    path: Array, label: Array | None, batch: int, generate: Callable[[Array, Array | None], Array]
) -> Array:
    """Returns images [batch, steps, h, w, c] of latents [count, steps, n] with label [count]."""
    count, steps, units = path.shape
    repeated = None if label is None else jnp.repeat(label, steps)
    images = generate(path.reshape(-1, units), repeated)
    images = images.reshape(count, steps, *images.shape[1:])
    return jnp.pad(images, [(0, batch - count)] + [(0, 0)] * 4)


def slerp(start: Array, stop: Array, share: Array) -> Array:
    """Interpolates on the sphere between latents [batch, n], which preserves their norm (arXiv:1609.04468)."""

    def norm(x: Array) -> Array:
        return jnp.sqrt(jnp.sum(jnp.square(x), -1, keepdims=True))

    cosine = jnp.sum(start * stop, -1, keepdims=True) / (norm(start) * norm(stop))
    angle = jnp.arccos(jnp.clip(cosine, -0.9999, 0.9999))
    return (jnp.sin((1.0 - share) * angle) * start + jnp.sin(share * angle) * stop) / jnp.sin(angle)


def flatten_groups(groups: Sequence[Array]) -> Array:
    """Concatenates groups of latents [batch, ...] to [batch, n]."""
    return jnp.concatenate([group.reshape(group.shape[0], -1) for group in groups], axis=-1)


def split_groups(latents: Array, shapes: Sequence[tuple[int, ...]]) -> tuple[Array, ...]:
    """Splits latents [batch, n] into groups of the given shapes; the inverse of `flatten_groups`."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = jnp.split(latents, ends, axis=-1)
    return tuple(part.reshape(latents.shape[0], *shape) for part, shape in zip(parts, shapes))
