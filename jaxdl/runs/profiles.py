"""Profiles of runs, `profile/process_<n>/`: the trace of JAX's profiler and its summary."""

import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl.errors import UserError
from jaxdl.runs.files import to_json, write_atomically
from jaxdl.runs.hlo import KINDS, Instruction, instructions, kind_of_name
from jaxdl.runs.table import aligned

FOLDER, SUMMARY = "profile", "summary.json"
PAUSES = ("evaluation", "save")  # annotations of the loop
ACTIVITIES = ("data", *PAUSES)
_TOP = 12  # operations in the summary
# Lines of a device that repeat the operations of other lines, see the profiler of XLA.
_DERIVED = re.compile(r"Steps|XLA Modules|XLA TraceMe|Framework|Source|Launch Stats")


class _Event(NamedTuple):
    """Operation on a device. Times are in nanoseconds; `own` is without nested operations."""

    name: str
    start: float
    end: float
    own: float


def folder_of(run: Path, process: int) -> Path:
    """Returns the folder of the trace of a process."""
    return run / FOLDER / f"process_{process}"


def summarize(folder: Path, first: int, last: int, hlo: str) -> str:
    """Reads the trace in a folder, writes its summary beside it, and returns the summary in one line.

    Args:
      folder: Folder of the trace of one process.
      first: First traced step.
      last: Last traced step.
      hlo: Optimized HLO of the train step, which has the kinds of its operations.

    Raises:
      ValueError: The folder has no trace.
    """
    from jax.profiler import ProfileData

    paths = sorted(folder.glob("plugins/profile/*/*.xplane.pb"))
    if not paths:
        raise ValueError(f"no trace in {folder}")
    summary = {"first_step": first, "last_step": last, **summary_of(ProfileData.from_file(str(paths[-1])), hlo)}
    write_atomically(folder / SUMMARY, to_json(summary) + "\n")
    return f"trace of steps {first} to {last} in {folder}: {_shares(summary)}"


def summary_of(trace: Any, hlo: str) -> dict[str, Any]:
    """Summarizes a trace.

    Args:
      trace: `jax.profiler.ProfileData`.
      hlo: As for `summarize`.

    Returns:
      JSON values: "seconds" of the steps, without evaluations and saves; "devices"; "shares" of the time of the devices
      in these seconds by kind of operation, sum 1 with "idle"; "activities", {annotation: seconds} on the host; and
      "operations", those with the largest shares.
    """
    known = instructions(hlo)
    with warnings.catch_warnings():
        # jaxlib creates types without a module, which Python 3.13 warns of; as an error it would abort the process.
        warnings.simplefilter("ignore", DeprecationWarning)
        steps, paused = _host(trace)
        operations = _devices(trace)
    outside = [interval for name in PAUSES for interval in paused[name]]
    devices = {name: [_own_times(_without(line, outside)) for line in lines] for name, lines in operations.items()}
    events = [event for lines in devices.values() for line in lines for event in line]
    ends = [*steps, *((event.start, event.end) for event in events)]
    window = max((end for _, end in ends), default=0.0) - min((start for start, _ in ends), default=0.0)
    window -= _union(outside)
    busy = sum(_union((event.start, event.end) for line in lines for event in line) for lines in devices.values())
    own, counts = defaultdict[str, float](float), Counter[str]()
    for event in events:
        own[event.name] += event.own
        counts[event.name] += 1
    total = sum(own.values())
    share = min(1.0, busy / (window * len(devices))) if window > 0 and devices else 0.0
    scale = share / total if total else 0.0  # operations at the same time share their device
    shares = {**dict.fromkeys(KINDS, 0.0), "idle": 1 - share}
    for name, spent in own.items():
        shares[_known(known, name).kind] += spent * scale
    longest = [
        {"name": name, **_known(known, name)._asdict(), "share": spent * scale, "calls": counts[name]}
        for name, spent in sorted(own.items(), key=lambda item: -item[1])[:_TOP]
    ]
    return {
        "seconds": window * 1e-9,
        "devices": len(devices),
        "shares": shares,
        "activities": {name: 1e-9 * _union(intervals) for name, intervals in paused.items()},
        "operations": longest,
    }


def _known(known: Mapping[str, Instruction], name: str) -> Instruction:
    return known.get(name) or Instruction(kind_of_name(name), "")


_Intervals = list[tuple[float, float]]


def _host(trace: Any) -> tuple[_Intervals, dict[str, _Intervals]]:
    """Returns the intervals of the steps and of each activity, by the annotations of the loop."""
    steps: _Intervals = []
    activities: dict[str, _Intervals] = {name: [] for name in ACTIVITIES}
    for plane in trace.planes:
        if plane.name.startswith("/host:CPU"):
            for line in plane.lines:
                for event in line.events:
                    if event.name == "step" and "step_num" in dict(event.stats):
                        steps.append((event.start_ns, event.end_ns))
                    elif event.name in activities:
                        activities[event.name].append((event.start_ns, event.end_ns))
    return steps, activities


_Named = tuple[str, float, float]  # name, start and end of an operation, ns


def _devices(trace: Any) -> dict[str, list[list[_Named]]]:
    """Returns the operations of each device by line, a stream or a thread.

    Accelerators have a plane each. On CPUs, operations are the host's events with the statistic `hlo_op`.
    """
    devices: defaultdict[str, list[list[_Named]]] = defaultdict(list)
    for plane in trace.planes:
        if re.match(r"/device:(GPU|TPU):\d+$", plane.name):
            lines = list(plane.lines)
            chosen = [line for line in lines if line.name == "XLA Ops"]
            for line in chosen or [line for line in lines if not _DERIVED.match(line.name)]:
                events = ((str(dict(event.stats).get("hlo_op", event.name)), event) for event in line.events)
                devices[plane.name].append([(name, event.start_ns, event.end_ns) for name, event in events])
    if devices:
        return dict(devices)
    for plane in trace.planes:
        for line in plane.lines if plane.name.startswith("/host:CPU") else ():
            by_device: defaultdict[str, list[_Named]] = defaultdict(list)
            for event in line.events:
                if (stats := dict(event.stats)) and "hlo_op" in stats:
                    operation = (str(stats["hlo_op"]), event.start_ns, event.end_ns)
                    by_device[str(stats.get("device_ordinal", 0))].append(operation)
            for device, operations in by_device.items():
                devices[device].append(operations)
    return dict(devices)


def _own_times(operations: Iterable[_Named]) -> list[_Event]:
    """Returns the operations of one line; a loop is without the operations in its body."""
    ordered = sorted(operations, key=lambda operation: (operation[1], -operation[2]))
    own = [end - start for _, start, end in ordered]
    nesting: list[int] = []
    for index, (_, start, end) in enumerate(ordered):
        while nesting and ordered[nesting[-1]][2] <= start:
            nesting.pop()
        if nesting:
            own[nesting[-1]] -= min(end, ordered[nesting[-1]][2]) - start
        nesting.append(index)
    return [_Event(*operation, max(0.0, spent)) for operation, spent in zip(ordered, own)]


def _without(operations: Iterable[_Named], outside: _Intervals) -> list[_Named]:
    """Returns the operations that do not start in an interval."""
    return [one for one in operations if not any(start <= one[1] < end for start, end in outside)]


def _union(intervals: Iterable[tuple[float, float]]) -> float:
    """Returns the length of the union of intervals."""
    length, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        length += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return length


def read(run: Path) -> dict[int, dict[str, Any]]:
    """Returns the summaries of a run by process; {} without a profile.

    Raises:
      UserError: A summary cannot be read.
    """
    summaries = {}
    for path in (run / FOLDER).glob(f"process_*/{SUMMARY}"):
        if (number := path.parent.name.removeprefix("process_")).isdecimal():
            try:
                summaries[int(number)] = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise UserError(f"{path} cannot be read ({error}); remove {path.parent}, or profile again") from error
    return dict(sorted(summaries.items()))


def describe(summaries: Mapping[int, Mapping[str, Any]]) -> str:
    """Returns the summaries of all processes as text: shares, time of the host, and operations of the first process."""
    return "\n\n".join(_paragraphs(summaries)) + "\n"


def _paragraphs(summaries: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    first = next(iter(summaries.values()))
    count = first["last_step"] - first["first_step"] + 1
    pace = first["seconds"] / count
    yield f"Profile of steps {first['first_step']} to {first['last_step']}, {1000 * pace:.4g} ms per step"
    names = list(first["shares"])
    rows = [
        [f"process {number}", str(one["devices"]), *(_percent(one["shares"][name]) for name in names)]
        for number, one in summaries.items()
    ]
    yield aligned([["device time", "devices", *names], *rows])
    host = [
        [f"process {number}", *(f"{1000 * one['activities'][name] / count:.4g}" for name in ACTIVITIES)]
        for number, one in summaries.items()
    ]
    yield aligned([["ms of the host per step", *ACTIVITIES], *host])
    operations: Sequence[Mapping[str, Any]] = first["operations"]
    cells = [
        [one["name"], one["kind"], _percent(one["share"]), f"{one['calls'] / count:.4g}", one["source"]]
        for one in operations
    ]
    if cells:
        yield aligned([["operation", "kind", "share", "calls per step", "source"], *cells])


def _shares(summary: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_percent(value)}" for name, value in summary["shares"].items())


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
