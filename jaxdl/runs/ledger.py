"""experiments/results.csv: the one place where results are recorded, a row a metric of a finished run.

What is told of results elsewhere (`launch.py list`, the README's table, the docstrings of recipes) is made from it.
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
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jaxdl.config.experiment import observes
from jaxdl.config.recipes import RecipeFile, recipes
from jaxdl.errors import UserError
from jaxdl.runs.files import write_atomically
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.git import GitError, git

NONE_RECORDED = "none recorded yet"


@dataclass(frozen=True)
class Row:
    """One line of results.csv.

    Attributes:
      recipe: its file, from the repository's root.
      split: the data set and split that the metric was computed on.
      metric: "EVAL/NAME", for example "test/accuracy".
      value: as in result.json; NaN where it was not finite.
      seed: the run's.
      device: what it ran on, "8 x NVIDIA H100" where there were several.
      minutes: wall-clock time of the run.
      commit: of the code that made it.
      command: as typed, without --workdir.
      date: the day the run ended, UTC, ISO 8601.
      steps: the step that was scored.
      overrides: the --set flags that changed the numbers, the seed's aside; headline results have none.
      digest: the beginning of the final state's SHA-256: the same run is recorded once.
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


@dataclass(frozen=True)
class Summary:
    """The headline result of a recipe.

    Attributes:
      recipe: its file, from the repository's root.
      split: the data set and split of the metric.
      metric: "EVAL/NAME".
      mean: over seeds.
      std: sample standard deviation over seeds; None for one seed.
      seeds: how many.
      device: what the runs ran on.
      minutes: mean wall-clock time of a run.
    """

    recipe: str
    split: str
    metric: str
    mean: float
    std: float | None
    seeds: int
    device: str
    minutes: float


def results_path(root: Path) -> Path:
    return root / "experiments" / "results.csv"


def read(root: Path) -> list[Row]:
    """The rows of results.csv, [] where there is no such file. Raises UserError for a line that is not a row."""
    path = results_path(root)
    if not path.exists():
        return []
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Row)}
    rows = []
    with open(path, newline="") as file:
        for number, line in enumerate(csv.DictReader(file), start=2):
            try:
                rows.append(Row(**{name: kind(line[name]) for name, kind in kinds.items()}))
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{path}:{number} is no recorded result ({error!r}); mend the line") from error
    return rows


def record(run: str | os.PathLike, root: Path) -> list[Row]:
    """Appends the metrics of a finished run to results.csv: those of its `test` eval or, without one, of all evals.

    Args:
      run: the run folder.
      root: the repository; its working tree must be clean but for results.csv.

    Returns:
      the rows that were added.

    Raises:
      UserError: an unfinished run, one that is recorded already, one whose recipe is not under `root/experiments`, or
        one that no commit makes again: a working tree with changes then or now, code or configuration that changed
        between its attempts.
    """
    folder = RunFolder.open(run)
    result = folder.result()
    if result is None:
        raise UserError(f"{run} is not finished (no result.json); run its command again to go on with it")
    manifest = folder.manifest()
    recipe, commit = _recipe(manifest, run, root), _commit(manifest, run)
    before = read(root)
    digest = str(result["state_digest"])[:16]
    for number, row in enumerate(before, start=2):
        # A later commit may score the same weights in another way.
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
            metric=f"{name}/{metric}",
            value=math.nan if value is None else float(value),
            seed=int(manifest["seed"]),
            device=device_name(manifest["devices"]),
            minutes=round(result["seconds"] / 60, 2),
            commit=commit,
            command=_command(manifest["command"]),
            date=max(ends, default="")[:10],
            steps=int(result["step"]),
            overrides=_overrides(folder),
            digest=digest,
        )
        for name in evals
        for metric, value in scores[name].items()
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    ]
    if not rows:
        raise UserError(f"{run} has no metric to record in its result.json; give the recipe an eval or a test set")
    _write(results_path(root), [*before, *rows])
    return rows


def summarize(rows: Iterable[Row], headlines: Mapping[str, str | None] | None = None) -> dict[str, Summary]:
    """The headline result of every recipe among the rows.

    Rows with overrides do not count. Of the others count those on the device, data split (whichever part of it) and
    number of steps of the recipe's newest row, and of every seed the newest.

    Args:
      rows: oldest first, as `read` gives them.
      headlines: {recipe: the metric to report}; a recipe without one reports the first that was recorded.
    """
    headlines = headlines or {}
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if not row.overrides:
            groups.setdefault(row.recipe, []).append(row)
    found = {}
    for recipe, group in groups.items():
        metric = headlines.get(recipe) or group[0].metric
        group = [row for row in group if row.metric == metric]
        if group:
            found[recipe] = _summary(group)
    return found


def summaries(root: Path) -> dict[str, Summary]:
    """`summarize` of results.csv, with the metric that each recipe's METRIC names."""
    return summarize(read(root), {recipe.name: recipe.metric for recipe in recipes(root)})


def headline(summary: Summary) -> str:
    """For example "0.937 +- 0.002 test accuracy, 3 seeds, 6.1 min on NVIDIA H100": what a docstring's Result says."""
    metric = summary.metric.replace("/", " ").replace("_", " ")
    seeds = "1 seed" if summary.seeds == 1 else f"{summary.seeds} seeds"
    return f"{figure(summary.mean, summary.std)} {metric}, {seeds}, {minutes(summary.minutes)} min on {summary.device}"


def docstring_headline(recipe: RecipeFile) -> str | None:
    """What follows `Result:` in a recipe's docstring, up to an empty line or the next `Word:`; None without one."""
    lines = [line.strip() for line in recipe.docstring.splitlines()]
    starts = [index for index, line in enumerate(lines) if line.startswith("Result:")]
    if not starts:
        return None
    words = [lines[starts[0]].removeprefix("Result:")]
    for line in lines[starts[0] + 1 :]:
        if not line or line.split()[0].endswith(":"):
            break
        words.append(line)
    return " ".join(" ".join(words).split())


def disagreements(root: Path) -> list[str]:
    """For every recipe whose docstring does not say what is recorded, a line that says what it must say."""
    found = summaries(root)
    lines = []
    for recipe in recipes(root):
        wanted = headline(found[recipe.name]) if recipe.name in found else NONE_RECORDED
        if docstring_headline(recipe) != wanted:
            lines.append(f"{recipe.name}: the docstring must say `Result: {wanted}`")
    return lines


def readme_table(root: Path) -> str:
    """Recorded results as a Markdown table, a recipe a row; "" where there are none."""
    found = summaries(root)
    lines = []
    for recipe in recipes(root):
        if recipe.name not in found:
            continue
        summary = found[recipe.name]
        cells = (
            f"[{recipe.title.replace('|', '/')}]({recipe.name})",
            summary.split,
            summary.metric.replace("_", " "),
            figure(summary.mean, summary.std),
            str(summary.seeds),
            minutes(summary.minutes),
            summary.device,
        )
        lines.append(f"| {' | '.join(cells)} |\n")
    if not lines:
        return ""
    names = ("Recipe", "Data", "Metric", "Result", "Seeds", "Minutes", "Device")
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}\n" + "".join(lines)


def figure(value: float, std: float | None = None) -> str:
    """A figure for people: three decimals around 1, three significant digits below 0.1, fewer decimals above 10.

    A share just below 1 has as many decimals as show that it is below: 0.9996 is no 1.000.
    """
    if not math.isfinite(value):
        return str(value)
    size = math.floor(math.log10(abs(value))) if value else 0
    decimals = 3 if size in (-1, 0) else 2 - size if size < 0 else max(0, 3 - size)
    while decimals < 6 and value < 1 and round(value, decimals) == 1:
        decimals += 1
    return f"{value:.{decimals}f}" + (f" +- {std:.{decimals}f}" if std is not None else "")


def minutes(value: float) -> str:
    """Minutes for people: "6.1", and "0.04" for seconds."""
    return f"{value:.1f}" if value >= 0.95 else f"{value:.2f}"


def _summary(rows: list[Row]) -> Summary:
    """Of rows with one recipe and metric."""
    newest = rows[-1]
    like = [row for row in rows if _comparable(row) == _comparable(newest)]
    last = list({row.seed: row for row in like}.values())
    values = [row.value for row in last]
    return Summary(
        recipe=newest.recipe,
        split=newest.split if len({row.split for row in last}) == 1 else _whole(newest.split),
        metric=newest.metric,
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None,
        seeds=len(values),
        device=newest.device,
        minutes=statistics.fmean(row.minutes for row in last),
    )


def _comparable(row: Row) -> tuple[str, str, int]:
    """What rows must agree in to make one mean: in cross-validation each seed has another part of the split."""
    return row.device, _whole(row.split), row.steps


def _whole(split: str) -> str:
    """A split's name without what is cut out of it: "made train[:20%]" -> "made train"."""
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
        raise UserError(f"{run} ran outside of a git repository: no commit makes its result again")
    if code["dirty"]:
        raise UserError(f"{run} ran with changes that were not committed; commit them and run it again")
    for attempt in manifest["attempts"]:
        changed = sorted({"code", "config_fingerprint", "datasets"} & attempt.get("changed", {}).keys())
        if changed:
            raise UserError(f"{run} went on with another {changed[0]} than it began with; run it again from its start")
    return code["commit"]


def _require_clean(root: Path) -> None:
    """Refuses a working tree with changes: in tracked files, and Python files that are not tracked."""
    top = Path(_git(root, "rev-parse", "--show-toplevel").rstrip("\n"))
    changes = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    for entry in filter(None, changes.split("\0")):
        state, name = entry[:2], entry[3:]
        if top / name != results_path(root) and (state != "??" or name.endswith(".py")):
            raise UserError(f"{name} has changes that are not committed; commit them before recording results")


def _git(root: Path, *arguments: str) -> str:
    try:
        return git(root, *arguments)
    except GitError as error:
        raise UserError(f"results are recorded in a git checkout, but {error}") from error


def _split(dataset: Mapping[str, Any]) -> str:
    return " ".join(str(dataset[key]) for key in ("name", "split") if dataset.get(key))


def device_name(devices: Mapping[str, Any]) -> str:
    """Of a manifest's `devices`: "8 x NVIDIA H100", or a CPU's name with its number of cores."""
    kind = devices["kind"]
    if devices["platform"] == "cpu" and devices.get("cpu_cores"):
        cores = devices["cpu_cores"]
        kind = f"{kind} ({cores} core{'s' if cores > 1 else ''})"
    return kind if devices["count"] == 1 else f"{devices['count']} x {kind}"


def _overrides(folder: RunFolder) -> str:
    """Those that change the numbers, as typed, without the seed."""
    given = json.loads(folder.config())["overrides"]
    names = [(text.partition("=")[0].strip(), text) for text in given]
    return shlex.join(text for name, text in names if name != "seed" and not observes(name))


def _command(words: Iterable[str]) -> str:
    """The command as typed, without where it wrote: that changes no number and names somebody's folders."""
    return shlex.join(word for word in words if not word.startswith(("--workdir", "-workdir")))


def _write(path: Path, rows: Iterable[Row]) -> None:
    buffer = io.StringIO()
    names = [field.name for field in fields(Row)]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    write_atomically(path, buffer.getvalue())
