"""Export of functions and weights to StableHLO, for all platforms and any batch size.

`predict.stablehlo` is a program serialized by `jax.export`, without weights; `weights.safetensors` holds these.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.interop.tensors import save_tensors

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
    """Exports a function of weights and a batch as a StableHLO program.

    Its signature is `({name: weight}, {name: input [batch, ...]}) -> result`.

    Weights and inputs without influence on the result are omitted; the function receives zeros for them.

    Args:
      folder: Folder to write to. Created if necessary.
      function: `(weights, batch) -> tree of arrays [batch, ...]`.
      weights: Tree of arrays.
      inputs: (shape of one example, dtype) by name.
      platforms: Target platforms, as in `jax.export`.

    Returns:
      Names of the inputs.

    Raises:
      UserError: The function depends on its batch size, or the folder is not writable.
    """
    named, rebuild = _named(weights)
    specs = {name: jax.ShapeDtypeStruct((2, *shape), np.dtype(dtype)) for name, (shape, dtype) in inputs.items()}
    names = [*named, *sorted(specs)]  # as dictionaries are flattened
    try:
        full_export = _exported(
            lambda arrays, batch_inputs: function(rebuild(arrays), batch_inputs), named, specs, platforms[:1]
        )
        kept = {names[number] for number in full_export.module_kept_var_idx}

        def reduced(arrays: Mapping[str, Any], batch_inputs: Mapping[str, jax.Array]) -> Any:
            batch_size = next(iter(batch_inputs.values())).shape[0]
            absent = {name: jnp.zeros(array.shape, array.dtype) for name, array in named.items() if name not in arrays}
            idle = {name: jnp.zeros((batch_size, *array.shape[1:]), array.dtype) for name, array in specs.items()}
            return function(rebuild({**absent, **arrays}), {**idle, **batch_inputs})

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
        raise UserError(f"the model's program depends on its batch size ({first}); export another model") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PROGRAM).write_bytes(exported.serialize())
        save_tensors(folder / WEIGHTS, arrays, "stablehlo")
        inputs_used = {
            name: {"shape": ["batch", *spec.shape[1:]], "dtype": spec.dtype.name} for name, spec in used.items()
        }
        (folder / SIGNATURE).write_text(
            json.dumps({"inputs": inputs_used, "platforms": list(platforms)}, default=str) + "\n"
        )
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}); choose another folder") from None
    return sorted(used)


def _exported(function: Any, arrays: Mapping[str, Any], specs: Mapping[str, Any], platforms: Sequence[str]) -> Any:
    described = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}
    return jax.export.export(jax.jit(function), platforms=tuple(platforms))(described, dict(specs))


def _named(tree: Any) -> tuple[dict[str, np.ndarray], Callable[[Mapping[str, Any]], Any]]:
    """Returns the leaves of a tree by path, sorted, and the function that rebuilds the tree."""
    paths, structure = jax.tree.flatten_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    leaves = {name: np.ascontiguousarray(leaf) for name, (_, leaf) in zip(names, paths)}

    def rebuild(arrays: Mapping[str, Any]) -> Any:
        return jax.tree.unflatten(structure, [arrays[name] for name in names])

    return dict(sorted(leaves.items())), rebuild
