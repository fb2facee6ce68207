"""Random weights without compiled initializers, and compiled calls of modules."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np


def random_weights(init: Callable[..., Any], *inputs: Any, seed: int = 0, **options: Any) -> Any:
    """Returns random arrays of the shapes and dtypes that `init(key, *inputs, **options)` returns.

    To compile the initializers of a small model takes up to a second, to trace them 0.05 s.

    Args:
        init: Method `init` of a module or a task.
        *inputs: Its inputs after the key.
        seed: Seed of the weights.
        **options: Its keyword arguments.

    Returns:
        Kernels of variance 1 / fan-in, scales and variances near 1, other vectors near 0, and integers 0.
    """
    draws = np.random.default_rng(seed)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> Any:
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        std = 0.05 if len(leaf.shape) < 2 else 1 / math.sqrt(math.prod(leaf.shape[:-1]))
        center = 1.0 if getattr(path[-1], "key", "") in ("scale", "var") else 0.0
        return (center + std * draws.normal(size=leaf.shape)).astype(leaf.dtype)

    shapes = nn.unbox(jax.eval_shape(functools.partial(init, **options), jax.random.key(0), *inputs))
    return jax.tree_util.tree_map_with_path(draw, shapes)


@functools.partial(jax.jit, static_argnames=("model", "method", "train"))
def apply(model: nn.Module, variables: Any, *inputs: Any, method: str = "__call__", **options: Any) -> Any:
    """Calls a method of a module; equal modules and shapes share a compiled program."""
    return model.apply(variables, *inputs, method=method, **options)
