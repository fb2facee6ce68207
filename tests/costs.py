"""CPU seconds of the tests, at the end of a test run: the most expensive files, the laws, and their recipes."""

import resource
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_PROPERTY = "cost"
_ROWS = 10


@contextmanager
def measured(item: pytest.Item) -> Iterator[None]:
    """Measures a phase of a test; its report carries the figures to the process that prints the summary."""
    start, cpu = time.perf_counter(), _cpu_seconds()
    try:
        yield
    finally:
        function: Any = item
        parameters = function.callspec.params if hasattr(item, "callspec") else {}
        law = (parameters["recipe"], parameters["law"].name) if {"recipe", "law"} <= parameters.keys() else None
        file = item.nodeid.partition("::")[0]
        item.user_properties.append((_PROPERTY, (file, law, _cpu_seconds() - cpu, time.perf_counter() - start)))


def _cpu_seconds() -> float:
    """Returns the CPU time of this process and of those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def summary(reports: Iterable[Any]) -> list[str]:
    """Returns the lines of the summary; each test has one report, of its last phase."""
    files, waits, laws, recipes = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for report in reports:
        for name, value in report.user_properties:
            if name == _PROPERTY:
                file, law, seconds, wall = value
                files[file] += seconds
                waits[file] += wall
                if law is not None:
                    recipes[law[0]] += seconds
                    laws[law[1]] += seconds
    lines = [f"{files.total():.0f} s in {len(files)} files, and wall seconds"]
    lines += [f"{seconds:6.1f} {waits[file]:6.1f}  {file}" for file, seconds in files.most_common(3 * _ROWS)]
    if laws:
        by_law = ", ".join(f"{law} {seconds:.0f}" for law, seconds in laws.most_common())
        lines.append(f"laws: {laws.total():.0f} s in {len(recipes)} recipes: {by_law}")
        lines += [f"{seconds:6.1f}  {recipe}" for recipe, seconds in recipes.most_common(_ROWS)]
    return lines
