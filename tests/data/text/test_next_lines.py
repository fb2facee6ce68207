"""Pairs of contexts and next lines."""

import pytest

from jaxdl.data.source import ColumnSource, read_texts, text_column
from jaxdl.data.text.next_lines import NextLines
from jaxdl.errors import UserError


class Texts:
    def __init__(self, **columns):
        self.columns = columns

    def load(self):
        return ColumnSource({name: text_column(texts) for name, texts in self.columns.items()}, "fingerprint")


BODY = "if x:\n    y = 1\n\n    return y\nreturn 0"


def pairs(**settings):
    source = NextLines(Texts(source=["def f(x):", ""], target=[BODY, "only"]), **settings).load()
    return list(zip(*read_texts(source, ("source", "target")).values()))


def test_each_line_follows_its_context():
    assert pairs() == [
        ("def f(x):", "if x:"),
        ("def f(x):\nif x:", "y = 1"),
        ("def f(x):\nif x:\n    y = 1\n", "return y"),
        ("def f(x):\nif x:\n    y = 1\n\n    return y", "return 0"),
    ]
    assert [line for _, line in pairs(head=None)] == ["y = 1", "return y", "return 0"]


@pytest.mark.parametrize(
    ("characters", "context"),
    [
        (29, "if x:\n    y = 1\n\n    return y"),
        (28, "    y = 1\n\n    return y"),
        (23, "    y = 1\n\n    return y"),
        (12, "    return y"),
        (5, "urn y"),
    ],
)
def test_long_contexts_begin_with_a_whole_line(characters, context):
    assert pairs(characters=characters)[-1][0] == context


def test_settings_and_texts_without_pairs_are_refused():
    with pytest.raises(UserError, match=r"NextLines.characters is 0"):
        NextLines(Texts(), characters=0)
    with pytest.raises(UserError, match="has a line after another"):
        NextLines(Texts(source=[""], target=["one"])).load()
    fingerprints = {NextLines(Texts(source=["a"], target=["b"]), characters=n).load().fingerprint for n in (1, 2)}
    assert len(fingerprints) == 2
