"""Ledger of recorded results, experiments/results.csv: one row per metric of a finished run.

`jaxdl list`, the README's table and the docstrings of recipes are generated from it. Rows of recipes that were removed
since stay in it.
"""

import csv
import io
import json
import math
import os
import re
import shlex
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from jaxdl.config.recipes import recipes
from jaxdl.config.text import observes, selects
from jaxdl.errors import UserError
from jaxdl.runs.files import write_atomically
from jaxdl.runs.folder import RunFolder, share_of_time
from jaxdl.runs.git import GitError, git

NONE_RECORDED = "none recorded yet"


@dataclass(frozen=True)
class Row:
    """One line of results.csv.

    Attributes:
      recipe: File of the recipe, relative to the repository's root.
      split: Data set and split of the metric.
      metric: "EVAL/NAME", for example "test/accuracy".
      value: Value in result.json; NaN if it was not finite.
      seed: Seed of the run.
      device: Device kind, with the count if there are several: "8 x NVIDIA H100".
      minutes: Wall time of the run.
      commit: Commit of the code.
      command: Command line without --workdir.
      date: Day on which the run ended, UTC, ISO 8601.
      steps: Training steps done.
      overrides: `--set` flags that change results, except the seed. Headline results have none.
      digest: First 16 digits of the final state's SHA-256. A run is recorded once.
      selected: Step of the scored checkpoint with `Experiment.select="best"`. None: the last step.
      tflop: TFLOP of the training steps, without evaluations. None: not counted, as in older rows.
      gflops: GFLOP/s of a float32 matrix product on one device of the machine, see
        `jaxdl.distributed.hardware.matrix_gflops`. None: not measured, as in older rows.
    """

    recipe: str
    split: str
    metric: str
    value: float
    seed: int
    device: str
    minutes: float
    commit: str
    command: str
    date: str
    steps: int
    overrides: str
    digest: str
    selected: int | None = None
    tflop: float | None = None
    gflops: float | None = None


@dataclass(frozen=True)
class Summary:
    """The headline result of a recipe over its seeds; `std` is None for one seed, `tflop` if a seed has none.

    `values` are the results of the seeds, `digests` are those of the final states of its runs, as in `Row`.
    """

    recipe: str
    split: str
    metric: str
    values: tuple[float, ...]
    mean: float
    std: float | None
    seeds: int
    device: str
    minutes: float
    tflop: float | None
    digests: tuple[str, ...]

    @property
    def cost(self) -> str:
        """Seeds, time, work and device: "3 seeds, 6.1 min, 45 TFLOP on NVIDIA H100"."""
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        spent = [seeds, f"{minutes(self.minutes)} min", *([] if self.tflop is None else [f"{tflop(self.tflop)} TFLOP"])]
        return f"{', '.join(spent)} on {self.device}"


def results_path(root: Path) -> Path:
    return root / "experiments" / "results.csv"


def read(root: Path) -> list[Row]:
    """Reads results.csv, [] if it does not exist. Raises UserError if it or a line cannot be read."""
    path = results_path(root)
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}); restore it from git") from error
    rows = []
    for number, line in enumerate(csv.DictReader(io.StringIO(text, newline="")), start=2):
        try:
            rows.append(Row(**{field.name: _cell(line, field) for field in fields(Row)}))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}:{number} is not a recorded result ({error!r}); correct the line") from error
    return rows


def _cell(line: Mapping[str, str], field: Field) -> Any:
    """Returns a value of a line; None for an empty or missing one of a column that older files do not have."""
    if field.default is MISSING:
        return field.type(line[field.name])  # type: ignore[operator]
    text = line.get(field.name)
    return get_args(field.type)[0](text) if text else None


def record(run: str | os.PathLike, root: Path) -> list[Row]:
    """Appends the metrics of a finished run to results.csv: of its `test` evaluation or, without one, of all.

    Args:
      run: Run folder.
      root: Root of the repository. Its working tree must be clean except for results.csv.

    Returns:
      The added rows.

    Raises:
      UserError: A run that is unfinished, recorded already, not of a recipe under `root/experiments`, or that no commit
        reproduces: uncommitted changes then or now, or code or configuration that changed between attempts.
    """
    folder = RunFolder.open(run)
    result = folder.result()
    if result is None:
        raise UserError(f"{run} is not finished (no result.json); run its command again to resume it")
    manifest = folder.manifest()
    recipe, commit = _recipe(manifest, run, root), _commit(manifest, run)
    before = read(root)
    digest = str(result["state_digest"])[:16]
    for number, row in enumerate(before, start=2):
        # A later commit may evaluate the same weights differently.
        if (row.digest, row.recipe, row.commit) == (digest, recipe, commit):
            raise UserError(f"{run} is recorded already, in line {number} of {results_path(root)}")
    _require_clean(root)
    scores = result["metrics"]
    evals = ["test"] if "test" in scores else list(scores)
    ends = [attempt["end"] for attempt in manifest["attempts"] if attempt["end"]]
    rows = [
        Row(
            recipe=recipe,
            split=_split(manifest["datasets"].get(name, {})),
            metric=metric,
            value=value,
            seed=int(manifest["seed"]),
            device=device_name(manifest["devices"]),
            minutes=round(share_of_time(result) / 60, 2),
            commit=commit,
            command=_command(manifest["command"]),
            date=max(ends, default="")[:10],
            steps=int(result["step"]),
            overrides=_overrides(folder),
            digest=digest,
            selected=result.get("selected_step"),
            tflop=result.get("tflop"),
            gflops=result.get("gflops"),
        )
        for name in evals
        for metric, value in scalars({name: scores[name]}).items()
    ]
    if not rows:
        raise UserError(f"{run} has no metric in its result.json; add an evaluation or a test set to the recipe")
    _write(results_path(root), [*before, *rows])
    return rows


def summarize(rows: Iterable[Row], headlines: Mapping[str, str | None] | None = None) -> dict[str, Summary]:
    """Computes the headline result of each recipe.

    It covers the rows without overrides that have the device, data split (any part of it) and number of steps of the
    recipe's newest row; of each seed, the newest.

    Args:
      rows: Rows as returned by `read`, oldest first.
      headlines: {recipe: metric}. A recipe without an entry reports its first recorded metric.
    """
    headlines = headlines or {}
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if not row.overrides:
            groups.setdefault(row.recipe, []).append(row)
    results = {}
    for recipe, group in groups.items():
        metric = headlines.get(recipe) or group[0].metric
        group = [row for row in group if row.metric == metric]
        if group:
            results[recipe] = _summary(group)
    return results


def summaries(root: Path) -> dict[str, Summary]:
    """Returns `summarize` of results.csv with each recipe's METRIC, without recipes that were removed."""
    metrics = {recipe.name: recipe.metric for recipe in recipes(root)}
    return summarize((row for row in read(root) if row.recipe in metrics), metrics)


def scalars(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Returns {"EVAL/NAME": value} of a result's scalar metrics; NaN where not finite."""
    return {
        f"{split}/{name}": math.nan if value is None else float(value)
        for split, values in metrics.items()
        for name, value in values.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }


def figure(value: float, std: float | None = None) -> str:
    """Formats a value: three decimals around 1, three significant digits below 0.1, fewer decimals above 10.

    A value just below 1 gets enough decimals not to be rounded to 1: 0.9996, not 1.000.
    """
    if not math.isfinite(value):
        return str(value)
    size = math.floor(math.log10(abs(value))) if value else 0
    decimals = 3 if size in (-1, 0) else 2 - size if size < 0 else max(0, 3 - size)
    while decimals < 6 and value < 1 and round(value, decimals) == 1:
        decimals += 1
    return f"{value:.{decimals}f}" + (f" +- {std:.{decimals}f}" if std is not None else "")


def minutes(value: float) -> str:
    """Formats minutes: "6.1", or "0.04" below one minute."""
    return f"{value:.1f}" if value >= 0.95 else f"{value:.2f}"


def tflop(value: float) -> str:
    """Formats TFLOP with two significant digits, or as an integer above 10."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _summary(rows: list[Row]) -> Summary:
    """Summarizes rows of one recipe and metric."""
    newest = rows[-1]
    like = [row for row in rows if _comparable(row) == _comparable(newest)]
    last = list({row.seed: row for row in like}.values())
    values, work = [row.value for row in last], [row.tflop for row in last if row.tflop is not None]
    return Summary(
        recipe=newest.recipe,
        split=newest.split if len({row.split for row in last}) == 1 else _whole(newest.split),
        metric=newest.metric,
        values=tuple(values),
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None,
        seeds=len(values),
        device=newest.device,
        minutes=statistics.fmean(row.minutes for row in last),
        tflop=statistics.fmean(work) if len(work) == len(last) else None,
        digests=tuple(row.digest for row in last),
    )


def _comparable(row: Row) -> tuple[str, str, int, bool]:
    """Returns the key of rows that share a mean; under cross-validation, each seed has another part of the split."""
    return row.device, _whole(row.split), row.steps, row.selected is not None


def _whole(split: str) -> str:
    """Removes the slice from a split's name: "digits train[:20%]" -> "digits train"."""
    return re.sub(r"\[[^]]*\]", "", split)


def _recipe(manifest: Mapping[str, Any], run: str | os.PathLike, root: Path) -> str:
    if not manifest["recipe"]:
        raise UserError(f"{run} has no recipe file; only results of recipes under {root / 'experiments'} are recorded")
    recipe = Path(manifest["recipe"])
    if recipe.is_absolute() and recipe.is_relative_to(root):
        recipe = recipe.relative_to(root)
    if recipe.is_absolute() or recipe.parts[0] != "experiments" or not (root / recipe).is_file():
        raise UserError(f"{run} ran {recipe}; only results of recipes under {root / 'experiments'} are recorded")
    return recipe.as_posix()


def _commit(manifest: Mapping[str, Any], run: str | os.PathLike) -> str:
    code = manifest["code"]
    if code["commit"] is None:
        raise UserError(f"{run} ran outside of a git repository; run it again from a commit")
    if code["dirty"]:
        raise UserError(f"{run} ran with uncommitted changes; commit them and run it again")
    for attempt in manifest["attempts"]:
        changed = sorted({"code", "config_fingerprint", "datasets"} & attempt.get("changed", {}).keys())
        if changed:
            raise UserError(f"{run} was resumed with another {changed[0]}; run it again from step 0")
    return code["commit"]


def _require_clean(root: Path) -> None:
    """Refuses a working tree with changed tracked files or untracked Python files."""
    top = Path(_git(root, "rev-parse", "--show-toplevel").rstrip("\n"))
    changes = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    for entry in filter(None, changes.split("\0")):
        state, name = entry[:2], entry[3:]
        if top / name != results_path(root) and (state != "??" or name.endswith(".py")):
            raise UserError(f"{name} has uncommitted changes; commit them before recording results")


def _git(root: Path, *arguments: str) -> str:
    try:
        return git(root, *arguments)
    except GitError as error:
        raise UserError(f"results are recorded in a git checkout, but {error}") from error


def _split(dataset: Mapping[str, Any]) -> str:
    return " ".join(str(dataset[key]) for key in ("name", "split") if dataset.get(key))


def device_name(devices: Mapping[str, Any]) -> str:
    """Formats a manifest's `devices`: "8 x NVIDIA H100", or a CPU model with its number of cores."""
    kind = devices["kind"]
    if devices["platform"] == "cpu" and devices.get("cpu_cores"):
        cores = devices["cpu_cores"]
        kind = f"{kind} ({cores} core{'s' if cores > 1 else ''})"
    return kind if devices["count"] == 1 else f"{devices['count']} x {kind}"


def _overrides(folder: RunFolder) -> str:
    """Returns the overrides that change results, without the seed."""
    given = json.loads(folder.config())["overrides"]
    names = [(text.partition("=")[0].strip(), text) for text in given]
    chosen = selects(folder.settings())
    return shlex.join(text for name, text in names if name != "seed" and not observes(name, chosen))


def _command(words: Iterable[str]) -> str:
    """Returns the command line without the run folder, which does not change results and may be private."""
    return shlex.join(word for word in words if not word.startswith(("--workdir", "-workdir")))


def _write(path: Path, rows: Iterable[Row]) -> None:
    buffer = io.StringIO()
    names = [field.name for field in fields(Row)]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)  # None as an empty cell
    write_atomically(path, buffer.getvalue())
