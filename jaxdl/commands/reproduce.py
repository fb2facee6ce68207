"""Trains a run again from its folder and compares the results.

The same commit, packages, devices and data give the same bits, which `state_digest` verifies. If one of these differs,
metrics are compared instead: they are reproduced if they lie within the spread over other seeds.
"""

import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl.flags import FlagValues

from jaxdl.commands import train
from jaxdl.commands.flags import DRY_RUN, TRUST, Command, Flag
from jaxdl.config import text as config_text
from jaxdl.config.experiment import build
from jaxdl.config.serialize import from_json
from jaxdl.errors import Failed, UserError, printable
from jaxdl.runs import code, manifest
from jaxdl.runs.files import to_json, write_atomically
from jaxdl.runs.folder import RunFolder, find_runs
from jaxdl.runs.ledger import scalars
from jaxdl.training.sources import load_sources

COMMAND = Command(
    name="reproduce",
    summary="Trains a run again and compares the results",
    synopsis=("RUN [--output=DIR] [--dry_run] [--trust]",),
    flags=(
        Flag("output", "Folder of the new run. By default RUN-again.", value="DIR", instead=("workdir",)),
        DRY_RUN,
        TRUST,
    ),
    example="jaxdl reproduce runs/digits --dry_run",
)

_SPREAD = 2.0  # largest accepted deviation, in standard deviations over other seeds
_DEVICE = ("platform", "kind", "count", "processes", "cpu_cores", "XLA_FLAGS")


def main(arguments: list[str], flags: FlagValues) -> None:
    run(arguments[0], flags.output, flags.dry_run)


@dataclass(frozen=True)
class Compared:
    """Metric "EVAL/NAME" of both runs, NaN if not finite.

    `spread` is the standard deviation over runs that differ only by their seed; None with fewer than two.
    """

    name: str
    before: float
    after: float
    spread: float | None

    @property
    def agrees(self) -> bool | None:
        """Whether the difference is within the spread; None without a spread."""
        if self.before == self.after or (math.isnan(self.before) and math.isnan(self.after)):
            return True
        return None if self.spread is None else abs(self.after - self.before) <= _SPREAD * self.spread


def run(path: str, output: str | None = None, dry_run: bool = False) -> None:
    """Trains a run again, prints a verdict and writes it to `reproduction.json` of the new run.

    Args as the flags. An `output` that exists is resumed. `dry_run` only prints the differences since the run.

    Raises:
      UserError: The run is not finished, or its configuration does not fit the present code.
      Failed: A metric differs by more than the spread over seeds, or although the parameters are equal.
    """
    folder = RunFolder.open(path)
    before, original = folder.result(), folder.manifest()
    if before is None:
        raise UserError(f"{path} is not finished (no result.json), so its results cannot be compared; finish it first")
    again = Path(output) if output else Path(f"{os.path.abspath(folder.path)}-again")
    if os.path.realpath(again) == os.path.realpath(folder.path):
        raise UserError(f"--output={output} is the original run; give another folder")
    take_cores(manifest.latest(original, "devices") or {})
    saved = from_json(folder.config(), str(folder.path / "config.json"))
    experiment = build(saved.config)
    changes = differences(original, train.describe_data(experiment, load_sources(experiment.data)))
    changes += [f"module {line}" for line in manifest.changed_modules(folder, code.digests(saved.config, saved.recipe))]
    if not dry_run:
        with RunFolder(again) as new:  # refuses a folder of other files or another run
            train.check_config(new, saved.config, ())
    print(
        "\n".join(map(printable, changes)) if changes else "commit, code, packages, devices and data are equal",
        flush=True,
    )
    if dry_run:
        return
    after = train.make(saved.config, saved.recipe, saved.overrides, again, command=train.command_line())
    same = before["state_digest"] == after["state_digest"]
    compared = compare(before, after, _siblings(folder))
    text = verdict(original, same, compared, changes)
    report = {"of": str(path), "bitwise": same, "differences": changes, "verdict": text}
    report["metrics"] = {
        metric.name: [metric.before, metric.after, metric.spread, metric.agrees] for metric in compared
    }
    write_atomically(again / "reproduction.json", to_json(report) + "\n")
    print(printable(text))
    if changed(compared) if same else any(metric.agrees is False for metric in compared):
        raise Failed(f"{path} was not reproduced; {again / 'reproduction.json'} lists all metrics")


def take_cores(then: Mapping[str, Any]) -> None:
    """Restricts this process to the number of cores of a run on CPUs, which affects the last bits.

    A sweep divides the cores among its runs. Call it before the first use of a device.
    """
    if then.get("platform") == "cpu" and hasattr(os, "sched_getaffinity"):
        here = sorted(os.sched_getaffinity(0))
        if 0 < (then.get("cpu_cores") or 0) < len(here):
            os.sched_setaffinity(0, here[: then["cpu_cores"]])


def differences(then: Mapping[str, Any], datasets: Mapping[str, Any]) -> list[str]:
    """Returns the differences in commit, packages, devices and data since the manifest of a run, one a line."""
    recorded = {name: manifest.latest(then, name) or {} for name in ("code", "packages", "devices", "datasets")}
    lines = [f"{name}: changed when the run was resumed; a run from step 0 differs" for name in manifest.mixed(then)]
    now = manifest.code_version()
    if recorded["code"].get("commit") != now["commit"]:
        lines.append(f"commit: then {_short(recorded['code'].get('commit'))}, now {_short(now['commit'])}")
    for state, when in ((recorded["code"].get("dirty"), "then"), (now["dirty"], "now")):
        if state:
            lines.append(f"commit: the working tree had changes {when}")
    packages = manifest.package_versions()
    lines += [
        f"{name}: then {recorded['packages'].get(name)}, now {packages.get(name)}"
        for name in sorted({*recorded["packages"], *packages})
        if recorded["packages"].get(name) != packages.get(name)
    ]
    devices = manifest.describe_devices()
    lines += [
        f"device's {name}: then {recorded['devices'].get(name)!r}, now {devices.get(name)!r}"
        for name in _DEVICE
        if recorded["devices"].get(name) != devices.get(name)
    ]
    for role, data in recorded["datasets"].items():
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
    """Compares each metric of two results, with its spread over the results of other seeds."""
    metrics = []
    old, new = scalars(before["metrics"]), scalars(after["metrics"])
    others = [scalars(sibling["metrics"]) for sibling in siblings]
    for name, before_value in old.items():
        values = [other[name] for other in others if math.isfinite(other.get(name, math.nan))]
        spread = statistics.stdev(values) if len(values) > 1 else None
        metrics.append(Compared(name, before_value, new.get(name, math.nan), spread))
    return metrics


def changed(compared: Sequence[Compared]) -> list[str]:
    """Returns the metrics that differ by more than rounding, although the parameters are equal."""
    return [
        metric.name
        for metric in compared
        if not math.isclose(metric.before, metric.after, rel_tol=1e-5)
        and not (math.isnan(metric.before) and math.isnan(metric.after))
    ]


def verdict(then: Mapping[str, Any], same: bool, compared: Sequence[Compared], changes: Sequence[str]) -> str:
    """Returns the verdict in a few sentences."""
    name = f"{then['recipe']} with seed {manifest.latest(then, 'seed')}"
    if same and (names := changed(compared)):
        return (
            f"Not reproduced: {name}, trained again, has the same parameters, but {', '.join(names)} of its result.json"
            " differs"
        )
    if same:
        return f"Reproduced bitwise: {name}, trained again, has the same parameters and metrics."
    because = f" ({len(changes)} difference(s): {'; '.join(changes)})" if changes else ""
    values = "; ".join(f"{metric.name} {metric.before:.6g} then, {metric.after:.6g} now" for metric in compared)
    states = [metric.agrees for metric in compared]
    if all(states):
        outcome = "Reproduced, but not bitwise: every metric is within two standard deviations over other seeds"
    elif False in states:
        wrong = ", ".join(metric.name for metric in compared if metric.agrees is False)
        outcome = f"Not reproduced: {wrong} differs by more than two standard deviations over other seeds"
    else:
        outcome = "Trained again, but not bitwise equal; fewer than two runs with other seeds to estimate the spread"
    return f"{outcome}. {name}, trained again{because}: {values}."


def _siblings(folder: RunFolder) -> list[dict[str, Any]]:
    """Returns the results of finished runs in the same parent folder that differ only by their seed.

    Their settings come from config.txt: no code of theirs is imported. A damaged run is named and left out.
    """
    ours, results = folder.settings(), []
    for path in find_runs(folder.path.parent, depth=1):
        if path == folder.path or (path / "reproduction.json").exists():
            continue
        other = RunFolder.open(path)
        try:
            damage = other.damage()
        except UserError as error:
            damage = str(error)
        if damage:
            print(f"warning: {path} is not compared: {damage}", file=sys.stderr)
            continue
        result = other.result()
        if result is None:
            continue
        if [name for name, *_ in config_text.changes(ours, other.settings())] == ["seed"]:
            results.append(result)
    return results


def _short(commit: str | None) -> str:
    return commit[:12] if commit else "unknown"
