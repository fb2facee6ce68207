"""Random draws per example, from one key per example."""

import jax

from jaxdl.training.task import Array


def fold_keys(keys: Array, number: int | Array) -> Array:
    """Returns keys [batch], folded with the number of a draw."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def standard_normal(keys: Array, shape: tuple[int, ...]) -> Array:
    """Returns standard normal draws [batch, *shape] with keys [batch]."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
