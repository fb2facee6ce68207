"""FLOPs of a traced step, and model FLOPs utilization (MFU)."""

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

from jaxdl.compatibility import inner_jaxprs, scan_arguments


def traced_flops(jaxpr: ClosedJaxpr) -> float:
    """The floating-point operations of the matrix products and convolutions in a traced function, for MFU.

    `jax.jit(step).trace(state, batch).jaxpr` has the global batch, so this is the work of all devices together. A
    multiply-add counts two. A loop's body counts as often as it runs (XLA's own count takes it once), a branch as its
    dearest side, what no output needs not at all. Recomputation asked for by `jax.checkpoint` is counted. A `while`
    loop, whose length is not known, counts once; hand-written kernels count nothing.
    """
    return _count(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))[0]


def _count(jaxpr: Jaxpr, wanted: Sequence[bool]) -> tuple[float, list[bool]]:
    """The operations that the wanted outputs need, and which inputs they need."""
    live = {var for var, want in zip(jaxpr.outvars, wanted, strict=True) if want and isinstance(var, Var)}
    total = 0.0
    for equation in reversed(jaxpr.eqns):
        outputs = [var in live for var in equation.outvars]
        if any(outputs) or equation.effects:
            operations, needed = _equation(equation, outputs)
            total += operations
            live |= {var for var, need in zip(equation.invars, needed) if need and isinstance(var, Var)}
    return total, [var in live for var in jaxpr.invars]


def _equation(equation: JaxprEqn, wanted: list[bool]) -> tuple[float, list[bool]]:
    params, everything = equation.params, [True] * len(equation.invars)
    match equation.primitive.name:
        case "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            lhs, out = _shape(equation.invars[0]), _shape(equation.outvars[0])
            return 2.0 * math.prod(out) * math.prod(lhs[axis] for axis in contracted), everything
        case "conv_general_dilated":
            kernel, out = _shape(equation.invars[1]), _shape(equation.outvars[0])
            _, inputs, *spatial = params["dimension_numbers"].rhs_spec
            taps = math.prod(kernel[axis] for axis in (inputs, *spatial))
            # A dilated input (a transposed convolution) is mostly zeros that nobody multiplies.
            return 2.0 * math.prod(out) * taps / math.prod(params["lhs_dilation"]), everything
        case "scan":
            constants, carries = scan_arguments(params)
            body = [True] * carries + wanted[carries:]
            operations, needed = _count(params["jaxpr"].jaxpr, body)
            carried = range(constants, constants + carries)
            return operations * params["length"], [need or i in carried for i, need in enumerate(needed)]
        case "while":
            body = params["body_jaxpr"].jaxpr
            return _count(body, [True] * len(body.outvars))[0], everything
        case "cond":
            sides = [_count(branch.jaxpr, wanted) for branch in params["branches"]]
            return max(side[0] for side in sides), [True, *(any(needs) for needs in zip(*(side[1] for side in sides)))]
    for inner in inner_jaxprs(params):
        if (len(inner.invars), len(inner.outvars)) == (len(everything), len(wanted)):
            operations, needed = _count(inner, wanted)
            return operations * _shards(equation), needed
    return 0.0, everything


def _shape(var: Any) -> tuple[int, ...]:
    return var.aval.shape


def _shards(equation: JaxprEqn) -> int:
    """How many devices run the body of a `shard_map`, whose shapes are one device's."""
    if equation.primitive.name != "shard_map":
        return 1
    mesh = equation.params["mesh"]
    axes = equation.params.get("newly_manual_axes") or equation.params.get("manual_axes") or mesh.axis_names
    return math.prod(mesh.shape[axis] for axis in axes)


def flops(compiled: jax.stages.Compiled) -> float | None:
    """XLA's count of the operations of a compiled function on ONE device, or None where it has none.

    It takes the body of a loop once, however often it runs: with scanned layers or micro-batches use `traced_flops`.
    """
    analysis = compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, (list, tuple)) and analysis else analysis
    count = analysis.get("flops") if isinstance(analysis, dict) else None
    return float(count) if count is not None and count > 0 else None


def mfu(flops_per_step: float | None, step_time: float, devices: int, peak: float | None) -> float | None:
    """Model FLOPs utilization: the share of the devices' peak that went into the model (Chowdhery et al., 2022, PaLM).

    Args:
      flops_per_step: of the global batch (`traced_flops`).
      step_time: seconds.
      devices: how many share the work.
      peak: `peak_flops` of one of them.

    Returns:
      A share of 1, or None where an argument is not known.
    """
    if flops_per_step is None or peak is None or step_time <= 0:
        return None
    return flops_per_step / (step_time * devices * peak)
