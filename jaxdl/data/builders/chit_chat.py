"""Chit-chat: 4,017 conversations between two people who do not know each other.

The file `dataset.json` in the package `chitchat-dataset` 0.9.0 (BYU PCCL, "The Chit-Chat Dataset", 2018-2020), MIT
licence. A conversation is a text, and a turn a line of it: what its speaker wrote before the other one answered, with a
space between messages. Of 7,168 conversations those of one turn are left out. 3,761 are to train on (11.4 million
characters, 126,443 turns), 130 for validation and 126 for the test.

The hash of its number says which part a conversation is in.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import PyPI

MEMBER = "chitchat_dataset/dataset.json"
SOURCE = PyPI("chitchat-dataset", "0.9.0", {MEMBER: "d2a5d0bf6acf354fef51f3af39cbece2220d3b8f6086b658c3d335105798312a"})


class Builder(ExamplesBuilder, skip_registration=True):
    """`text`."""

    name = "chit_chat"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        found = conversations(SOURCE.fetch() / MEMBER)
        return {part: _examples(found, part) for part in PARTS}


def conversations(path: Path) -> dict[str, str]:
    """The text of each conversation, by its number; an empty line ends it."""
    found = {}
    for number, conversation in sorted(json.loads(path.read_bytes()).items()):
        turns: list[tuple[str, list[str]]] = []
        for message in (message for turn in conversation["messages"] for message in turn):
            said = " ".join(message["text"].split())
            if said and turns and turns[-1][0] == message["sender"]:
                turns[-1][1].append(said)
            elif said:
                turns.append((message["sender"], [said]))
        if len(turns) > 1:
            found[number] = "\n".join(" ".join(said) for _, said in turns) + "\n\n"
    return found


def _examples(found: dict[str, str], part: str) -> Iterator[tuple[int, dict[str, str]]]:
    own = [text for number, text in found.items() if part_of(number, validation=3, test=3) == part]
    for number, text in enumerate(own):
        yield number, {"text": text}
