"""Memory that a run needs at least, compared with that of its devices before anything is allocated."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxdl.errors import UserError
from jaxdl.training.state import TrainState, leaf_names


def check_memory(state: TrainState, batch: Mapping[str, jax.ShapeDtypeStruct], examples: int) -> None:
    """Refuses a train state and a batch that exceed the memory of this process's devices.

    Args:
      state: Shapes, types and shardings. Activations and gradients are not counted.
      batch: Shapes and types of a batch; the leading axis is ignored.
      examples: Size of the largest global batch, of which the host makes its share.

    Raises:
      UserError: The sizes, with the largest array.
    """
    devices, memory = jax.local_device_count(), device_memory()
    names, leaves = leaf_names(state), jax.tree.leaves(state)
    sizes = [_bytes(leaf.sharding.shard_shape(leaf.shape), leaf) for leaf in leaves]
    needed = sum(sizes)
    if memory is None:
        return
    if needed > memory:
        _, name, leaf = max(zip(sizes, names, leaves), key=lambda item: item[0])
        raise UserError(
            f"parameters and optimizer state take {_gigabytes(needed)} per device, which has {_gigabytes(memory)};"
            f" the largest array is {name} {list(leaf.shape)}; make the model smaller or shard it (parallel.mesh.fsdp)"
        )
    share = examples * sum(_bytes(spec.shape[1:], spec) for spec in batch.values()) / jax.process_count()
    if share > memory * devices:
        raise UserError(
            f"a batch of {examples} examples takes {_gigabytes(share)}, and this process has"
            f" {_gigabytes(memory * devices)}; use a smaller data.batch_size or data.eval_batch_size"
        )


def device_memory() -> float | None:
    """Returns the memory of one local device in bytes, None if unknown; CPU devices share that of the machine."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    limits = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    container = Path("/sys/fs/cgroup/memory.max")
    if container.is_file() and (text := container.read_text().strip()).isdecimal():
        limits.append(float(text))
    return min(limits) / jax.local_device_count()


def memory_in_use() -> dict[str, float]:
    """Returns `device_memory` and `device_memory_peak` of the fullest local device in bytes; {} for CPU devices."""
    stats = [device.memory_stats() or {} for device in jax.local_devices() if device.platform != "cpu"]
    names = {"device_memory": "bytes_in_use", "device_memory_peak": "peak_bytes_in_use"}
    return {
        name: float(max(values)) for name, key in names.items() if (values := [one[key] for one in stats if key in one])
    }


def _bytes(shape: tuple[int, ...], leaf: Any) -> float:
    return float(math.prod(shape)) * leaf.dtype.itemsize


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"
