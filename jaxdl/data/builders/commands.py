"""Commands and the function calls that they ask for: 20,000 + 1,000 + 2,000 generated pairs.

The target is a compact JSON object. Ten functions; the templates, in `commands.txt`, are written by hand. Templates of
validation and test do not occur in training, and neither do a tenth each of the cities, names, labels and messages.
Cities are those of the time zones of the PyPI package `tzdata` 2025.2 (Apache-2.0).

Example: "set an alarm for half past seven tomorrow called gym" and
`{"function":"set_alarm","time":"07:30","day":"tomorrow","label":"gym"}`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder
from jaxdl.data.random import Draws
from jaxdl.data.splits import split_by_hash
from jaxdl.data.store.packages import PyPI

MEMBER = "tzdata/zones"
SOURCE = PyPI("tzdata", "2025.2", {MEMBER: "5027e610a10d1983d286e21fa1fb718f0d34704446cb37f707e81707bb3c1244"})
EXAMPLES = {"train": 20_000, "validation": 1_000, "test": 2_000}
CONTINENTS = ("Africa", "America", "Asia", "Australia", "Europe")
ARGUMENTS: Mapping[str, Sequence[str]] = {
    "set_alarm": ("time", "day", "label"),
    "set_timer": ("minutes", "label"),
    "get_weather": ("city", "day"),
    "send_message": ("name", "text"),
    "add_event": ("label", "day", "time"),
    "convert": ("amount", "from", "to"),
    "set_light": ("room", "state", "level"),
    "book_table": ("people", "city", "day", "time"),
    "find_train": ("from", "to", "day"),
    "call": ("name",),
}
DAYS = ("today", "tomorrow", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ROOMS = ("kitchen", "bedroom", "living room", "hall", "bathroom", "office", "garage", "cellar")
UNITS = (
    ("kilometers", "miles", "meters", "feet", "inches"),
    ("kilograms", "pounds", "grams", "ounces"),
    ("liters", "gallons", "cups", "pints"),
    ("euros", "dollars", "pounds sterling", "yen", "francs"),
)
SPOKEN = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

Draw = Callable[[int], int]  # returns a number below its argument


class Value(NamedTuple):
    """Argument as it is spoken, and its JSON value."""

    spoken: str
    value: Any


class Builder(ExamplesBuilder, skip_registration=True):
    """`source`, a command, and `target`, the call as JSON."""

    name = "commands"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"source": TEXT, "target": TEXT}

    def examples(self) -> dict[str, Any]:
        cities = cities_of((SOURCE.fetch() / MEMBER).read_text(encoding="utf-8"))
        words = sections()["words"]
        lists = {"city": cities, "name": words["names"], "label": labels(words), "text": messages(words)}
        parts = {kind: split_by_hash(values, validation=10, test=10) for kind, values in lists.items()}
        return {
            split: list(pairs(split, {kind: part[split] for kind, part in parts.items()}, count))
            for split, count in EXAMPLES.items()
        }


def pairs(split: str, lists: Mapping[str, Sequence[str]], count: int) -> Iterator[dict[str, str]]:
    """Yields distinct pairs of a split.

    Args:
      split: Split of the templates.
      lists: Values of "city", "name", "label" and "text".
      count: Number of pairs.
    """
    functions = {name: lines[split] for name, lines in sections().items() if name in ARGUMENTS}
    seen, number = set(), 0
    while len(seen) < count:
        numbers = iter(Draws(len(split), np.array([number])).uniform(40)[0].tolist())
        number += 1

        def draw(limit: int, numbers: Iterator[float] = numbers) -> int:
            return int(next(numbers) * limit)

        function = list(functions)[draw(len(functions))]
        template = functions[function][draw(len(functions[function]))]
        source, target = pair(function, template, lists, draw)
        if source not in seen:
            seen.add(source)
            yield {"source": source, "target": target}


def pair(function: str, template: str, lists: Mapping[str, Sequence[str]], draw: Draw) -> tuple[str, str]:
    """Returns a command and its call, with random values of the arguments in the template."""
    values: dict[str, Value] = {}
    family = UNITS[draw(len(UNITS))]
    for name in re.findall(r"\{(\w+)\}", template):
        kind = "city" if function == "find_train" and name in ("from", "to") else name
        value = argument(kind, lists, family, draw)
        while name in ("from", "to") and value in (values.get("from"), values.get("to")):
            value = argument(kind, lists, family, draw)
        values[name] = value
    source = template.format(**{name: value.spoken for name, value in values.items()})
    given = {name: values[name].value for name in ARGUMENTS[function] if name in values}
    return source, json.dumps({"function": function, **given}, separators=(",", ":"))


def argument(kind: str, lists: Mapping[str, Sequence[str]], family: Sequence[str], draw: Draw) -> Value:
    """Returns a random argument."""
    match kind:
        case "time":
            return clock(draw(24), 5 * draw(12), draw(4))
        case "day":
            day = DAYS[draw(len(DAYS))]
            return Value(day if day in DAYS[:2] else f"{('on', 'this', 'next')[draw(3)]} {day}", day)
        case "minutes" | "level" | "amount":
            number = 1 + draw({"minutes": 90, "level": 100, "amount": 500}[kind])
            return Value(str(number), number)
        case "people":
            number = draw(len(SPOKEN))
            return Value(SPOKEN[number] if draw(2) else str(number + 2), number + 2)
        case "from" | "to":
            return _named(family, draw)
        case "room":
            return _named(ROOMS, draw)
        case "state":
            return _named(("on", "off"), draw)
    return _named(lists[kind], draw)


def _named(values: Sequence[str], draw: Draw) -> Value:
    value = values[draw(len(values))]
    return Value(value, value)


def clock(hour: int, minute: int, style: int) -> Value:
    """Returns a time of day in one of the styles 19:30 (0 and 3), 7:30 pm (1), half past seven in the evening (2)."""
    value = f"{hour:02}:{minute:02}"
    if style == 1:
        return Value(f"{(hour - 1) % 12 + 1}:{minute:02} {'am' if hour < 12 else 'pm'}", value)
    if style == 2 and minute in (0, 15, 30, 45):
        words = ["twelve", "one", *SPOKEN[:-1]]
        part = ("at night", "in the morning", "in the afternoon", "in the evening")[sum(hour >= h for h in (5, 12, 18))]
        name = {0: "{} o'clock", 15: "quarter past {}", 30: "half past {}", 45: "quarter to {}"}[minute]
        return Value(f"{name.format(words[(hour + (minute == 45)) % 12])} {part}", value)
    return Value(f"{hour}:{minute:02}", value)


def sections() -> dict[str, dict[str, list[str]]]:
    """Returns the lines of `commands.txt` by section and key; those of words are divided."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            found[section] = {}
        elif line and not line.startswith("#"):
            key, text = line.split(": ", 1)
            found[section].setdefault(key, []).extend(text.split(", ") if section == "words" else [text])
    return found


def cities_of(zones: str) -> list[str]:
    """Returns the cities of time zones such as America/New_York, in lower case and without repetition."""
    parts = [zone.split("/") for zone in zones.split()]
    names = [part[-1].replace("_", " ").replace("-", " ").lower() for part in parts if part[0] in CONTINENTS]
    return list(dict.fromkeys(name for name in names if re.fullmatch("[a-z]{3,}( [a-z]+)*", name)))


def labels(words: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns occasions, and activities with their objects."""
    return [*words["occasions"], *(f"{do} {thing}" for do in words["activities"] for thing in words["things"])]


def messages(words: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns short messages."""
    return [f"{subject} {state}" for subject in words["subjects"] for state in words["states"]]
