"""Runs of equal configuration and code, and the arguments by which they differ from others."""

import ast
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl.config.text import ABSENT, changes, observes, selects
from jaxdl.report.load import Run, is_seed

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def typed(run: Run) -> dict[str, str]:
    """Returns {name: value} of the overrides that affect results, without the seed."""
    pairs = (text.partition("=") for text in run.overrides)
    values = {name.strip(): _plain(value.strip()) for name, _, value in pairs}
    chosen = selects(run.settings)
    return {name: value for name, value in values.items() if not is_seed(name) and not observes(name, chosen)}


def rank(run: Run, arguments: Mapping[str, str]) -> tuple:
    """Returns the sort key: runs without overrides first, then by the numbers in values."""
    values = [([float(digits) for digits in _NUMBER.findall(value)], value) for value in arguments.values()]
    return bool(typed(run)), values, run.started


def clusters(runs: Iterable[Run]) -> list[list[Run]]:
    """Returns lists of runs with equal code and either equal configurations or equal overrides.

    With equal code, equal overrides give configurations that differ only in values derived from the seed, such as the
    fold of a cross-validation.
    """
    groups: list[list[Run]] = []
    known: dict[Any, list[Run]] = {}
    for run in runs:
        code = _code(run)
        keys: list[Any] = [(code, tuple(setting for setting in run.settings if not is_seed(setting.path)))]
        if code is not None:
            keys.append((code, tuple(sorted(typed(run).items()))))
        group = next((known[key] for key in keys if key in known), None)
        if group is None:
            alike = (members for members in groups if _code(members[0]) == code)
            group = next((members for members in alike if not changed_settings(members[0], run)), None)
        if group is None:
            group = []
            groups.append(group)
        group.append(run)
        for key in keys:
            known.setdefault(key, group)
    return groups


def _code(run: Run) -> str | None:
    """Returns a text that is equal for equal code; None if it is unknown, as for a recipe outside of the commit.

    A run that was resumed with other code or another configuration is equal to no other.
    """
    if run.mixed:
        return str(run.folder)
    if run.modules is not None:
        return " ".join(f"{name}={digest}" for name, digest in run.modules.items())
    return run.commit if run.commit and not run.dirty and not Path(run.recipe).is_absolute() else None


def changed_settings(a: Run, b: Run) -> list[tuple[str, str, str]]:
    """Returns (path, value in a, value in b) of the settings that affect results, without the seed."""
    return [row for row in changes(a.settings, b.settings) if not is_seed(row[0])]


def varied(groups: Sequence[Sequence[Run]]) -> list[dict[str, str]]:
    """Returns {name: value} of the varied arguments for each group.

    Overrides come first, then paths whose differences no override explains. Of paths that vary together only the
    shortest is listed.
    """
    firsts = [group[0] for group in groups]
    configs = [{setting.path: setting.value for setting in run.settings} for run in firsts]
    columns: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for run in firsts for name in typed(run)):
        values = _values(name, [typed(run).get(name) for run in firsts], configs)
        if len(set(values)) > 1:
            columns[name] = values
    explained = list(zip(*columns.values())) or [()] * len(groups)
    seen = set()
    paths = dict.fromkeys(row[0] for run in firsts[1:] for row in changed_settings(firsts[0], run))
    for path in sorted(paths, key=lambda path: (path.count(".") + path.count("["), path)):
        values = [_plain(config.get(path, ABSENT)) for config in configs]
        pattern = tuple(values.index(value) for value in values)
        if len(set(zip(explained, values))) > len(set(explained)) and pattern not in seen:
            columns[path] = values
        seen.add(pattern)
    codes = ["mixed" if run.mixed else hashlib.sha256((_code(run) or "").encode()).hexdigest()[:7] for run in firsts]
    if len(set(zip(explained, codes))) > len(set(explained)) and len(set(zip(*columns.values()))) < len(groups):
        columns["code"] = codes
    names = _short(list(columns))
    return [{names[name]: values[index] for name, values in columns.items()} for index in range(len(groups))]


def _values(name: str, given: Sequence[str | None], configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns an override's value in each group.

    Where it was not given, the value comes from the argument with the given values in the other groups; one of the
    same name is preferred.
    """
    if None in given:
        paths = {path: None for config in configs for path in config}
        for path in sorted(paths, key=lambda path: (path.split(".")[-1] != name.split(".")[-1], len(path))):
            values = [_plain(config.get(path, ABSENT)) for config in configs]
            if len(set(values)) > 1 and all(value in (None, own) for value, own in zip(given, values)):
                return values
    return ["(not given)" if value is None else value for value in given]


def _plain(text: str) -> str:
    """Returns a literal as text: strings without quotes, numbers in Python's notation."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, str) else repr(value)


def _short(paths: Sequence[str]) -> dict[str, str]:
    """Returns {path: shortest suffix that is unique among `paths`}."""
    names_of = {}
    for path in paths:
        parts = path.split(".")
        names = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in paths if other != path]
        names_of[path] = next(name for name in names if not any(f".{other}".endswith(f".{name}") for other in others))
    return names_of
