"""FLOPs of a traced step, and model FLOPs utilization (MFU)."""

import math
from collections.abc import Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

from jaxdl.compatibility import inner_jaxprs, scan_arguments


def traced_flops(jaxpr: ClosedJaxpr) -> float:
    """Counts the FLOPs of the matrix products and convolutions in a traced function, for MFU.

    `jax.jit(step).trace(state, batch).jaxpr` has the global batch, so the count covers all devices. A multiply-add
    counts as two. The body of a scan counts once per iteration (XLA counts it once), a branch as its most expensive
    side, dead code not at all. Recomputation of `jax.checkpoint` is counted. A `while` loop of unknown length counts
    once; custom kernels are not counted.
    """
    return _count(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))[0]


def _count(jaxpr: Jaxpr, wanted: Sequence[bool]) -> tuple[float, list[bool]]:
    """Returns the FLOPs that the wanted outputs depend on, and the inputs that they depend on."""
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
            # A dilated input (transposed convolution) is mostly zeros, which are not multiplied.
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
    """Returns the number of devices that run the body of a `shard_map`, whose shapes are those of one device."""
    if equation.primitive.name != "shard_map":
        return 1
    mesh = equation.params["mesh"]
    axes = equation.params.get("newly_manual_axes") or equation.params.get("manual_axes") or mesh.axis_names
    return math.prod(mesh.shape[axis] for axis in axes)


def mfu(flops_per_step: float | None, step_time: float, devices: int, peak: float | None) -> float | None:
    """Returns the model FLOPs utilization (arXiv:2204.02311), None if an argument is None.

    Args:
      flops_per_step: FLOPs of the global batch (`traced_flops`).
      step_time: Seconds per step.
      devices: Number of devices.
      peak: `peak_flops` of one device.
    """
    if flops_per_step is None or peak is None or step_time <= 0:
        return None
    return flops_per_step / (step_time * devices * peak)
