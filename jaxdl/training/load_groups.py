"""Parameter groups from the checkpoint of another run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from jaxdl.errors import UserError, nearest
from jaxdl.remote import local_run
from jaxdl.training.checkpoint import Checkpoints
from jaxdl.training.state import PyTree, TrainState


def load_groups(run: str | Path, groups: Mapping[str, str], like: TrainState, step: int | None = None) -> TrainState:
    """Loads parameter groups and their variables from another run into a state.

    If the other run has averaged parameters, these are loaded. Optimizer state and step are unchanged.

    Args:
      run: Folder or URL of the other run.
      groups: {group here: group there}; "group/module" is a module of a group, such as "classifier/encoder".
      like: State that receives them, with its shardings.
      step: Step of the checkpoint. None: the one that the run was scored on (`Experiment.select`), or the newest if it
        has no result yet.

    Raises:
      UserError: A folder, step or group that does not exist, or a different shape.
    """
    folder = local_run(run)
    path = folder / "checkpoints"
    if not path.is_dir():
        raise UserError(f"start.run: {run} has no checkpoints; give the folder of a run that saved one")
    with Checkpoints(path) as checkpoints:
        chosen = step if step is not None else (_scored_step(folder) or checkpoints.latest)
        if chosen is None or chosen not in checkpoints.steps:
            raise UserError(
                f"start.run: no checkpoint of step {chosen} in {path}; steps that exist: {checkpoints.steps}"
            )
        try:
            saved = checkpoints.items(chosen, ("params", "variables", "ema"))
        except UserError:
            raise
        except Exception as error:  # damaged files raise many types
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"start.run: checkpoint {path}/{chosen} is damaged ({reason}); use another step") from error
    source = saved.get("ema") or {"params": saved["params"], "variables": saved.get("variables", {})}
    params, variables = dict(like.params), dict(like.variables)
    for here, there in groups.items():
        mine = _module(params, here, "start.groups: this recipe")
        theirs = _module(source["params"], there, f"start.groups: {run}")
        params = _with_module(params, here.split("/"), _put(mine, theirs, f"{run} group {there}"))
        if here in variables and there in source["variables"]:
            variables[here] = _put(variables[here], source["variables"][there], f"{run} variables {there}")
    ema = {"params": params, "variables": variables} if like.ema else {}
    return like.replace(params=params, variables=variables, ema=jax.tree.map(lambda array: array.copy(), ema))


def _scored_step(folder: Path) -> int | None:
    """Returns the step whose metrics are the result of a run, or None before it is finished."""
    try:
        result = json.loads((folder / "result.json").read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"start.run: {folder}/result.json is damaged ({error}); set start.step") from error
    return result.get("selected_step", result["step"])


def _module(params: Mapping[str, PyTree], name: str, whose: str) -> PyTree:
    """Returns a group "group" or a module "group/module" of it."""
    group, *modules = name.split("/")
    if group not in params:
        raise UserError(f"{whose} has no parameter group '{group}'; {nearest(group, params)}")
    tree = params[group]
    for module in modules:
        if not isinstance(tree, Mapping) or module not in tree:
            raise UserError(f"{whose} has no '{module}' in '{name}'; {nearest(module, list(tree))}")
        tree = tree[module]
    return tree


def _with_module(params: Mapping[str, PyTree], path: Sequence[str], value: PyTree) -> dict[str, PyTree]:
    """Returns `params` with `value` at a path."""
    first, *rest = path
    return {**params, first: _with_module(params[first], rest, value) if rest else value}


def _put(like: PyTree, values: PyTree, name: str) -> PyTree:
    """Puts `values` into the structure and shardings of `like`."""
    here, there = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (like, values))
    for path in here.keys() | there.keys():
        shapes = [str(tree[path].shape) if path in tree else "missing" for tree in (here, there)]
        if shapes[0] != shapes[1]:
            where = jax.tree_util.keystr(path)
            raise UserError(
                f"{name} does not match: {where} is {shapes[0]} here and {shapes[1]} there; use the same model"
            )
    return jax.tree.map(lambda leaf, value: jax.device_put(np.asarray(value), leaf.sharding), like, values)
