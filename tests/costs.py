"""CPU seconds of the laws, at the end of a test run: per law, and the most expensive recipes."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_PROPERTY = "cost of a law"
_RECIPES = 10


@contextmanager
def measured(item: pytest.Item) -> Iterator[None]:
    """Measures the test of a law; its report carries the figure to the process that prints the summary."""
    start = time.process_time()
    try:
        yield
    finally:
        function: Any = item
        parameters = function.callspec.params if hasattr(item, "callspec") else {}
        if {"recipe", "law"} <= parameters.keys():
            cost = (parameters["recipe"], parameters["law"].name, time.process_time() - start)
            item.user_properties.append((_PROPERTY, cost))


def summary(reports: Iterable[Any]) -> list[str]:
    """Returns the lines of the summary of test reports, none without laws."""
    laws, recipes = Counter[str](), Counter[str]()
    for report in reports:
        for name, value in report.user_properties:
            if name == _PROPERTY:
                recipe, law, seconds = value
                laws[law] += seconds
                recipes[recipe] += seconds
    if not laws:
        return []
    by_law = ", ".join(f"{law} {seconds:.0f}" for law, seconds in laws.most_common())
    rows = [f"{seconds:6.1f}  {recipe}" for recipe, seconds in recipes.most_common(_RECIPES)]
    return [f"{laws.total():.0f} s in {len(recipes)} recipes: {by_law}", *rows]
