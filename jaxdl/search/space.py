"""Search spaces of a hyperparameter search."""

import re
from collections.abc import Sequence
from typing import Any

from jaxdl.config.grids import split_values
from jaxdl.errors import UserError

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::(log|{_NUMBER}))?")


def distributions(space: Sequence[str]) -> dict[str, Any]:
    """Parses the search space into Optuna's distribution of each name.

    An entry is NAME=LOW..HIGH, integer if both bounds are; NAME=LOW..HIGH:STEP; NAME=LOW..HIGH:log for a log-uniform
    distribution; or NAME=VALUE,VALUE,... for a categorical one.

    Raises:
      UserError: An entry has another form, a name occurs twice, or the space is empty.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    axes: dict[str, Any] = {}
    for text in space:
        name, _, right = text.partition("=")
        name, right = name.strip(), right.strip()
        if name in axes:
            raise UserError(f"--space has '{name}' twice; give all its values in one")
        form = _RANGE.fullmatch(right)
        values = [] if form else split_values(right)
        try:
            if not name or not all(values):
                raise ValueError("a name or a value is missing")
            if form:
                low, high, step = form.groups()
                integer = low.lstrip("+-").isdecimal() and high.lstrip("+-").isdecimal()
                options: dict[str, Any] = {"log": step == "log"}
                if step and step != "log":
                    options["step"] = int(step) if integer else float(step)
                if integer:
                    axes[name] = IntDistribution(int(low), int(high), **options)
                else:
                    axes[name] = FloatDistribution(float(low), float(high), **options)
            else:
                axes[name] = CategoricalDistribution(values)
        except ValueError as error:
            raise UserError(
                f"--space={text} is not a range: {' '.join(str(error).split())}; write NAME=1e-4..1e-2:log,"
                " NAME=16..64:16 or NAME=VALUE,VALUE"
            ) from None
    if not axes:
        raise UserError("--trials needs --space=NAME=LOW..HIGH, the settings to search")
    return axes


def corners(axes: dict[str, Any]) -> list[list[str]]:
    """Returns the NAME=VALUE overrides of the first and of the last point of a space."""
    ends = {name: getattr(axis, "choices", None) or (axis.low, axis.high) for name, axis in axes.items()}
    return [[f"{name}={values[index]}" for name, values in ends.items()] for index in (0, -1)]
