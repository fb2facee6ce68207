"""What a compiled step needs of each device: memory, operations, and what goes over the links between devices."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxdl.distributed.hardware import Hardware

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16}  # others say it in their name
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_RESULT = re.compile(r"= (.*?) (" + "|".join(COLLECTIVES) + r")(-start)?\(")
_SHAPE = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_WHILE = re.compile(r" while\(.*body=%?([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_CALLS = re.compile(r"(?:to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")


@dataclass(frozen=True)
class Costs:
    """Of one step on one device.

    Attributes:
      parameters, optimizer, other: bytes of what is kept from step to step.
      batch: bytes of its part of a batch.
      temporary: bytes that the step needs besides.
      peak: bytes that there are at once, at most.
      flops: operations of matrix products and convolutions; None if they could not be counted.
      traffic: {kind of collective: (how many, bytes that leave a device)}.
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
        """A roofline: the time of computing, of moving what there is through the memory once, and of what goes over the
        links, at the data sheet's speeds. The first two overlap: a step takes at least the larger one, and if the third
        does not overlap with them, that besides."""
        found = {}
        if hardware.flops and self.flops is not None:
            found["compute"] = self.flops / hardware.flops
        if hardware.bandwidth:
            found["memory"] = (self.peak + self.parameters + self.optimizer) / hardware.bandwidth
        if hardware.links:
            found["links"] = sum(size for _, size in self.traffic.values()) / hardware.links
        return found


def costs(program: Any) -> Costs:
    """Of the compiled step of a `jaxdl.training.compiled.Program`."""
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
    """{kind: (how many are executed, bytes that leave a device)} of a compiled program's text.

    What a loop does counts as often as the loop is known to run. An all-reduce moves twice what it gives, the others
    what they give.
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
    found: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    _walk(entry, bodies, 1, found)
    return {kind: (int(number), size) for kind, (number, size) in sorted(found.items())}


def _walk(name: str, bodies: Mapping[str, list[str]], times: int, found: dict[str, list[float]]) -> None:
    for line in bodies.get(name, ()):
        if result := _RESULT.search(line):
            sizes = [_size(*shape) for shape in _SHAPE.findall(result[1])]
            if result[3] and result[2] != "all-reduce":  # its result has what was given in front of what is made
                sizes = sizes[len(sizes) // 2 :]
            size = sum(sizes)
            found[result[2]][0] += times
            found[result[2]][1] += times * size * (2 if result[2] == "all-reduce" else 1)
        elif loop := _WHILE.search(line):
            trips = _TRIPS.search(line)
            _walk(loop[1], bodies, times * (int(trips[1]) if trips else 1), found)
        else:
            for called in _CALLS.findall(line):
                _walk(called, bodies, times, found)


def _size(kind: str, shape: str) -> float:
    bits = _BITS.get(kind) or int(re.sub(r"\D", "", kind.split("e")[0]) or 8)
    return math.prod(int(side) for side in shape.split(",") if side) * bits / 8


def _bytes(tree: Any) -> float:
    """Of the part of a tree of ShapeDtypeStruct that lies on one device."""
    total = 0.0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding is not None else leaf.shape
        total += math.prod(shape) * leaf.dtype.itemsize
    return total


def _shards(program: Any) -> int:
    return program.mesh.shape["data"] * program.mesh.shape["fsdp"]
