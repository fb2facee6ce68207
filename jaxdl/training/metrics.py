"""What the loop measures: time, operations, exact means, leaves that are not finite, digests of a state."""

import contextlib
import hashlib
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

from jaxdl.compatibility import inner_jaxprs, scan_arguments

PyTree = Any


class Meter:
    """Times the loop on the host, without waiting for the device.

    Dispatch is asynchronous, so the time of one step on the host says nothing; over the steps between two reports it is
    right, because fetching a report waits for its step. The window of a report runs from the last report (at first:
    from the construction) and leaves out what is paused: compiling, evaluation, pictures, saving.

    Args:
      useful_seconds: what a resumed run had gathered up to the step it goes on from.
      clock: seconds, monotonic.
    """

    def __init__(self, useful_seconds: float = 0.0, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._useful = useful_seconds
        self._pauses = 0
        self._begin()

    def _begin(self) -> None:
        self._start = self._pause_start = self._clock()
        self._data = self._paused = 0.0
        self._steps = self._examples = 0

    def _seconds(self) -> float:
        """The window's seconds so far, without the pauses."""
        now = self._clock()
        return max(0.0, now - self._start - self._paused - (now - self._pause_start if self._pauses else 0.0))

    @contextlib.contextmanager
    def data(self, busy: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Time spent here waits for training data. Inside a pause (an evaluation's data) it is not counted.

        Args:
          busy: whether the device still computes when the data are there: then nobody has waited.
        """
        start = self._clock()
        try:
            yield
        finally:
            if not self._pauses and not busy():
                self._data += self._clock() - start

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time spent here is no training: evaluation, saving, pictures, compiling. Pauses may nest."""
        if not self._pauses:
            self._pause_start = self._clock()
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if not self._pauses:
                self._paused += self._clock() - self._pause_start

    def step(self, examples: int) -> None:
        """Counts one step over `examples` examples of the global batch."""
        self._steps += 1
        self._examples += examples

    @property
    def useful_seconds(self) -> float:
        """Seconds in training steps so far: neither waiting for data nor paused."""
        return self._useful + max(0.0, self._seconds() - self._data)

    def report(self) -> dict[str, float]:
        """The figures since the last report; a new window begins.

        Returns:
          `step_time` (seconds a step, waiting for data included), `data_wait` (seconds a step), `data_wait_share` (of
          the step time), `examples_per_second`; and `useful_seconds`, the total. Only the last where no step was made.
        """
        seconds = self._seconds()
        figures: dict[str, float] = {}
        if self._steps and seconds > 0:
            figures = {
                "step_time": seconds / self._steps,
                "data_wait": self._data / self._steps,
                "data_wait_share": self._data / seconds,
                "examples_per_second": self._examples / seconds,
            }
        self._useful += max(0.0, seconds - self._data)
        self._begin()
        return {**figures, "useful_seconds": self._useful}


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


# Peak operations a second of one JAX device: (device kind, 16-bit type, 16-bit peak, float32 peak), from NVIDIA's
# datasheets of each product and Google Cloud's TPU pages. Dense: NVIDIA's figures with sparsity are twice as high. TPU
# v2, v3 and 7x have two devices a chip, so half the chip's figure. float32 is what JAX does with float32 matrices
# unless asked for more: TF32 on Ampere and later, one bfloat16 pass on TPUs.
_PEAKS = (
    (r"\bV100-PCIE\b", "float16", 112e12, 14e12),
    (r"\bV100\b", "float16", 125e12, 15.7e12),
    (r"\bA100\b", "both", 312e12, 156e12),
    (r"\bL4$", "both", 121e12, 60e12),
    (r"\bH100 PCIe\b", "both", 756e12, 378e12),
    (r"\b(H100|H200) NVL\b", "both", 835e12, 417e12),
    (r"\b(H100|H200|GH200)\b", "both", 989e12, 494e12),
    (r"^TPU v2$", "bfloat16", 22.5e12, 22.5e12),
    (r"^TPU v3$", "bfloat16", 61.5e12, 61.5e12),
    (r"^TPU v4$", "bfloat16", 275e12, 275e12),
    (r"^TPU v5( lite|e)$", "bfloat16", 197e12, 197e12),
    (r"^TPU v5p?$", "bfloat16", 459e12, 459e12),
    (r"^TPU v6( lite|e)$", "bfloat16", 918e12, 918e12),
    (r"^TPU7x$", "bfloat16", 1153.5e12, 1153.5e12),
)


def peak_flops(device_kind: str, dtype: Any = "bfloat16") -> float | None:
    """The most operations a second that one device can do on dense matrices of `dtype`; None where that is not known.

    Args:
      device_kind: `jax.Device.device_kind`, as "NVIDIA H100 80GB HBM3" or "TPU v4". A MIG slice of a GPU is not known.
      dtype: float32, bfloat16 or float16, as a name or a type; others are not known.
    """
    name = jnp.dtype(dtype).name
    if "MIG" in device_kind:
        return None
    for pattern, half, half_peak, single_peak in _PEAKS:
        if re.search(pattern, device_kind):
            if name == "float32":
                return single_peak
            return half_peak if name in ("bfloat16", "float16") and half in (name, "both") else None
    return None


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


def finalize(sums: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Divides {name: (sum, weight)} on the host in float64: {name: float, or an array where the sum is one}.

    A weight of 0 gives NaN: nothing was counted.
    """
    result: dict[str, Any] = {}
    for name, (total, weight) in sums.items():
        total, weight = np.asarray(total, np.float64), np.asarray(weight, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(weight == 0, np.nan, total / weight)
        result[name] = float(value) if value.ndim == 0 else value
    return result


def leaf_names(tree: PyTree) -> list[str]:
    """The paths of a tree's leaves, in the order of `jax.tree.leaves`: "params/classifier/stem/kernel".

    Raises:
      ValueError: two leaves have one name, because a key holds a "/".
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two leaves are named '{twice}'")
    return names


def squared_norms(tree: PyTree) -> jax.Array:
    """[leaves] the sum of squares of each leaf in float32, in the order of `leaf_names`; one small array to fetch."""
    leaves = jax.tree.leaves(tree)
    return (
        jnp.stack([jnp.sum(jnp.square(jnp.abs(leaf).astype(jnp.float32))) for leaf in leaves])
        if leaves
        else jnp.zeros(0)
    )


def nonfinite_leaves(norms: Any, names: Sequence[str]) -> list[str]:
    """The names whose value in `norms` [leaves] is NaN or infinite (a sum of squares above 3e38 is infinite, too)."""
    norms = np.asarray(norms)
    if norms.shape != (len(names),):
        raise ValueError(f"{len(names)} names for norms of shape {list(norms.shape)}")
    return [name for name, finite in zip(names, np.isfinite(norms), strict=True) if not finite]


def state_digest(tree: PyTree) -> tuple[dict[str, str], str]:
    """SHA-256 of every array of a state, and of the whole.

    An array's digest covers its dtype, shape and bytes in C order, not its sharding: a state has the same digest on
    any number of devices. PRNG keys count as their key data. The whole is the digest of the sorted lines "name dtype
    shape digest". Arrays that lie on several processes are gathered, one by one, so then every process must call this.

    Returns:
      ({name: hexadecimal digest}, hexadecimal digest of the whole).
    """
    names, leaves = leaf_names(tree), jax.tree.leaves(tree)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing frees the interpreter's lock
        futures = [pool.submit(_leaf_digest, _addressable(leaf)) for leaf in leaves]
        described = [future.result() for future in futures]
    digests = {name: digest for name, (_, digest) in zip(names, described, strict=True)}
    lines = sorted(f"{name} {kind} {digest}" for name, (kind, digest) in zip(names, described, strict=True))
    return digests, hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _addressable(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if leaf.is_fully_replicated:
            return leaf.addressable_data(0)
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(leaf, tiled=True)
    return leaf


def _leaf_digest(leaf: Any) -> tuple[str, str]:
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    kind = f"{leaf.dtype} {','.join(map(str, leaf.shape))}"
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.ascontiguousarray(leaf).reshape(-1)
    digest = hashlib.sha256(f"{kind}\n".encode())
    digest.update(array.view(np.uint8).data)
    return kind, digest.hexdigest()
