"""Optimizers that act on parameters by their paths: freezing and learning-rate factors.

A path is the parameter's in its group, such as "stage1/block1/conv1/kernel". A pattern is the beginning of a path up to
a slash ("stage1"), or a glob whose * also matches slashes ("*/norm?", "stage[12]"); any suffix after a slash matches.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl.errors import UserError

PyTree = Any


def freeze(optimizer: optax.GradientTransformation, paths: tuple[str, ...]) -> optax.GradientTransformation:
    """Applies `optimizer` to all parameters except those whose path matches a pattern.

    Frozen parameters have no optimizer state, and clipping inside `optimizer` ignores them. Their gradients are still
    computed and count in the reported `grad_norm`. Batch statistics are not parameters: a frozen norm uses those of
    the batch in training and updates the running ones. `ResNet(frozen_stages=...)` stops both, and the backward pass.

    Raises:
      UserError: On init, a pattern that matches no parameter, or patterns that match all.
    """

    def trained(tree: PyTree) -> PyTree:
        kept = {path: leaf for path, leaf in _flat(tree).items() if not _matching(path, paths)}
        return unflatten_dict(kept, sep="/")

    inner = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> PyTree:
        _check(paths, _flat(params), "freeze")
        rest = trained(params)
        if not rest:
            raise UserError(f"freeze: {', '.join(paths)} leave no parameter to train; freeze fewer")
        return optimizer.init(rest)

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        kept = None if params is None else trained(params)
        changed, state = inner.update(trained(updates), state, kept, **extra)
        zeros = {path: jnp.zeros_like(leaf) for path, leaf in _flat(updates).items()}
        return unflatten_dict({**zeros, **_flat(changed)}, sep="/"), state

    return optax.GradientTransformationExtraArgs(init, update)


def train_only(optimizer: optax.GradientTransformation, paths: tuple[str, ...]) -> optax.GradientTransformation:
    """Applies `optimizer` to the parameters whose path matches a pattern and freezes all others, as `freeze` does.

    The patterns ("*/query_low", "*/value_low", "head") select LoRA's matrices and a head.

    Raises:
      UserError: On init, a pattern that matches no parameter.
    """

    def others(tree: PyTree) -> tuple[str, ...]:
        return tuple(path for path in _flat(tree) if not _matching(path, paths))

    def init(params: PyTree) -> PyTree:
        _check(paths, _flat(params), "train_only")
        return freeze(optimizer, others(params)).init(params)

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        return freeze(optimizer, others(updates)).update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(init, update)


def scale_by_path(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies updates by the factors of the patterns that match their paths.

    After an optimizer in `optax.chain` the factors are learning-rate factors.

    Raises:
      UserError: On init, a pattern that matches no parameter.
    """

    def init(params: PyTree) -> optax.EmptyState:
        _check(factors, _flat(params), "scale_by_path")
        return optax.EmptyState()

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        del params
        flat = _flat(updates)
        scales = {path: math.prod(factors[pattern] for pattern in _matching(path, factors)) for path in flat}
        return unflatten_dict({path: leaf * scales[path] for path, leaf in flat.items()}, sep="/"), state

    return optax.GradientTransformation(init, update)


def _flat(tree: PyTree) -> dict[str, Any]:
    """Returns {path: leaf} of nested dictionaries."""
    return flatten_dict(tree, sep="/")  # pyright: ignore[reportReturnType]


def _matching(path: str, patterns: Iterable[str]) -> list[str]:
    """Returns the patterns that match a path."""
    return [
        pattern for pattern in patterns if fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern.rstrip('/')}/*")
    ]


def _check(patterns: Iterable[str], paths: Iterable[str], where: str) -> None:
    """Refuses a pattern that matches none of the paths."""
    paths = list(paths)
    for pattern in patterns:
        if any(_matching(path, (pattern,)) for path in paths):
            continue
        parts = [path.split("/") for path in paths]
        names = sorted({"/".join(part[:length]) for part in parts for length in range(1, len(part) + 1)})
        near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        tops = ", ".join(sorted({part[0] for part in parts}))
        problem = f"{where}: no parameter's path begins with or matches '{pattern}'"
        raise UserError(f"{problem}; {hint}paths begin with: {tops}")
