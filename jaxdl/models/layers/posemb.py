"""Sinusoidal position and time embeddings."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def grid_waves(rows: int, columns: int, features: int) -> np.ndarray:
    """Sinusoids of row and column, a half for each, of a map's positions; float32 [rows * columns, features]."""
    frequency = 10000.0 ** (-np.arange(features // 4) / (features / 4))

    def waves(position: np.ndarray) -> np.ndarray:
        angle = position.reshape(-1)[:, None] * frequency
        return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)

    row, column = np.indices((rows, columns))
    return np.concatenate([waves(column), waves(row)], axis=1).astype(np.float32)


def sinusoids(level: jax.Array, features: int) -> jax.Array:
    """[batch] -> [batch, features]: cosines, then sines, of wavelengths from 2 pi to 20,000 pi (arXiv:1706.03762)."""
    half = features // 2
    frequency = jnp.exp(-math.log(10000.0) * jnp.arange(half, dtype=jnp.float32) / half)
    angle = level.astype(jnp.float32)[:, None] * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
