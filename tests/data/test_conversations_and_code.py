"""Builders of conversations, functions and tagged tweets."""

import ast
import importlib
import json

import pytest

from jaxdl.data.store.tfds import tensorflow_datasets

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
chit_chat = importlib.import_module("jaxdl.data.builders.chit_chat")
python_functions = importlib.import_module("jaxdl.data.builders.python_functions")
tweets_entities = importlib.import_module("jaxdl.data.builders.tweets_entities")


def message(sender, text):
    return {"sender": sender, "text": text, "timestamp": "2018"}


def test_each_turn_is_one_line(tmp_path):
    path = tmp_path / "dataset.json"
    conversations = {
        "b": {
            "messages": [[message(1, "hi"), message(1, " how\nare you? ")], [message(2, "fine")], [message(2, "you")]]
        },
        "a": {"messages": [[message(1, "anyone here?")]]},
        "c": {"messages": [[message(1, ""), message(2, "yes")], [message(1, "no")]]},
    }
    path.write_text(json.dumps(conversations))
    assert chit_chat.conversations(path) == {"b": "hi how are you?\nfine you\n\n", "c": "yes\nno\n\n"}


SOURCE = '''
def add(first, second: int = 0) -> int:
    """Adds two
    numbers.

    At length.
    """
    # a comment
    return first + second


def plain(x):
    if x:
        return 1
    return 2


@cached
def decorated(x):
    return x


def empty():
    """Nothing else."""


class Shape:
    def area(self, scale):
        """The area."""
        return self.width * scale


def long(x):
    return [{}]
'''.format(", ".join(["x"] * 300))


def test_functions_are_pairs_of_signature_and_body(tmp_path):
    package = tmp_path / "shapes"
    package.mkdir()
    (package / "plane.py").write_text(SOURCE)
    (package / "broken.py").write_text("def (")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "left_out.py").write_text("def f(x):\n    return x")
    (tmp_path / "single.py").write_text(
        "def plain(x):\n    if x:\n        return 1\n    return 2\n\ndef g():\n    pass"
    )
    pairs = python_functions.functions(tmp_path)
    assert {function.source: module for function, module in pairs.items()} == {
        "def add(first, second: int=0) -> int:\nAdds two numbers.": "shapes",
        "def plain(x):": "shapes",
        "def area(self, scale):\nThe area.": "shapes",
        "def g():": "single",
    }
    bodies = {function.source.split("(")[0]: function.target for function in pairs}
    assert bodies["def add"] == "return first + second"
    assert bodies["def plain"] == "if x:\n    return 1\nreturn 2"
    for function in pairs:
        head = function.source.split("\n")[0]
        ast.parse(head + "\n" + "\n".join(f"    {line}" for line in function.target.split("\n")))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_sentences_have_a_tag_for_each_word(tmp_path, end):
    path = tmp_path / "ner.txt"
    path.write_text(end.join(["Empire\tB-facility", "State\tI-facility", ".\tO", "\t", "I\tO", "\t", "I\tO", ""]))
    assert tweets_entities.sentences(path) == {"Empire State .": "B-facility I-facility O", "I": "O"}
