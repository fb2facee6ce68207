"""Sizes of the tables that a traced function indexes with an argument, such as the rows of an embedding."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend.core import Jaxpr, Var

from jaxdl.compatibility import inner_jaxprs

# Operations whose result contains values of their operands, and nothing else that depends on the operands' values.
_COPIES = {
    "broadcast_in_dim",
    "concatenate",
    "convert_element_type",
    "copy",
    "dynamic_slice",
    "expand_dims",
    "gather",
    "optimization_barrier",
    "pad",
    "reshape",
    "rev",
    "select_n",
    "sharding_constraint",
    "slice",
    "squeeze",
    "transpose",
}


def indexed_sizes(
    function: Callable[..., Any], values: Mapping[str, Any], *others: Any
) -> tuple[Any, dict[str, set[int]]]:
    """Returns the result of a function, as shapes, and the sizes of all axes that it indexes with elements of arrays.

    The function is traced, not computed. Elements may be sliced, reshaped or replaced before they are an index.
    Elements that are changed by arithmetic, compared (as one-hot vectors are) or used in a loop of unknown length are
    not followed.

    Args:
      function: Function `(values, *others)`.
      values: Arrays by name, or their shapes and types.
      others: Other arguments, trees of arrays or of shapes and types.
    """
    traced, result = jax.make_jaxpr(function, return_shape=True)(dict(values), *others)
    (jaxpr,) = inner_jaxprs({"jaxpr": traced})
    found: dict[str, set[int]] = {name: set() for name in sorted(values)}
    for number, sizes in enumerate(found.values()):
        _follow(jaxpr, [argument == number for argument in range(len(jaxpr.invars))], sizes)
    return result, found


def _follow(jaxpr: Jaxpr, given: Sequence[bool], sizes: set[int]) -> list[bool]:
    """Adds to `sizes`, and returns which outputs contain elements of the given inputs."""
    followed = {var for var, yes in zip(jaxpr.invars, given) if yes}
    for equation in jaxpr.eqns:
        inputs = [isinstance(var, Var) and var in followed for var in equation.invars]
        if not any(inputs):
            continue
        name, params = equation.primitive.name, equation.params
        if name == "gather" and inputs[1] and len(params["dimension_numbers"].start_index_map) == 1:
            (axis,) = params["dimension_numbers"].start_index_map
            table: Any = equation.invars[0].aval
            sizes.add(table.shape[axis] - params["slice_sizes"][axis] + 1)
        if name in _COPIES:
            # Neither the index of `gather` and `dynamic_slice` nor the predicate of `select_n` is an element.
            elements = {"gather": inputs[:1], "dynamic_slice": inputs[:1], "select_n": inputs[1:]}.get(name, inputs)
            outputs = [any(elements)] * len(equation.outvars)
        else:
            outputs = [False] * len(equation.outvars)
            for inner in inner_jaxprs(params):
                if (len(inner.invars), len(inner.outvars)) == (len(inputs), len(outputs)):
                    outputs = _follow(inner, inputs, sizes)
        followed |= {var for var, yes in zip(equation.outvars, outputs) if yes}
    return [isinstance(var, Var) and var in followed for var in jaxpr.outvars]
