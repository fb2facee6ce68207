"""Chit-Chat: 4,017 conversations between pairs of strangers.

`dataset.json` of the PyPI package `chitchat-dataset` 0.9.0 (BYU PCCL, "The Chit-Chat Dataset", 2018-2020), MIT licence.
A conversation is one text with a line per turn, in which consecutive messages of a speaker are joined by spaces.
Conversations of one turn are omitted (7,168 in total). Train has 3,761 (11.4 million characters, 126,443 turns),
validation 130, test 126, split by a hash of the conversation's number.
"""

import json
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder
from jaxdl.data.splits import split_by_hash
from jaxdl.data.store.packages import PyPI

MEMBER = "chitchat_dataset/dataset.json"
SOURCE = PyPI("chitchat-dataset", "0.9.0", {MEMBER: "d2a5d0bf6acf354fef51f3af39cbece2220d3b8f6086b658c3d335105798312a"})


class Builder(ExamplesBuilder, skip_registration=True):
    """`text`, one conversation."""

    name = "chit_chat"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"text": TEXT}

    def examples(self) -> dict[str, Any]:
        texts = conversations(SOURCE.fetch() / MEMBER)
        parts = split_by_hash(texts, validation=3, test=3)
        return {part: [{"text": texts[number]} for number in numbers] for part, numbers in parts.items()}


def conversations(path: Path) -> dict[str, str]:
    """Returns the text of each conversation by its number, terminated by an empty line."""
    texts = {}
    for number, conversation in sorted(json.loads(path.read_bytes()).items()):
        turns: list[tuple[str, list[str]]] = []
        for message in (message for turn in conversation["messages"] for message in turn):
            content = " ".join(message["text"].split())
            if content and turns and turns[-1][0] == message["sender"]:
                turns[-1][1].append(content)
            elif content:
                turns.append((message["sender"], [content]))
        if len(turns) > 1:
            texts[number] = "\n".join(" ".join(content) for _, content in turns) + "\n\n"
    return texts
