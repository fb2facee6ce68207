"""What optax lacks for recipes: which parameters weight decay is for."""

from typing import Any

import jax


def kernels(params: Any) -> Any:
    """A mask tree, True on kernels (two axes and more) and False on biases and norm scales, for `mask=` of optax."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
