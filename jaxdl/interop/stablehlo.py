"""Export of functions and weights to StableHLO, for all platforms and any batch size.

`predict.stablehlo` is a program serialized by `jax.export`, without weights; `weights.safetensors` holds these.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError, write_errors
from jaxdl.interop.tensors import save_tensors

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, WEIGHTS, SIGNATURE = "predict.stablehlo", "weights.safetensors", "signature.json"
Specs = Mapping[str, tuple[Sequence[int], Any]]
Function = Callable[[Any, Mapping[str, jax.Array]], Any]


class _Program(NamedTuple):
    """Exported program with the weights and inputs on which its result depends."""

    exported: jax.export.Exported
    weights: Mapping[str, np.ndarray]
    inputs: Mapping[str, jax.ShapeDtypeStruct]


def write_program(
    folder: Path,
    function: Function,
    weights: Any,
    inputs: Specs,
    platforms: Sequence[str] = PLATFORMS,
    preprocessing: Mapping[str, Any] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Exports a function of weights and a batch as a StableHLO program.

    Its signature is `({name: weight}, {name: input [batch, ...]}) -> result`. Weights and inputs without influence on
    the result are omitted; the function receives zeros for them.

    Args:
      folder: Folder to write to. Created if necessary.
      function: `(weights, batch) -> tree of arrays [batch, ...]`.
      weights: Tree of arrays.
      inputs: (shape of one example, dtype) by name.
      platforms: Target platforms, as in `jax.export`.
      preprocessing: JSON for signature.json, from files to inputs. None omits it.
      classes: Class names by feature for signature.json. None omits them.

    Returns:
      Names of the inputs.

    Raises:
      UserError: The function depends on its batch size, or the folder is not writable.
    """
    try:
        program = _program(function, weights, inputs, platforms)
    except (jax.errors.InconclusiveDimensionOperation, jax.errors.ConcretizationTypeError, TypeError) as error:
        if isinstance(error, TypeError) and "_DimExpr" not in str(error):
            raise
        first = str(error).split("\n", 1)[0]
        raise UserError(f"the model's program depends on its batch size ({first}); export another model") from None
    shapes = {
        name: {"shape": ["batch", *spec.shape[1:]], "dtype": spec.dtype.name} for name, spec in program.inputs.items()
    }
    signature: dict[str, Any] = {"inputs": shapes, "platforms": list(platforms)}
    signature |= {} if preprocessing is None else {"preprocessing": preprocessing}
    signature |= {"classes": {name: list(of) for name, of in classes.items()}} if classes else {}
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PROGRAM).write_bytes(program.exported.serialize())
        save_tensors(folder / WEIGHTS, dict(program.weights), "stablehlo")
        (folder / SIGNATURE).write_text(json.dumps(signature, default=str) + "\n")
    return sorted(program.inputs)


def _program(function: Function, weights: Any, inputs: Specs, platforms: Sequence[str]) -> _Program:
    """Exports the function twice: with all arrays, to find those that it uses, and with these and a symbolic batch."""
    named, rebuild = _named(weights)
    specs = {name: jax.ShapeDtypeStruct((2, *shape), np.dtype(dtype)) for name, (shape, dtype) in inputs.items()}
    names = [*named, *sorted(specs)]  # as dictionaries are flattened
    complete = _exported(lambda arrays, batch: function(rebuild(arrays), batch), named, specs, platforms[:1])
    kept = {names[number] for number in complete.module_kept_var_idx}

    def reduced(arrays: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> Any:
        batch_size = next(iter(batch.values())).shape[0]
        absent = {name: jnp.zeros(array.shape, array.dtype) for name, array in named.items() if name not in arrays}
        idle = {name: jnp.zeros((batch_size, *array.shape[1:]), array.dtype) for name, array in specs.items()}
        return function(rebuild({**absent, **arrays}), {**idle, **batch})

    (size,) = jax.export.symbolic_shape("batch")
    used = {
        name: jax.ShapeDtypeStruct((size, *spec.shape[1:]), spec.dtype) for name, spec in specs.items() if name in kept
    }
    arrays = {name: array for name, array in named.items() if name in kept}
    return _Program(_exported(reduced, arrays, used, platforms), arrays, used)


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
