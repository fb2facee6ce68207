"""Axes of the grids of sweeps."""

import itertools
import math
import re
from collections.abc import Sequence

from jaxdl.errors import UserError

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
MOST = 10_000  # runs of a grid


def points(grid: Sequence[str]) -> list[list[str]]:
    """Returns the NAME=VALUE overrides of each point of a grid; the last axis varies fastest.

    An axis is NAME=VALUE,VALUE,..., or NAME=FIRST..LAST for integers including both bounds, or
    NAME,NAME=(VALUE,VALUE),... for joint values.

    Raises:
      UserError: An axis has another form, or a name or a value of an axis occurs twice.
    """
    count = math.prod(_count(text.partition("=")[2].strip()) for text in grid)
    if count > MOST:
        raise UserError(f"--grid has {count:,} runs, more than {MOST:,}; give fewer values, or search with --trials=N")
    axes, names = [], []
    for text in grid:
        left, equals, right = text.partition("=")
        heads = [name.strip() for name in left.split(",")]
        values = split_values(right.strip())
        if not equals or not all(heads) or not values or not all(values):
            raise UserError(
                f"--grid={text} is not an axis; write --grid=NAME=VALUE,VALUE or --grid=seed=0..4, or for joint values"
                " --grid=NAME,NAME=(VALUE,VALUE),(VALUE,VALUE)"
            )
        if twice := [value for value in values if values.count(value) > 1]:
            raise UserError(f"--grid={text} has {twice[0]} twice; give each value once")
        if len(heads) == 1:
            axes.append([[f"{heads[0]}={value}"] for value in values])
        else:
            joint = [_tuple(text, value, heads) for value in values]
            axes.append([[f"{name}={value}" for name, value in zip(heads, point)] for point in joint])
        names += heads
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--grid has '{twice[0]}' twice; give all its values in one")
    return [list(itertools.chain(*point)) for point in itertools.product(*axes)]


def _count(text: str) -> int:
    """Returns the number of values of an axis, without listing a range."""
    bounds = _RANGE.fullmatch(text)
    return max(0, int(bounds[2]) - int(bounds[1]) + 1) if bounds else len(split_values(text))


def split_values(text: str) -> list[str]:
    """Splits the values of an axis: a range, or text separated by commas outside of brackets and quotes."""
    if bounds := _RANGE.fullmatch(text):
        first, last = int(bounds[1]), int(bounds[2])
        if last < first:
            raise UserError(f"the range {text} is empty; write {last}..{first}")
        return [str(value) for value in range(first, last + 1)]
    values, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        else:
            depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and not depth and not quote:
            values.append("")
        else:
            values[-1] += sign
    return [value.strip() for value in values]


def _tuple(axis: str, text: str, names: Sequence[str]) -> list[str]:
    values = split_values(text[1:-1]) if text.startswith("(") and text.endswith(")") else []
    if len(values) != len(names):
        raise UserError(f"--grid={axis}: '{text}' needs a value for each of {', '.join(names)}; write (VALUE,VALUE)")
    return values
