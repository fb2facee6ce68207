"""TFDS split syntax: `train`, `train[:55000]`, `train[80%:]`, `train[:10%]+test`."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from jaxdl.errors import UserError, nearest

T = TypeVar("T")

_BOUND = r"-?\d[\d_]*(?:(?:\.\d+)?%)?"

_PART = re.compile(rf"(?P<name>[\w.-]+)(?P<slice>\[(?P<start>{_BOUND})?:(?P<stop>{_BOUND})?\])?")


class Range(NamedTuple):
    """Examples `start` (inclusive) to `stop` (exclusive) of the split `name`."""

    name: str
    start: int
    stop: int


def parse_split(split: str, counts: Mapping[str, int], owner: str) -> tuple[Range, ...]:
    """Parses a split into ranges, in order.

    Args:
      split: Parts joined by `+`. Bounds are example numbers or percentages; negative ones count from the end. `all`
        concatenates all splits.
      counts: Number of examples per split.
      owner: Name of the data set, for error messages.

    Returns:
      For example `parse_split("train[90%:]", {"train": 50}, "digits") == (Range("train", 45, 50),)`.

    Raises:
      UserError: The syntax or the split is unknown, or a part is empty or exceeds the split.
    """
    parts: list[Range] = []
    for text in split.split("+"):
        match = _PART.fullmatch(text.strip())
        if match is None:
            raise UserError(
                f"'{split}' is not a valid split of {owner}; use e.g. train, train[:55000], train[80%:], train+test"
            )
        name = match["name"]
        if name == "all" and "all" not in counts and match["slice"] is None:
            parts += [Range(split_name, 0, count) for split_name, count in counts.items()]
            continue
        if name not in counts:
            raise UserError(f"{owner} has no split '{name}'; {nearest(name, counts)}")
        start = _bound(match["start"], 0, counts[name])
        stop = _bound(match["stop"], counts[name], counts[name])
        if not 0 <= start < stop <= counts[name]:
            raise UserError(f"'{text.strip()}' of {owner} is empty or out of range; {name} has {counts[name]} examples")
        parts.append(Range(name, start, stop))
    return tuple(parts)


def fold(split: str, number: int, of: int) -> tuple[str, str]:
    """Returns the training and test part of one cross-validation fold, as split strings.

    The test parts of all folds partition the split, as do the two parts of each fold, because both sides of a boundary
    use the same percentage. Fold sizes differ by at most one example.

    Args:
      split: Name of a split, such as `train`.
      number: Number of the fold, from 0.
      of: Number of folds, at least 2 and at most the number of examples.

    Returns:
      For example `fold("train", 2, 5) == ("train[:40%]+train[60%:]", "train[40%:60%]")`.

    Raises:
      UserError: The fold does not exist, or `split` is not a plain name.
    """
    match = _PART.fullmatch(split)
    if match is None or match["slice"] is not None or split == "all":
        raise UserError(f"'{split}' cannot be divided into folds; use the name of one split, such as train")
    if of < 2:
        raise UserError(f"cross-validation needs at least 2 folds; got {of}")
    if not 0 <= number < of:
        raise UserError(f"fold {number} of {of} does not exist; use 0 to {of - 1}")
    start = _percentage(number, of) if number else ""
    stop = _percentage(number + 1, of) if number + 1 < of else ""
    around = [f"{split}[:{start}]"] if start else []
    around += [f"{split}[{stop}:]"] if stop else []
    return "+".join(around), f"{split}[{start}:{stop}]"


def _percentage(number: int, of: int) -> str:
    """Returns `number` / `of` in percent with ten decimals, exact for up to a billion examples."""
    return f"{100 * number / of:.10f}".rstrip("0").rstrip(".") + "%"


def _bound(text: str | None, default: int, count: int) -> int:
    if text is None:
        return default
    value = round(float(text[:-1]) * count / 100) if text.endswith("%") else int(text)
    return value + count if value < 0 else value


PARTS = ("train", "validation", "test")


def part_of(key: str, validation: int, test: int) -> str:
    """Assigns a key to "train", "validation" or "test" by its hash, independently of other keys.

    Args:
      key: Unit that must not be in two parts, such as a file path or a text.
      validation, test: Expected percentage of keys in each part. The rest is for training.
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % 100
    if number < test:
        return "test"
    return "validation" if number < test + validation else "train"


def split_by_hash(
    items: Iterable[T], key: Callable[[T], str] = str, *, validation: int, test: int
) -> dict[str, list[T]]:
    """Divides items into the parts of `part_of` by their keys, in order."""
    by_part: dict[str, list[T]] = {part: [] for part in PARTS}
    for item in items:
        by_part[part_of(key(item), validation, test)].append(item)
    return by_part
