"""Slot filling without a network on the data set `commands`: `python -m benchmarks.call_baselines [SPLIT]`.

Prints the fraction of exact calls of two methods, which know the templates of training and the forms of times, days and
numbers:

- templates: the first training template that matches as a regular expression; no call without one.
- templates and keywords: otherwise the template with the most similar words; typed arguments are searched in the whole
  command, and open ones follow the word before them in the template.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.dataset import Dataset
from jaxdl.data.store.tfds import tensorflow_datasets

HOURS = ("twelve", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
PART = "at night|in the (?:morning|afternoon|evening)"
DAY = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
TIME = rf"\d{{1,2}}:\d\d(?: am| pm)?|(?:half past|quarter past|quarter to) [a-z]+ (?:{PART})|[a-z]+ o'clock (?:{PART})"
WORDS = r"[a-z]+(?: [a-z]+)*"
TYPED = {
    "time": TIME,
    "day": f"today|tomorrow|(?:on |this |next )(?:{DAY})",
    "minutes": r"\d+",
    "level": r"\d+",
    "amount": r"\d+",
    "people": rf"\d+|{'|'.join(HOURS[2:])}|twelve",
    "state": "on|off",
}


class Template(NamedTuple):
    """Training template with its function and its compiled pattern."""

    function: str
    text: str
    pattern: re.Pattern


def value_of(name: str, text: str) -> Any:
    """Returns the JSON value of an argument as it is spoken."""
    if name == "time":
        return clock(text)
    if name == "day":
        return text.split()[-1]
    if name in ("minutes", "level", "amount", "people"):
        return int(text) if text.isdigit() else (HOURS.index(text) or 12)
    return text


def clock(text: str) -> str:
    """Returns HH:MM of a spoken time of day."""
    digits = re.match(r"(\d+):(\d+) ?(am|pm)?", text)
    if digits:
        hour = int(digits[1]) % 12 + 12 * (digits[3] == "pm") if digits[3] else int(digits[1])
        return f"{hour:02}:{digits[2]}"
    words = text.split()
    name = words[0] if words[1] == "o'clock" else words[2]
    hour = HOURS.index(name) if name in HOURS else 0
    minute = {"half": 30, "quarter": 15}.get(words[0], 0)
    if words[1] == "to":
        hour, minute = (hour - 1) % 12, 45
    afternoon = words[-1] in ("afternoon", "evening")
    return f"{hour + 12 * afternoon:02}:{minute:02}"


def templates(sections: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[Template]:
    """Returns the templates of training."""
    found = []
    for function in arguments:
        for text in sections[function]["train"]:
            parts = re.split(r"\{(\w+)\}", text)
            pieces = [
                f"(?P<{part}>{TYPED.get(part, WORDS)})" if number % 2 else re.escape(part)
                for number, part in enumerate(parts)
            ]
            found.append(Template(function, text, re.compile("".join(pieces))))
    return found


def by_template(command: str, known: list[Template]) -> dict[str, Any] | None:
    """Returns the call of the first template that matches the whole command."""
    for template in known:
        match = template.pattern.fullmatch(command)
        if match:
            values = {name: value_of(name, text) for name, text in match.groupdict().items()}
            return {"function": template.function, **values}
    return None


def by_keywords(command: str, known: list[Template]) -> dict[str, Any]:
    """Returns the call of the template with the most similar words."""
    words = set(command.split())

    def similarity(template: Template) -> float:
        literal = set(re.sub(r"\{\w+\}", "", template.text).split())
        return 2 * len(literal & words) / (len(literal) + len(words))

    best = max(known, key=similarity)
    call: dict[str, Any] = {"function": best.function}
    names = re.findall(r"\{(\w+)\}", best.text)
    rest = command
    for name in (name for name in names if name in TYPED):
        match = re.search(rf"\b(?:{TYPED[name]})\b", rest)
        if match:
            call[name] = value_of(name, match[0])
            rest = rest[: match.start()] + "|" + rest[match.end() :]
    literal = set(re.sub(r"\{\w+\}", "", best.text).split()) | {"|"}
    for name in (name for name in names if name not in TYPED):
        before = best.text.split("{" + name + "}")[0].split()
        tokens = rest.split()
        start = len(tokens) - tokens[::-1].index(before[-1]) if before and before[-1] in tokens else 0
        taken = []
        for token in tokens[start:]:
            if token in literal:
                break
            taken.append(token)
        call[name] = " ".join(taken)
    return call


def main(split: str = "test") -> None:
    source = Dataset("commands", split).load()
    batch = source.read(np.arange(len(source)))
    commands = [text.decode() for text in batch["source"]]
    calls = [json.loads(text) for text in batch["target"]]
    tensorflow_datasets()
    from jaxdl.data.builders import commands as data

    known = templates(data.sections(), data.ARGUMENTS)
    methods: dict[str, Callable[[str], Any]] = {
        "templates": lambda text: by_template(text, known),
        "templates and keywords": lambda text: by_template(text, known) or by_keywords(text, known),
    }
    for name, method in methods.items():
        exact = np.mean([method(text) == call for text, call in zip(commands, calls)])
        print(f"commands {split}  {name:24} exact calls {exact:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
