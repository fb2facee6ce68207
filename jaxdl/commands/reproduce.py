"""Trains a run again from its folder and compares the results.

The same commit, packages, devices and data give the same bits, which `state_digest` verifies. If one of these differs,
the recipe's METRIC is judged instead: it is reproduced if it lies in the 95% interval for one more run, computed from
the run and runs with other seeds. Sound runs are outside of it in 5% of cases.
"""

import math
import os
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
from jaxdl.config.recipes import recipe_file
from jaxdl.config.serialize import from_json
from jaxdl.errors import Failed, UserError, printable
from jaxdl.remote import check_writable, local_runs, url_of
from jaxdl.report import load
from jaxdl.report.intervals import Interval, prediction_interval
from jaxdl.runs import code, inputs, manifest
from jaxdl.runs.files import to_json, write_atomically
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.ledger import scalars
from jaxdl.runs.places import find_runs
from jaxdl.training.sources import load_sources

COMMAND = Command(
    name="reproduce",
    summary="Trains a run again and compares the results",
    synopsis=("RUN [--output=DIR] [--margin=DIFFERENCE] [--dry_run] [--trust]",),
    flags=(
        Flag("output", "Folder of the new run. By default RUN-again.", value="DIR", instead=("workdir",)),
        Flag(
            "margin",
            "Largest difference of the recipe's METRIC that counts as reproduced, instead of the spread over seeds.",
            value="DIFFERENCE",
            kind=float,
        ),
        DRY_RUN,
        TRUST,
    ),
    example="jaxdl reproduce runs/digits --dry_run",
)

_DEVICE = ("platform", "kind", "count", "processes", "cpu_cores", "XLA_FLAGS", "LIBTPU_INIT_ARGS")


def main(arguments: list[str], flags: FlagValues) -> None:
    run(arguments[0], flags.output, flags.dry_run, flags.margin)


@dataclass(frozen=True)
class Compared:
    """Metric of both runs.

    Attributes:
      name: "EVAL/NAME".
      before, after: Values, NaN if not finite.
      interval: Interval for one more run, from all runs that differ only by their seed. None with fewer than two.
      judged: Whether the metric decides the verdict.
      margin: Largest accepted difference. None: `interval` decides.
    """

    name: str
    before: float
    after: float
    interval: Interval | None
    judged: bool = False
    margin: float | None = None

    @property
    def agrees(self) -> bool | None:
        """Whether the metric is reproduced. None if it is not judged, or cannot be."""
        if not self.judged:
            return None
        if self.before == self.after or (math.isnan(self.before) and math.isnan(self.after)):
            return True
        if self.margin is not None:
            return abs(self.after - self.before) <= self.margin
        return None if self.interval is None else self.interval.contains(self.after)


def run(path: str, output: str | None = None, dry_run: bool = False, margin: float | None = None) -> None:
    """Trains a run again, prints a verdict and writes it to `reproduction.json` of the new run.

    Args as the flags. An `output` that exists is resumed. `dry_run` only prints the differences since the run.

    Raises:
      UserError: The run is not finished, or its configuration does not fit the present code.
      Failed: The metric is outside of the interval or margin, or metrics differ although the parameters are equal.
    """
    if margin is not None and not margin >= 0:
        raise UserError(f"--margin={margin} must be at least 0")
    folder = RunFolder.open(path)
    before, original = folder.result(), folder.manifest()
    if before is None:
        raise UserError(f"{path} is not finished (no result.json), so its results cannot be compared; finish it first")
    if not output:
        check_writable(folder.path, "name a local folder with --output=DIR")
    again = Path(output) if output else Path(f"{os.path.abspath(folder.path)}-again")
    if os.path.realpath(again) == os.path.realpath(folder.path):
        raise UserError(f"--output={output} is the original run; give another folder")
    take_cores(manifest.latest(original, "devices") or {})
    saved = from_json(folder.config(), str(folder.path / "config.json"))
    experiment = build(saved.config)
    changes = differences(original, inputs.describe_data(experiment, load_sources(experiment.data)))
    changes += [f"module {line}" for line in manifest.changed_modules(folder, code.digests(saved.config, saved.recipe))]
    if not dry_run:
        with RunFolder(again) as new:  # refuses a folder of other files or another run
            inputs.check_config(new, saved.config, (), "give another --output")
    print(
        "\n".join(map(printable, changes)) if changes else "commit, code, packages, devices and data are equal",
        flush=True,
    )
    if dry_run:
        return
    after = train.make(saved.config, saved.recipe, saved.overrides, again, command=train.command_line())
    same = before["state_digest"] == after["state_digest"]
    recipe = recipe_file(saved.recipe)
    metric = (recipe.metric if recipe else None) or experiment.keep.metric
    compared = compare(before, after, _siblings(folder), metric, margin)
    step = None if same else diverged(load.read(folder.path).curves, load.read(again).curves)
    text = verdict(original, same, compared, changes, step)
    report = {"of": str(path), "bitwise": same, "differences": changes, "diverged_at": step, "verdict": text}
    report["metrics"] = {
        metric.name: {
            "before": metric.before,
            "after": metric.after,
            "interval": metric.interval and metric.interval._asdict(),
            "reproduced": metric.agrees,
        }
        for metric in compared
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
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    siblings: Sequence[Mapping[str, Any]] = (),
    judged: str | None = None,
    margin: float | None = None,
) -> list[Compared]:
    """Compares each metric of two results, with its interval for one more run.

    Args:
      before, after: Contents of result.json.
      siblings: Those of runs with other seeds.
      judged: Metric that decides. None or one that `before` lacks: the first.
      margin: Largest accepted difference of it.
    """
    old, new = scalars(before["metrics"]), scalars(after["metrics"])
    others = [scalars(sibling["metrics"]) for sibling in siblings]
    judged = judged if judged in old else next(iter(old), None)
    metrics = []
    for name, value in old.items():
        known = [results[name] for results in (old, *others) if math.isfinite(results.get(name, math.nan))]
        interval = prediction_interval(known)
        metrics.append(Compared(name, value, new.get(name, math.nan), interval, name == judged, margin))
    return metrics


def diverged(before: load.Curves, after: load.Curves) -> int | None:
    """Returns the first step at which losses or metrics of two runs differ; None if no common step does."""
    steps = []
    for name, splits in before.items():
        for split, (own_steps, values) in splits.items():
            other_steps, other_values = after.get(name, {}).get(split, ((), ()))
            other = dict(zip(map(int, other_steps), map(float, other_values)))
            for step, value in zip(map(int, own_steps), map(float, values)):
                if step in other and value != other[step] and not (math.isnan(value) and math.isnan(other[step])):
                    steps.append(step)
                    break
    return min(steps, default=None)


def changed(compared: Sequence[Compared]) -> list[str]:
    """Returns the metrics that differ by more than rounding, although the parameters are equal."""
    return [
        metric.name
        for metric in compared
        if not math.isclose(metric.before, metric.after, rel_tol=1e-5)
        and not (math.isnan(metric.before) and math.isnan(metric.after))
    ]


def verdict(
    then: Mapping[str, Any],
    same: bool,
    compared: Sequence[Compared],
    changes: Sequence[str],
    step: int | None = None,
) -> str:
    """Returns the verdict in a few sentences; `step` is that of `diverged`."""
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
    when = "" if step is None else f" The curves diverge at step {step}."
    return f"{_outcome(next((m for m in compared if m.judged), None))}.{when} {name}, trained again{because}: {values}."


def _outcome(metric: Compared | None) -> str:
    """Returns the verdict on the judged metric of a run that is not bitwise equal."""
    if metric is None:
        return "Cannot judge: not bitwise equal, and the run has no metric"
    if metric.agrees is None:
        return (
            f"Cannot judge: not bitwise equal, and {metric.name} of one seed has no spread; train other seeds beside it"
            " (jaxdl sweep), or give --margin"
        )
    if metric.margin is not None:
        bounds = f"the margin {metric.margin:.6g}"
    elif metric.interval is not None:
        low, high, method = metric.interval
        bounds = f"the 95% interval for one more run, {low:.6g} to {high:.6g} ({method})"
    else:
        return f"Reproduced, but not bitwise: {metric.name} is equal"
    if metric.agrees:
        return f"Reproduced, but not bitwise: {metric.name} is within {bounds}"
    return f"Not reproduced: {metric.name} is outside {bounds}"


def _siblings(folder: RunFolder) -> list[dict[str, Any]]:
    """Returns the results of finished runs in the same parent folder that differ only by their seed.

    Their settings come from config.txt: no code of theirs is imported. A damaged run is named and left out.
    """
    ours, results = folder.settings(), []
    if (url := url_of(folder.path.parent)) is not None and "/" in url.partition("://")[2]:
        local_runs(url)
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
