"""`launch.py reproduce`: a run made again from what its folder says, and how near the second one comes.

The same commit, packages, devices and data give the same bits, and `state_digest` says whether they did. Where one of
these differs, numbers are compared instead: they are reproduced if they lie within what other seeds give.
"""

import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdl.commands import train
from jaxdl.config import serialize
from jaxdl.config.experiment import observes
from jaxdl.errors import Failed, UserError
from jaxdl.runs import manifest
from jaxdl.runs.files import to_json, write_atomically
from jaxdl.runs.folder import RunFolder, find_runs
from jaxdl.training.sources import load_sources

_SPREAD = 2.0  # standard deviations of the other seeds' results that a number may be away
_DEVICE = ("platform", "kind", "count", "processes", "cpu_cores", "XLA_FLAGS")


@dataclass(frozen=True)
class Compared:
    """One metric of both runs.

    Attributes:
      name: "EVAL/NAME".
      before, after: its values; NaN where it was not finite.
      spread: the standard deviation over other runs, that differ by their seed alone; None where there are not two.
    """

    name: str
    before: float
    after: float
    spread: float | None

    @property
    def agrees(self) -> bool | None:
        """Whether the difference is within the spread; None if there is no spread to judge by."""
        if self.before == self.after or (math.isnan(self.before) and math.isnan(self.after)):
            return True
        return None if self.spread is None else abs(self.after - self.before) <= _SPREAD * self.spread


def run(path: str, output: str | None = None, dry_run: bool = False) -> None:
    """Makes a run again, and says what came of it; the verdict is also in `reproduction.json` of the new run.

    Args:
      path: the run folder.
      output: the folder for the new run; by default the old one's name with "-again" behind it. A folder that holds it
        in part is gone on with.
      dry_run: say what differs from then, and make nothing.

    Raises:
      UserError: the run is not finished, or its configuration does not fit the code that is here.
      Failed: the numbers are others, by more than the seeds' spread.
    """
    folder = RunFolder.open(path)
    before, made_with = folder.result(), folder.manifest()
    if before is None:
        raise UserError(f"{path} is not finished, so there is nothing to compare with; finish it first")
    take_cores(manifest.latest(made_with, "devices") or {})
    saved = serialize.from_json(folder.config(), str(folder.path / "config.json"))
    experiment = serialize.build(saved.config)
    changes = differences(made_with, train.describe(experiment, load_sources(experiment.data)))
    print("\n".join(changes) if changes else "commit, packages, devices and data are as they were then", flush=True)
    if dry_run:
        return
    again = Path(output) if output else folder.path.with_name(f"{folder.path.name}-again")
    if again.resolve() == folder.path.resolve():
        raise UserError(f"--output={output} is the run itself; give another folder")
    after = train.make(saved.config, saved.recipe, saved.overrides, again, command=sys.argv)
    same = before["state_digest"] == after["state_digest"]
    compared = compare(before, after, _siblings(folder, saved.config))
    text = verdict(made_with, same, compared, changes)
    report = {"of": str(path), "bitwise": same, "differences": changes, "verdict": text}
    report["metrics"] = {each.name: [each.before, each.after, each.spread, each.agrees] for each in compared}
    write_atomically(again / "reproduction.json", to_json(report) + "\n")
    print(text)
    if not same and any(each.agrees is False for each in compared):
        raise Failed(f"{path} was not reproduced; {again / 'reproduction.json'} has all numbers")


def take_cores(then: Mapping[str, Any]) -> None:
    """Leaves this process as many cores as a run on CPUs had, if it has more: their number decides the last bits.

    A sweep shares the cores out among its runs. To be called before anything touches a device.
    """
    if then.get("platform") == "cpu" and hasattr(os, "sched_getaffinity"):
        here = sorted(os.sched_getaffinity(0))
        if 0 < (then.get("cpu_cores") or 0) < len(here):
            os.sched_setaffinity(0, here[: then["cpu_cores"]])


def differences(then: Mapping[str, Any], datasets: Mapping[str, Any]) -> list[str]:
    """What is not as it was when a run was made, a line each.

    Args:
      then: the run's manifest.
      datasets: what is here now, as `jaxdl.commands.train.describe` gives it.
    """
    told = {name: manifest.latest(then, name) or {} for name in ("code", "packages", "devices", "datasets")}
    lines = []
    now = manifest.code_version()
    if told["code"].get("commit") != now["commit"]:
        lines.append(f"commit: then {_short(told['code'].get('commit'))}, now {_short(now['commit'])}")
    for state, when in ((told["code"].get("dirty"), "then"), (now["dirty"], "now")):
        if state:
            lines.append(f"commit: the working tree had changes {when}")
    packages = manifest.package_versions()
    lines += [
        f"{name}: then {told['packages'].get(name)}, now {packages.get(name)}"
        for name in sorted({*told["packages"], *packages})
        if told["packages"].get(name) != packages.get(name)
    ]
    devices = manifest.describe_devices()
    lines += [
        f"device's {name}: then {told['devices'].get(name)!r}, now {devices.get(name)!r}"
        for name in _DEVICE
        if told["devices"].get(name) != devices.get(name)
    ]
    for role, data in told["datasets"].items():
        here = datasets.get(role)
        if here is not None and here["fingerprint"] != data["fingerprint"]:
            lines.append(
                f"data of '{role}': then {data['examples']} examples with fingerprint {data['fingerprint'][:12]}, now"
                f" {here['examples']} with {here['fingerprint'][:12]}"
            )
    return lines


def compare(
    before: Mapping[str, Any], after: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]] = ()
) -> list[Compared]:
    """Each metric of two results, beside what it is in those of other seeds."""
    found = []
    old, new = _scalars(before), _scalars(after)
    for name, value in old.items():
        values = [scalars[name] for each in siblings if name in (scalars := _scalars(each))]
        values = [each for each in values if math.isfinite(each)]
        spread = statistics.stdev(values) if len(values) > 1 else None
        found.append(Compared(name, value, new.get(name, math.nan), spread))
    return found


def verdict(then: Mapping[str, Any], same: bool, compared: Sequence[Compared], changes: Sequence[str]) -> str:
    """A few sentences that say what was done and what came of it."""
    what = f"{then['recipe']} with seed {then['seed']}"
    if same:
        return f"Reproduced bit by bit: {what}, trained again, ends in the same parameters and gives the same metrics."
    because = f" ({len(changes)} difference(s) from then: {'; '.join(changes)})" if changes else ""
    shown = "; ".join(f"{each.name} {each.before:.6g} then, {each.after:.6g} now" for each in compared)
    states = [each.agrees for each in compared]
    if all(states):
        how = "Reproduced, not bit by bit: every metric is within two standard deviations of the other seeds' results"
    elif False in states:
        wrong = ", ".join(each.name for each in compared if each.agrees is False)
        how = f"Not reproduced: {wrong} is further away than two standard deviations of the other seeds' results"
    else:
        how = "Made again, not bit by bit, and there are no two other seeds beside it to judge the difference by"
    return f"{how}. {what}, trained again{because}: {shown}."


def _siblings(folder: RunFolder, config: Any) -> list[dict[str, Any]]:
    """The results of finished runs beside a run that differ from it by their seed alone."""
    found = []
    for path in find_runs(folder.path.parent, depth=1):
        if path == folder.path or not (path / "config.json").is_file() or (path / "reproduction.json").exists():
            continue
        other = RunFolder.open(path)
        result = other.result()
        if result is None:
            continue
        try:
            theirs = serialize.from_json(other.config(), str(path / "config.json")).config
        except UserError:
            continue  # of another recipe, or of other code: no sibling
        rows = [name for name, *_ in serialize.diff(config, theirs) if not observes(name)]
        if rows == ["seed"]:
            found.append(result)
    return found


def _scalars(result: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{split}/{name}": math.nan if value is None else float(value)
        for split, figures in result["metrics"].items()
        for name, value in figures.items()
        if value is None or isinstance(value, int | float)
    }


def _short(commit: str | None) -> str:
    return commit[:12] if commit else "unknown"
