"""Device meshes and shardings.

Parameters and activations have logical axis names (`nn.with_logical_partitioning`, `nn.with_logical_constraint`). One
table of rules maps them to the mesh axes `data`, `fsdp` and `tensor`.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxdl.errors import UserError, nearest

AXES = ("data", "fsdp", "tensor")

# Logical axis name -> mesh axis. Other names, and dimensions that the mesh axis does not divide, are replicated.
RULES: tuple[tuple[str, str | tuple[str, ...] | None], ...] = (
    ("batch", ("data", "fsdp")),
    ("channels_in", "fsdp"),
    ("channels", "tensor"),
    ("channels_act", "tensor"),
    ("embed", "fsdp"),
    ("mlp", "tensor"),
    ("heads", "tensor"),
    ("vocab", "tensor"),
)


@dataclass(frozen=True)
class Parallel:
    """Parallelism of a run.

    Attributes:
      mesh: Devices along the axes `data` (replicas of the model, batch sharded), `fsdp` (parameters and batch sharded)
        and `tensor` (parameters and activations sharded). One of them may be -1, for all remaining devices.
      mode: "jit" (global arrays, any mesh) or "pmap" (one program per device, `data` only).
      rules: (logical axis name, mesh axis) pairs. The first match counts.
    """

    mesh: Mapping[str, int] = field(default_factory=lambda: {"data": -1, "fsdp": 1, "tensor": 1})
    mode: str = "jit"
    rules: tuple[tuple[str, Any], ...] = RULES


def make_mesh(parallel: Parallel, devices: Sequence[Any] | None = None) -> Mesh:
    """Creates the mesh of `parallel` over `devices` (default: all devices).

    Raises:
      UserError: An unknown mode or axis, sizes that do not match the devices, or pmap with other axes than `data`.
    """
    devices = list(devices) if devices is not None else jax.devices()
    if parallel.mode not in ("jit", "pmap"):
        raise UserError(f"parallel.mode is '{parallel.mode}'; {nearest(parallel.mode, ('jit', 'pmap'))}")
    for axis in parallel.mesh:
        if axis not in AXES:
            raise UserError(f"parallel.mesh has no axis '{axis}'; {nearest(axis, AXES)}")
    sizes = [int(parallel.mesh.get(axis, 1)) for axis in AXES]
    text = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes))
    if sizes.count(-1) > 1 or any(size == 0 or size < -1 for size in sizes):
        raise UserError(f"parallel.mesh is {text}; use positive sizes, one of them -1 for all remaining devices")
    known = math.prod(size for size in sizes if size > 0)
    if -1 in sizes and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if math.prod(sizes) != len(devices):
        raise UserError(
            f"parallel.mesh {text} does not match the {len(devices)} device(s); sizes must multiply to"
            f" {len(devices)} (set one to -1, or --cpu_devices=N for virtual CPU devices)"
        )
    if parallel.mode == "pmap" and sizes[1:] != [1, 1]:
        raise UserError("parallel.mode 'pmap' is data-parallel only; set fsdp=1 and tensor=1, or mode 'jit'")
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


@contextmanager
def active(mesh: Mesh, parallel: Parallel):
    """Activates the mesh and the rules for logical constraints while a step is traced."""
    with ExitStack() as stack:
        if parallel.mode == "jit":
            stack.enter_context(jax.set_mesh(mesh))
            stack.enter_context(nn.logical_axis_rules([*parallel.rules]))
        yield


def batch_shards(mesh: Mesh) -> int:
    """Returns the number of shards of the leading axis of a batch."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def check_batch(mesh: Mesh, batch_size: int, accumulate: int) -> None:
    """Checks that a batch is divisible by the devices and micro-batches.

    Raises:
      UserError: It is not; with the nearest sizes that are.
    """
    unit = batch_shards(mesh) * accumulate
    if batch_size % unit:
        below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
        sizes = " or ".join(str(size) for size in (below, above) if size)
        raise UserError(
            f"data.batch_size={batch_size} is not divisible by {batch_shards(mesh)} device(s)"
            f" x {accumulate} micro-batch(es); use {sizes}"
        )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of the leading axis of a batch over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def shardings(mesh: Mesh, rules: Sequence[tuple[str, Any]], boxed: Any) -> Any:
    """Returns the sharding of every leaf of an abstract tree whose parameters have logical axis names.

    A mesh axis that does not divide its dimension is dropped. A leaf with names that `fsdp` would replicate is sharded
    along its largest divisible dimension, so that FSDP saves memory for any number of channels.

    Args:
      mesh: Device mesh.
      rules: As in `Parallel`.
      boxed: Tree of ShapeDtypeStruct, parameters wrapped in `nn.LogicallyPartitioned`.

    Returns:
      The same tree, unboxed, of NamedSharding.
    """
    table: dict[str | None, Any] = dict(reversed(list(rules)))

    def leaf_sharding(leaf):
        if not isinstance(leaf, nn.LogicallyPartitioned):
            return jax.tree.map(lambda _: replicated(mesh), leaf)
        if not hasattr(leaf.value, "shape"):  # placeholder of a masked optimizer
            return leaf.value
        shape = leaf.value.shape
        spec = [_fitting(mesh, table.get(name), size) for name, size in zip(leaf.names, shape)]
        used = [axis for entry in spec for axis in (entry if isinstance(entry, tuple) else (entry,))]
        if mesh.shape["fsdp"] > 1 and "fsdp" not in used:
            free = [i for i, size in enumerate(shape) if spec[i] is None and size % mesh.shape["fsdp"] == 0]
            if free:
                spec[max(free, key=lambda i: shape[i])] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(leaf_sharding, boxed, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned))


def _fitting(mesh: Mesh, axis: str | tuple[str, ...] | None, size: int) -> str | tuple[str, ...] | None:
    """Returns the mesh axis of a dimension, None if it has one device or does not divide the dimension."""
    if axis is None:
        return None
    devices = math.prod(mesh.shape[name] for name in (axis if isinstance(axis, tuple) else (axis,)))
    return axis if devices > 1 and size % devices == 0 else None


def place_batch(mesh: Mesh, mode: str, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Puts a process's rows of a global batch on its devices.

    Returns:
      Global arrays [batch, ...] sharded over the mesh; in mode "pmap" [devices, batch / devices, ...].
    """
    sharding = batch_sharding(mesh)
    if mode == "pmap":
        local = mesh.local_mesh.devices.size
        batch = {name: array.reshape(local, len(array) // local, *array.shape[1:]) for name, array in batch.items()}
    if jax.process_count() == 1:
        return jax.device_put(dict(batch), sharding)
    return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in batch.items()}


def process_rows(mesh: Mesh, batch_size: int) -> slice:
    """Returns the rows of the global batch that this process loads."""
    positions = batch_sharding(mesh).addressable_devices_indices_map((batch_size,)).values()
    bounds = [index[0].indices(batch_size)[:2] for index in positions if index is not None]
    return slice(min(start for start, _ in bounds), max(stop for _, stop in bounds))
