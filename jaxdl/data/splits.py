"""The split syntax of TFDS: `train`, `train[:55000]`, `train[80%:]`, `train[:10%]+test`."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from jaxdl.errors import UserError, nearest

_BOUND = r"-?\d[\d_]*(?:(?:\.\d+)?%)?"
_PART = re.compile(rf"(?P<name>[\w.-]+)(?P<slice>\[(?P<start>{_BOUND})?:(?P<stop>{_BOUND})?\])?")


class Range(NamedTuple):
    """The examples `start` up to, not including, `stop` of the split `name`."""

    name: str
    start: int
    stop: int


def parse_split(split: str, counts: Mapping[str, int], owner: str) -> tuple[Range, ...]:
    """The parts of `split`, in order.

    Args:
      split: parts joined by `+`; bounds are example numbers or percentages, negative ones count from the end. `all`
        stands for all splits one after the other.
      counts: how many examples each split has.
      owner: the data set's name, for the message.

    Raises:
      UserError: not this syntax, no such split, or a part that is empty or reaches beyond the split.
    """
    parts: list[Range] = []
    for text in split.split("+"):
        match = _PART.fullmatch(text.strip())
        if match is None:
            raise UserError(
                f"'{split}' is no split of {owner}; write like train, train[:55000], train[80%:], train+test"
            )
        name = match["name"]
        if name == "all" and "all" not in counts and match["slice"] is None:
            parts += [Range(each, 0, count) for each, count in counts.items()]
            continue
        if name not in counts:
            raise UserError(f"{owner} has no split '{name}'; {nearest(name, counts)}")
        start = _bound(match["start"], 0, counts[name])
        stop = _bound(match["stop"], counts[name], counts[name])
        if not 0 <= start < stop <= counts[name]:
            raise UserError(
                f"'{text.strip()}' of {owner} selects nothing or too much: {name} has {counts[name]} examples"
            )
        parts.append(Range(name, start, stop))
    return tuple(parts)


def _bound(text: str | None, default: int, count: int) -> int:
    if text is None:
        return default
    value = round(float(text[:-1]) * count / 100) if text.endswith("%") else int(text)
    return value + count if value < 0 else value
