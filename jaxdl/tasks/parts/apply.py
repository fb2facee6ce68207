"""What tasks on images share: normalization, how a model is made and applied, whether its examples are independent."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.models.layers.norms import batch_norm
from jaxdl.training.task import Array, PyTree, module_key


def init_model(
    group: str, model: nn.Module, normalize: Callable[[Array], Array], key: Array, batch: Mapping[str, Any]
) -> tuple[dict, dict]:
    """(params {group: tree}, variables {group: collections}) of a model that takes normalized images."""
    return init_module(group, model, key, normalize(jnp.asarray(batch["image"])))


def apply_model(
    group: str,
    model: nn.Module,
    normalize: Callable[[Array], Array],
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Any],
    key: Array | None = None,
) -> tuple[Any, PyTree]:
    """What a model says of a batch's `image`, and the new variables.

    Args:
      group: of the parameters and variables.
      key: for training, where the model draws from "dropout" and updates its variables; None for evaluation.
    """
    drawn = None if key is None else module_key(key, batch)
    return apply_module(group, model, params, variables, normalize(batch["image"]), key=drawn)


def init_module(group: str, model: nn.Module, key: Array, *inputs: Any, **options: Any) -> tuple[dict, dict]:
    """(params {group: tree}, variables {group: collections}) of a module called as `model(*inputs, **options)`."""
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
    """`model(*inputs, **options)`, and the new variables.

    Args:
      group: of the parameters and variables.
      key: for training, where the model draws from "dropout" and updates its variables, such as `module_key` gives it;
        None for evaluation.
    """
    collections = variables.get(group, {})
    tree = {"params": params[group], **collections}
    if key is None:
        return model.apply(tree, *inputs, **options, train=False), variables
    rngs = {"dropout": key}
    outputs, updated = model.apply(tree, *inputs, **options, train=True, rngs=rngs, mutable=list(collections))
    return outputs, {**variables, group: updated} if collections else variables


def batch_coupling(model: nn.Module) -> str:
    """Why the loss of `model`, or of a module that is its attribute, is not a sum over examples; "" if it is one."""
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
    """Returns the weighted (sum, weight) of one value per example, as `Term` and metrics take them.

    Args:
      batch: A batch with `weight` [batch].
      values: [batch].
    """
    return jnp.sum(batch["weight"] * values), jnp.sum(batch["weight"])
