"""The split syntax of TFDS: `train`, `train[:55000]`, `train[80%:]`, `train[:10%]+test`."""

import hashlib
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


def fold(split: str, number: int, of: int) -> tuple[str, str]:
    """The training and the test part of one fold of cross-validation, as split strings.

    The test parts of all folds partition the split, and of each fold the two parts do, whatever the number of
    examples: both sides of a cut are written by the same percentage. Sizes differ by at most one example.

    Args:
      split: a split's name, such as `train`.
      number: which fold, from 0.
      of: how many folds, 2 or more; at most as many as there are examples, or `parse_split` finds an empty one.

    Returns:
      For example `fold("train", 2, 5) == ("train[:40%]+train[60%:]", "train[40%:60%]")`.

    Raises:
      UserError: no such fold, or `split` is more than a name.
    """
    match = _PART.fullmatch(split)
    if match is None or match["slice"] is not None or split == "all":
        raise UserError(f"cannot cut '{split}' into folds; give the name of one split, such as train")
    if of < 2:
        raise UserError(f"cross-validation needs 2 folds or more, not {of}")
    if not 0 <= number < of:
        raise UserError(f"there is no fold {number} of {of}; they are numbered from 0 to {of - 1}")
    start = _percentage(number, of) if number else ""
    stop = _percentage(number + 1, of) if number + 1 < of else ""
    around = [f"{split}[:{start}]"] if start else []
    around += [f"{split}[{stop}:]"] if stop else []
    return "+".join(around), f"{split}[{start}:{stop}]"


def _percentage(number: int, of: int) -> str:
    """`number` / `of` in percent, to ten decimals: exact to an example up to a billion of them."""
    return f"{100 * number / of:.10f}".rstrip("0").rstrip(".") + "%"


def _bound(text: str | None, default: int, count: int) -> int:
    if text is None:
        return default
    value = round(float(text[:-1]) * count / 100) if text.endswith("%") else int(text)
    return value + count if value < 0 else value


PARTS = ("train", "validation", "test")


def part_of(key: str, validation: int, test: int) -> str:
    """ "train", "validation" or "test": the same for the same key always, whatever else is in the data set.

    Args:
      key: what must not be in two parts: a file's path, a caption, a text.
      validation, test: about how many keys of 100 go there; the rest is for training.
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % 100
    if number < test:
        return "test"
    return "validation" if number < test + validation else "train"
