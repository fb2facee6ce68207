"""Initialization and application of Flax modules, and reduction of per-example values."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.models.layers.norms import batch_norm
from jaxdl.training.task import Array, PyTree


def init_module(group: str, model: nn.Module, key: Array, *inputs: Any, **options: Any) -> tuple[dict, dict]:
    """Returns (params {group: tree}, variables {group: collections}) of `model(*inputs, **options)`."""
    collections = dict(model.init(key, *inputs, **options, train=False))
    params = collections.pop("params")
    return {group: params}, {group: collections} if collections else {}


def apply_module(
    group: str,
    model: nn.Module,
    params: PyTree,
    variables: PyTree,
    *inputs: Any,
    key: Array | None = None,
    **options: Any,
) -> tuple[Any, PyTree]:
    """Returns `model(*inputs, **options)` and the new variables; `params` and `variables` are by group.

    In training `key` is the key of dropout, such as `module_key`. None evaluates.
    """
    collections = variables.get(group, {})
    tree = {"params": params[group], **collections}
    if key is None:
        return model.apply(tree, *inputs, **options, train=False), variables
    rngs = {"dropout": key}
    outputs, updated = model.apply(tree, *inputs, **options, train=True, rngs=rngs, mutable=list(collections))
    return outputs, {**variables, group: updated} if collections else variables


def batch_coupling(model: nn.Module) -> str:
    """Returns why the loss of `model` or of its submodules is not a sum over examples, "" if it is."""
    norm = getattr(model, "norm", None)
    while isinstance(norm, functools.partial):
        norm = norm.func
    if norm is batch_norm:
        return "batch normalization: an example's loss depends on the batch's statistics"
    if getattr(model, "experts", 0):
        return "mixture of experts: loads are balanced over the batch"
    parts = [value for value in vars(model).values() if isinstance(value, nn.Module) and value is not model.parent]
    return next((reason for part in parts if (reason := batch_coupling(part))), "")


def per_example(batch: Mapping[str, Any], values: Array) -> tuple[Array, Array]:
    """Returns the weighted (sum, weight) of values [batch], as `Term` and metrics take them."""
    return jnp.sum(batch["weight"] * values), jnp.sum(batch["weight"])


def example_means(values: Array) -> Array:
    """Returns the mean of each example, [batch], of values [batch, ...]."""
    return values.reshape(values.shape[0], -1).mean(1)


def float_outputs(outputs: Any, *axes: int | str) -> Array:
    """Returns a model's outputs as float32.

    Args:
      outputs: Result of the model.
      axes: The axes that the task needs, each a size, or a name for any size.

    Raises:
      UserError: Outputs of another shape, or not of a floating-point type.
    """
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) != len(axes) or any(n != m for n, m in zip(shape, axes) if not isinstance(m, str)):
        result = type(outputs).__name__ if shape is None else f"the shape {shape}"
        raise UserError(f"the model returns {result}; the task needs [{', '.join(map(str, axes))}]")
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise UserError(
            f"the model returns {outputs.dtype}, which has no gradient; the task needs floating-point outputs"
        )
    return jnp.asarray(outputs, jnp.float32)


def argument_of(model: nn.Module, size: int, path: str = "task.model") -> str:
    """Returns the path of the model's argument that sets a number of ids, "" if it is not found."""
    fields = {name: value for name, value in vars(model).items() if name not in ("parent", "name", "scope")}
    for name in ("num_classes", "classes", "vocabulary", "outputs"):
        if fields.get(name) == size:
            return f"{path}.{name}"
    parts = [(name, value) for name, value in fields.items() if isinstance(value, nn.Module)]
    return next((found for name, part in parts if (found := argument_of(part, size, f"{path}.{name}"))), "")
