"""Ways through a model's latents, for pictures: from image to image, one latent at a time, a map of two."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.training.task import Array

SHOWN = 24  # examples that pictures are made of
MAP = 16  # rows and columns of the map
REACH = 2.5  # standard deviations to either side of 0 that pictures go
_STEPS = 9


def walks(
    latents: Array, order: Array, label: Array | None, generate: Callable[[Array, Array | None], Array]
) -> dict[str, Array]:
    """Ways through the latents [batch, n] of the first examples, for pictures; zeros for the others.

    `interpolation`: from each example to the next; `traversal`: the first example, of whose latents one goes from -2.5
    to 2.5, in each row another one; `latent_map`: two latents on a grid, the others 0, a row an example. Where it is
    not known how many examples there are, in a program that is exported, there are none.

    Args:
      order: [n] latents, those that say most first.
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
    ways = {"interpolation": (between, own), "traversal": (along, first), "latent_map": (plane, first)}
    return {name: _walk(*way, len(latents), generate) for name, way in ways.items()}


def _walk(path: Array, label: Array | None, batch: int, generate: Callable[[Array, Array | None], Array]) -> Array:
    """latents [count, steps, n], label [count] -> images [batch, steps, h, w, c]."""
    count, steps, units = path.shape
    repeated = None if label is None else jnp.repeat(label, steps)
    images = generate(path.reshape(-1, units), repeated)
    images = images.reshape(count, steps, *images.shape[1:])
    return jnp.pad(images, [(0, batch - count)] + [(0, 0)] * 4)


def flat(groups: Sequence[Array]) -> Array:
    """Groups of latents [batch, ...] -> [batch, n]."""
    return jnp.concatenate([group.reshape(group.shape[0], -1) for group in groups], axis=-1)


def by_group(latents: Array, shapes: Sequence[tuple[int, ...]]) -> tuple[Array, ...]:
    """The inverse of `flat`."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = jnp.split(latents, ends, axis=-1)
    return tuple(part.reshape(latents.shape[0], *shape) for part, shape in zip(parts, shapes))
