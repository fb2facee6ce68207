"""Costs of a compiled step per device: memory, FLOPs and collective traffic."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxdl.distributed.hardware import Hardware

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16}  # other types contain their bits in their name
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_RESULT = re.compile(r"= (.*?) (" + "|".join(COLLECTIVES) + r")(-start)?\(")
_SHAPE = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_WHILE = re.compile(r" while\(.*body=%?([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_CALLS = re.compile(r"(?:to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")


@dataclass(frozen=True)
class Costs:
    """Costs of one step on one device.

    Attributes:
      parameters: Bytes of parameters.
      optimizer: Bytes of optimizer state.
      other: Bytes of variables, averages and carry.
      batch: Bytes of the device's shard of a batch.
      temporary: Bytes of temporary buffers.
      peak: Peak memory, bytes.
      flops: FLOPs of matrix products and convolutions. None if they could not be counted.
      traffic: {kind of collective: (executions, bytes that leave a device)}.
    """

    parameters: float
    optimizer: float
    other: float
    batch: float
    temporary: float
    peak: float
    flops: float | None
    traffic: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    def seconds(self, hardware: Hardware) -> dict[str, float]:
        """Returns a roofline: seconds of compute, of one pass over memory, and of collectives, by the data sheet.

        Compute and memory access overlap: a step takes at least the larger of the two. Collectives that do not overlap
        with them add their time.
        """
        seconds = {}
        if hardware.flops and self.flops is not None:
            seconds["compute"] = self.flops / hardware.flops
        if hardware.bandwidth:
            seconds["memory"] = (self.peak + self.parameters + self.optimizer) / hardware.bandwidth
        if hardware.links:
            seconds["links"] = sum(size for _, size in self.traffic.values()) / hardware.links
        return seconds


def costs(program: Any) -> Costs:
    """Returns the costs of the compiled step of a `jaxdl.training.compiled.Program`."""
    compiled, state = program.compiled, program.abstract
    memory = compiled.memory_analysis()
    kept = {name: _bytes(getattr(state, name)) for name in ("params", "opt_state", "variables", "ema", "carry")}
    batch = sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in program.batch_shape.values()) / _shards(program)
    peak = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    return Costs(
        parameters=kept["params"],
        optimizer=kept["opt_state"],
        other=kept["variables"] + kept["ema"] + kept["carry"],
        batch=batch,
        temporary=memory.temp_size_in_bytes,
        peak=peak,
        flops=None if program.flops is None else program.flops / program.mesh.size,
        traffic=collectives(compiled.as_text()),
    )


def collectives(text: str) -> dict[str, tuple[int, float]]:
    """Counts the collectives in a compiled program's text: {kind: (executions, bytes that leave a device)}.

    The body of a loop counts once per iteration if the trip count is known. An all-reduce moves twice the bytes of its
    result, other collectives the bytes of their result.
    """
    bodies: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        if (head := _COMPUTATION.match(line.strip())) and line.rstrip().endswith("{"):
            name = head[1]
            bodies[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif name:
            bodies[name].append(line)
    counts: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    _walk(entry, bodies, 1, counts)
    return {kind: (int(number), size) for kind, (number, size) in sorted(counts.items())}


def _walk(name: str, bodies: Mapping[str, list[str]], times: int, counts: dict[str, list[float]]) -> None:
    for line in bodies.get(name, ()):
        if result := _RESULT.search(line):
            sizes = [_size(*shape) for shape in _SHAPE.findall(result[1])]
            if result[3] and result[2] != "all-reduce":  # the result lists operands before outputs
                sizes = sizes[len(sizes) // 2 :]
            size = sum(sizes)
            counts[result[2]][0] += times
            counts[result[2]][1] += times * size * (2 if result[2] == "all-reduce" else 1)
        elif loop := _WHILE.search(line):
            trips = _TRIPS.search(line)
            _walk(loop[1], bodies, times * (int(trips[1]) if trips else 1), counts)
        else:
            for called in _CALLS.findall(line):
                _walk(called, bodies, times, counts)


def _size(kind: str, shape: str) -> float:
    bits = _BITS.get(kind) or int(re.sub(r"\D", "", kind.split("e")[0]) or 8)
    return math.prod(int(side) for side in shape.split(",") if side) * bits / 8


def _bytes(tree: Any) -> float:
    """Returns the bytes on one device of a tree of ShapeDtypeStruct."""
    total = 0.0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding is not None else leaf.shape
        total += math.prod(shape) * leaf.dtype.itemsize
    return total


def _shards(program: Any) -> int:
    return program.mesh.shape["data"] * program.mesh.shape["fsdp"]
