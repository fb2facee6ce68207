"""A function and its weights as files that JAX alone runs, on any of its platforms and with any batch size.

`predict.stablehlo` is what `jax.export` serializes, a program without weights; these are in `weights.safetensors`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError, from_extra

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, WEIGHTS, SIGNATURE = "predict.stablehlo", "weights.safetensors", "signature.json"
Specs = Mapping[str, tuple[Sequence[int], Any]]


def write_program(
    folder: Path,
    function: Callable[[Any, Mapping[str, jax.Array]], Any],
    weights: Any,
    inputs: Specs,
    platforms: Sequence[str] = PLATFORMS,
) -> list[str]:
    """Writes a function of weights and of a batch.

    What is written takes `({name: weight}, {name: input [batch, ...]})`. Weights and inputs that the result does not
    depend on are left out; the function gets zeros in their place.

    Args:
      folder: to write in; made where it does not exist.
      function: `(weights, batch) -> tree of arrays [batch, ...]`.
      weights: tree of arrays.
      inputs: {name: (shape of one example, type)}.
      platforms: to compile for, as `jax.export` calls them.

    Returns:
      the names of the inputs.

    Raises:
      UserError: the function needs to know its batch size, or the folder cannot be written.
    """
    named, rebuild = _named(weights)
    specs = {name: jax.ShapeDtypeStruct((2, *shape), np.dtype(dtype)) for name, (shape, dtype) in inputs.items()}
    names = [*named, *sorted(specs)]  # as dictionaries are flattened
    try:
        whole = _exported(lambda arrays, given: function(rebuild(arrays), given), named, specs, platforms[:1])
        kept = {names[number] for number in whole.module_kept_var_idx}

        def reduced(arrays: Mapping[str, Any], given: Mapping[str, jax.Array]) -> Any:
            rows = next(iter(given.values())).shape[0]
            absent = {name: jnp.zeros(each.shape, each.dtype) for name, each in named.items() if name not in arrays}
            idle = {name: jnp.zeros((rows, *each.shape[1:]), each.dtype) for name, each in specs.items()}
            return function(rebuild({**absent, **arrays}), {**idle, **given})

        (batch,) = jax.export.symbolic_shape("batch")
        used = {
            name: jax.ShapeDtypeStruct((batch, *spec.shape[1:]), spec.dtype)
            for name, spec in specs.items()
            if name in kept
        }
        arrays = {name: array for name, array in named.items() if name in kept}
        exported = _exported(reduced, arrays, used, platforms)
    except (jax.errors.InconclusiveDimensionOperation, jax.errors.ConcretizationTypeError, TypeError) as error:
        if isinstance(error, TypeError) and "_DimExpr" not in str(error):
            raise
        first = str(error).split("\n", 1)[0]
        raise UserError(f"the model's program depends on its batch size ({first}); it cannot be exported") from None
    with from_extra("stablehlo", "The StableHLO format"):
        from safetensors.numpy import save_file

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PROGRAM).write_bytes(exported.serialize())
        save_file(arrays, folder / WEIGHTS)
        told = {name: {"shape": ["batch", *spec.shape[1:]], "dtype": spec.dtype.name} for name, spec in used.items()}
        (folder / SIGNATURE).write_text(json.dumps({"inputs": told, "platforms": list(platforms)}, default=str) + "\n")
    except OSError as error:
        raise UserError(f"cannot write into {folder} ({error.strerror}); choose another folder") from None
    return sorted(used)


def _exported(function: Any, arrays: Mapping[str, Any], specs: Mapping[str, Any], platforms: Sequence[str]) -> Any:
    described = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}
    return jax.export.export(jax.jit(function), platforms=tuple(platforms))(described, dict(specs))


def _named(tree: Any) -> tuple[dict[str, np.ndarray], Callable[[Mapping[str, Any]], Any]]:
    """The leaves of a tree by their paths, sorted, and what makes the tree of them again."""
    paths, structure = jax.tree.flatten_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    leaves = {name: np.ascontiguousarray(leaf) for name, (_, leaf) in zip(names, paths)}

    def rebuild(arrays: Mapping[str, Any]) -> Any:
        return jax.tree.unflatten(structure, [arrays[name] for name in names])

    return dict(sorted(leaves.items())), rebuild
