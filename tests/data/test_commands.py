import dataclasses
import hashlib
import importlib
import json
import zipfile

import numpy as np
import pytest

from jaxdl.data.dataset import Dataset
from jaxdl.data.store.tfds import tensorflow_datasets

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
commands = importlib.import_module("jaxdl.data.builders.commands")
CITIES = [f"Europe/Town_{letter}{other}" for letter in "abcdefgh" for other in "abcdefgh"]


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Puts a wheel with 64 cities into JAXDL_SOURCES, and reduces the splits."""
    content = "\n".join(CITIES).encode()
    with zipfile.ZipFile(tmp_path / "tzdata-2025.2-py2.py3-none-any.whl", "w") as file:
        file.writestr(commands.MEMBER, content)
    monkeypatch.setenv("JAXDL_SOURCES", str(tmp_path))
    members = {commands.MEMBER: hashlib.sha256(content).hexdigest()}
    monkeypatch.setattr(commands, "SOURCE", dataclasses.replace(commands.SOURCE, members=members))
    monkeypatch.setattr(commands, "EXAMPLES", {"train": 400, "validation": 100, "test": 200})


def read(split):
    source = Dataset("commands", split).load()
    batch = source.read(np.arange(len(source)))
    return [text.decode() for text in batch["source"]], [json.loads(text) for text in batch["target"]]


def test_splits_share_no_template_and_no_open_value(prepared):
    values = {}
    for split, count in (("train", 400), ("validation", 100), ("test", 200)):
        sources, calls = read(split)
        assert len(set(sources)) == len(calls) == count
        assert {call["function"] for call in calls} == set(commands.ARGUMENTS)
        values[split] = {call[name] for call in calls for name in ("city", "name", "label", "text") if name in call}
    assert not values["train"] & values["test"]
    assert not values["train"] & values["validation"]
    templates = [{line for name in commands.ARGUMENTS for line in commands.sections()[name][split]} for split in values]
    assert not templates[0] & templates[1]
    assert not templates[0] & templates[2]


def test_values_occur_in_the_command(prepared):
    for source, call in zip(*read("train")):
        for name in ("city", "name", "label", "text", "from", "to", "room"):
            assert call.get(name, "") in source
        assert list(call) == ["function", *(name for name in commands.ARGUMENTS[call["function"]] if name in call)]
        assert call.get("from", "a") != call.get("to", "b")


@pytest.mark.parametrize(
    ("hour", "minute", "style", "spoken", "value"),
    [
        (19, 30, 0, "19:30", "19:30"),
        (0, 5, 1, "12:05 am", "00:05"),
        (12, 0, 1, "12:00 pm", "12:00"),
        (7, 30, 2, "half past seven in the morning", "07:30"),
        (15, 45, 2, "quarter to four in the afternoon", "15:45"),
        (23, 45, 2, "quarter to twelve in the evening", "23:45"),
        (0, 15, 2, "quarter past twelve at night", "00:15"),
        (7, 40, 2, "7:40", "07:40"),
    ],
)
def test_times_of_day(hour, minute, style, spoken, value):
    assert commands.clock(hour, minute, style) == (spoken, value)


def test_cities_are_the_last_part_of_zones():
    zones = "America/Argentina/Buenos_Aires\nEtc/GMT+5\nAmerica/New_York\nAmerica/St_Johns\nUS/Eastern\nAsia/Tokyo"
    assert commands.cities_of(zones) == ["buenos aires", "new york", "st johns", "tokyo"] or commands.cities_of(
        zones
    ) == ["buenos aires", "new york", "tokyo"]
