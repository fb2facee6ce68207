"""Contests in alternating rounds, and their outcomes, which `python -m benchmarks` collects."""

import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

RECORD = "JAXDL_BENCHMARK_RECORD"  # environment variable: file to which outcomes are appended


class Contestant(Protocol):
    """Object that trains for `steps` and returns the last loss."""

    def run(self, steps: int) -> float: ...


class Repeated:
    """Contestant that calls a function once per step."""

    def __init__(self, function: Callable[[], object]):
        self.function = function

    def run(self, steps: int) -> float:
        for _ in range(steps):
            self.function()
        return 0.0


class Outcome(NamedTuple):
    """Outcome of a contest, larger rates are better.

    Attributes:
      workload: Name, such as "ConvNet step".
      ours: Median rate of jaxdl.
      peer: Name of the best peer.
      theirs: Its median rate.
      unit: Unit of both, such as "images/s".
    """

    workload: str
    ours: float
    peer: str
    theirs: float
    unit: str

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def measure(
    contestants: Mapping[str, Contestant],
    batch: int,
    steps: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    settle: int = 1,
) -> dict[str, list[float]]:
    """Measures examples per second, a list of `rounds` per contestant, alternating.

    Args:
      contestants: Contestants by name.
      batch: Examples per step.
      steps: Steps per round.
      rounds: Number of rounds.
      clock: Clock in seconds.
      settle: Steps before each round that are not counted. The first one after a switch takes up to twice as long.
    """
    for contestant in contestants.values():
        contestant.run(1)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for name, contestant in itertools.chain.from_iterable([contestants.items()] * rounds):
        time.sleep(0.3)  # lets the threads of the other library stop spinning
        contestant.run(settle)
        start = clock()
        contestant.run(steps)
        rates[name].append(batch * steps / (clock() - start))
    return rates


def report(workload: str, rates: Mapping[str, list[float]], batch: int, unit: str = "images/s") -> None:
    """Prints the rates of "jaxdl" and its peers, and records the outcome against the best peer.

    Names that begin with "jaxdl" are variants of jaxdl and not peers.
    """
    medians = {name: statistics.median(values) for name, values in rates.items()}
    peaks = {name: max(values) for name, values in rates.items()}
    ours, our_peak = medians["jaxdl"], peaks["jaxdl"]
    peers = [name for name in rates if not name.startswith("jaxdl")]
    best = max(peers, key=lambda name: medians[name])
    print(f"\n{workload:32} {unit:>9} {'lowest':>8} {'highest':>8} {'ms/step':>8} {'jaxdl is':>9}")
    for name, values in rates.items():
        median = statistics.median(values)
        figures = (
            f"{median:9.0f} {min(values):8.0f} {max(values):8.0f} {1000 * batch / median:8.1f} {ours / median:8.2f}x"
        )
        print(f"{name:32} {figures}")
    print(f"\njaxdl {ours:.0f} {unit}, the best peer {medians[best]:.0f} ({best}): ratio {ours / medians[best]:.2f}")
    fastest = our_peak / max(peaks[name] for name in peers)
    print(f"ratio of the fastest rounds {fastest:.2f} (a deviation indicates a loaded machine)")
    record(Outcome(workload, ours, best, medians[best], unit))


def record(outcome: Outcome) -> None:
    """Appends an outcome to the file of `python -m benchmarks`, if that started this process."""
    if path := os.environ.get(RECORD):
        with open(path, "a") as file:
            file.write(json.dumps(outcome._asdict()) + "\n")
