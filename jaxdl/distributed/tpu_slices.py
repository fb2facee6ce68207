"""TPU slices on Google Kubernetes Engine: node labels, chips per host and hosts by topology."""

import math
from dataclasses import dataclass

from jaxdl.errors import UserError, nearest

# Values of the node label gke-tpu-accelerator, and dimensions of a topology
# (https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus).
_ACCELERATORS = {
    "v4": ("tpu-v4-podslice", 3),
    "v5e": ("tpu-v5-lite-podslice", 2),
    "v5p": ("tpu-v5p-slice", 3),
    "v6e": ("tpu-v6e-slice", 2),
    "v7x": ("tpu7x", 3),
}
_PER_HOST = 4  # chips of a host of a slice with several hosts
_ONE_HOST = {"v5e": 8, "v6e": 8}  # most chips of a slice with one host


@dataclass(frozen=True)
class TpuSlice:
    """TPU slice.

    Attributes:
      accelerator: Value of the node label `cloud.google.com/gke-tpu-accelerator`.
      topology: Chips along each axis, such as "4x4".
      chips: Chips per host.
      hosts: Hosts, each with one process.
    """

    accelerator: str
    topology: str
    chips: int
    hosts: int


def tpu_slice(name: str) -> TpuSlice:
    """Returns the slice KIND:TOPOLOGY, such as v5e:4x4 or v5p:2x2x4. Raises UserError for another form."""
    kind, _, topology = name.partition(":")
    if kind not in _ACCELERATORS:
        raise UserError(f"tpu={name}: {nearest(kind, _ACCELERATORS)}")
    accelerator, dimensions = _ACCELERATORS[kind]
    sides = topology.split("x")
    if len(sides) != dimensions or not all(side.isdecimal() and int(side) > 0 for side in sides):
        example = "4x4" if dimensions == 2 else "2x2x4"
        raise UserError(f"tpu={name}: a topology of {kind} has {dimensions} sides; write {kind}:{example}")
    chips = math.prod(map(int, sides))
    if chips <= _ONE_HOST.get(kind, _PER_HOST):
        return TpuSlice(accelerator, topology, chips, 1)
    if chips % _PER_HOST:
        raise UserError(f"tpu={name} has {chips} chips, but hosts have {_PER_HOST}; use a multiple of {_PER_HOST}")
    return TpuSlice(accelerator, topology, _PER_HOST, chips // _PER_HOST)
