"""Parameters for evaluation that an optimizer defines itself: `optax.contrib.schedule_free` (arXiv:2405.15682)."""

from typing import Any

import jax
import optax.contrib
from jax.tree_util import keystr

PyTree = Any


def has_evaluation_params(opt_state: PyTree) -> bool:
    """Returns whether an optimizer evaluates other parameters than it trains."""
    return bool(_states(opt_state))


def evaluation_params(opt_state: PyTree, params: PyTree) -> PyTree:
    """Returns the parameters to evaluate: x where schedule-free optimization trains, else `params`."""
    averaged: dict[str, Any] = {}
    training = _by_path(params)
    for state in _states(opt_state):
        z = _by_path(state.z)  # without frozen and masked parameters
        y = {path: training[path] for path in z}
        averaged |= optax.contrib.schedule_free_eval_params(state._replace(z=z), y)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: averaged.get(keystr(path), leaf), params)


def _by_path(tree: PyTree) -> dict[str, Any]:
    return {keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _states(opt_state: PyTree) -> list[optax.contrib.ScheduleFreeState]:
    def is_state(node: Any) -> bool:
        return isinstance(node, optax.contrib.ScheduleFreeState)

    return [node for node in jax.tree.leaves(opt_state, is_leaf=is_state) if is_state(node)]
