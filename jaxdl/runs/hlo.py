"""Kinds of the operations in an optimized HLO program."""

import re
from collections.abc import Iterable
from typing import NamedTuple

KINDS = ("matmul", "convolution", "collectives", "copies", "other")

# In this order, since a fusion is of the kind of its most expensive operation.
_OPCODES = {
    "collectives": re.compile(r"(all|ragged|reduce-scatter|collective)-?.*|(send|recv)(-done)?|partition-id"),
    "convolution": re.compile(r"convolution"),
    "matmul": re.compile(r"dot|ragged-dot|scaled-dot"),
}
_COPIES = {"copy", "copy-start", "copy-done", "transpose", "infeed", "outfeed", "slice", "concatenate", "pad"}
_FREE = {"parameter", "bitcast", "reshape", "tuple", "get-tuple-element", "constant", "broadcast", "iota"}
_TARGETS = {
    "convolution": re.compile(r"conv", re.IGNORECASE),
    "matmul": re.compile(r"gemm|cublas|matmul|fmha|sdpa", re.IGNORECASE),
}
_NAMES = {
    "collectives": re.compile(
        r"all-?_?(reduce|gather|to)|reduce[-_]?scatter|collective|nccl|ppermute|psum", re.IGNORECASE
    ),
    "matmul": re.compile(r"dot|gemm|matmul|cublas|cutlass|fmha|sdpa|flash|attention", re.IGNORECASE),
    "convolution": re.compile(r"conv(?!ert)|cudnn|wgrad|dgrad|implicit", re.IGNORECASE),
    "copies": re.compile(r"copy|memcpy|memset|transpose|infeed|outfeed", re.IGNORECASE),
}
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLS = re.compile(r"(?:calls|to_apply|called_computations=\{)=?%?([\w.\-]+)")
_SOURCE = re.compile(r'op_name="([^"]*)"')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_PARTS = 3  # of a source


class Instruction(NamedTuple):
    """Instruction of a program.

    Attributes:
      kind: Kind of operation, one of KINDS.
      source: End of its name in the traced function, such as "Conv_0/conv_general_dilated (backward)". "" if unknown.
    """

    kind: str
    source: str


class _Line(NamedTuple):
    opcode: str
    called: tuple[str, ...]
    target: str
    source: str


def instructions(hlo: str) -> dict[str, Instruction]:
    """Returns the instructions of a program by name, those inside of fusions too.

    A fusion is a product, convolution or collective if it contains one, and a copy if it contains nothing else.

    Args:
      hlo: Text of `jax.stages.Compiled.as_text()`.
    """
    computations: dict[str, dict[str, _Line]] = {}
    current: dict[str, _Line] = {}
    for text in hlo.splitlines():
        if header := _COMPUTATION.match(text):
            current = computations.setdefault(header[1], {})
        elif match := _INSTRUCTION.match(text):
            name, _, opcode, rest = match.groups()
            target, origin = _TARGET.search(rest), _SOURCE.search(rest)
            called = tuple(_CALLS.findall(rest)) if opcode in ("fusion", "custom-call", "async-start", "call") else ()
            current[name] = _Line(opcode, called, target[1] if target else "", _short(origin[1]) if origin else "")

    def kinds(line: _Line) -> set[str]:
        inner = [other for name in line.called for other in computations.get(name, {}).values()]
        if not inner:
            return {_kind(line)}
        return set().union(*(kinds(other) for other in inner))

    def source(line: _Line) -> str:
        inner = [other.source for name in line.called for other in computations.get(name, {}).values()]
        return line.source or next(filter(None, reversed(inner)), "")

    named = {name: line for lines in computations.values() for name, line in lines.items()}
    return {name: Instruction(_strongest(kinds(line)), source(line)) for name, line in named.items()}


def kind_of_name(name: str) -> str:
    """Returns the kind of an operation or GPU kernel by its name."""
    return next((kind for kind, pattern in _NAMES.items() if pattern.search(name)), "other")


def _kind(line: _Line) -> str:
    """Returns the kind of one instruction, "" if it takes no time of its own."""
    if line.target:
        return next((kind for kind, pattern in _TARGETS.items() if pattern.search(line.target)), "other")
    if line.opcode in _COPIES:
        return "copies"
    if line.opcode in _FREE:
        return ""
    return next((kind for kind, pattern in _OPCODES.items() if pattern.fullmatch(line.opcode)), "other")


def _strongest(kinds: Iterable[str]) -> str:
    order = ("collectives", "convolution", "matmul", "other", "copies")
    return min({*kinds} - {""} or {"other"}, key=order.index)


def _short(source: str) -> str:
    end = "/".join(source.split("/")[-_PARTS:])
    return f"{end} (backward)" if "transpose(jvp" in source else end
