"""TypeScript and JavaScript pairs: tokens, statements, alignment, edits."""

import shutil
from typing import Any

import flax.linen as nn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.builders._typescript import (
    declared,
    kept,
    of_package,
    pairs,
    statements,
    tokens_of,
)
from jaxdl.data.synthetic.text import MockEdits
from jaxdl.data.text.edits import Edits
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.metrics.javascript import accepted
from jaxdl.tasks.text_editing import TextEditing
from jaxdl.viz.tagging import edited_text

TYPESCRIPT = """
import { Thing } from './thing'; // a comment
/** Says "so" */
export function add<T>(a: T): T;
export function add<T>(a: T, b?: number): T {
  const text = 'a // b' + `c ${a}`;
  return { a, text } as any;
}
interface Shape { area(): number; }
export const one: number = 1;
export class Plane implements Shape { area() { return 2; } }
"""
JAVASCRIPT = """
import { Thing } from './thing';
export function add(a, b) {
    const text = 'a // b' + `c ${a}`;
    return { a, text };
}
export const one = 1;
export class Plane { area() { return 2; } }
"""


def test_tokens_exclude_comments_and_keep_strings_whole():
    tokens = tokens_of("f(x) // no\n => `a ${b} c`; /* no */ 'it\\'s' ?? a?.b ... 1.5e3")
    assert tokens == [
        *("f", "(", "x", ")", "=>", "`a\u00a0${b}\u00a0c`", ";", "'it\\'s'", "??", "a", "?.", "b", "...", "1.5e3")
    ]


def test_statements_are_paired_by_their_declared_name():
    parsed = list(statements(tokens_of(TYPESCRIPT)))
    assert [declared(statement) for statement in parsed] == [None, None, "add", None, "one", "Plane"]
    assert sum(map(len, parsed)) == len(tokens_of(TYPESCRIPT))
    examples = pairs(TYPESCRIPT, JAVASCRIPT)
    assert [target.split()[:3] for _, target in examples] == [
        ["export", "function", "add"],
        ["export", "const", "one"],
        ["export", "class", "Plane"],
    ]
    for source, target in examples:
        stays, complete = kept(source.split(" "), target.split(" "))
        assert complete
        assert [word for word, stay in zip(source.split(" "), stays) if stay] == target.split(" ")


@given(st.lists(st.sampled_from("abc"), max_size=12), st.data())
def test_kept_tokens_form_the_target(source, data):
    stay = data.draw(st.lists(st.booleans(), min_size=len(source), max_size=len(source)))
    target = [word for word, is_kept in zip(source, stay) if is_kept]
    actual, complete = kept(source, target)
    assert complete
    assert [word for word, is_kept in zip(source, actual) if is_kept] == target
    assert not kept(source, [*target, "new"])[1]


def test_a_package_has_pairs_by_file(tmp_path):
    for folder, text in (("src", TYPESCRIPT), ("dist/esm", JAVASCRIPT)):
        (tmp_path / folder / "inner").mkdir(parents=True)
        (tmp_path / folder / "inner" / ("a.ts" if folder == "src" else "a.js")).write_text(text)
    (tmp_path / "src" / "alone.ts").write_text(TYPESCRIPT)
    found = of_package(tmp_path, "src", "dist/esm")
    assert set(found.values()) == {"inner/a.ts"}
    assert len(found) == 3


def test_edits_label_tokens_as_kept_or_dropped():
    corpus = MockEdits(examples=20)
    source = Edits(corpus, Vocabulary(BPE(60), corpus, ("source",)), 40).load()
    columns, texts = source.columns, corpus.load().columns
    assert columns["whole"].all()
    for row in range(20):
        example = {name: columns[name][row] for name in ("tokens", "tokens_length", "label")}
        assert edited_text(example, example["label"], source.names) == texts["target"][row].decode()
        assert edited_text(example, np.ones(40), source.names) == texts["source"][row].decode()
    cut = Edits(corpus, Vocabulary(BPE(60), corpus, ("source",)), 5).load()
    np.testing.assert_array_equal(cut.columns["whole"], columns["tokens_length"] <= 5)


def test_truncated_code_is_a_warning(capsys):
    corpus = MockEdits(examples=20)
    edits = Edits(corpus, Vocabulary(BPE(60), corpus, ("source",)), 40)
    text = corpus.load().columns["source"][0].decode()
    edits.read((), [text], {})
    assert capsys.readouterr().err == ""
    edits.read((), [text * 9], {})
    assert "tokens, and those after the first 40 are ignored; pass it in parts" in capsys.readouterr().err


def test_a_text_is_correct_if_all_its_words_are():
    task = TextEditing(nn.Dense(2), accepted=lambda texts: float(np.mean([text == "a" for text in texts])))
    names: Any = {"tokens": [*"....", "a", " b"], "label": ("drop", "keep")}
    records = {
        "tokens": np.array([[4, 5], [4, 5], [4, 5]]),
        "tokens_length": np.array([2, 2, 2]),
        "label": np.array([[1, 0], [1, 0], [1, 0]]),
        "predicted": np.array([[1, 0], [1, 1], [1, 0]]),
        "whole": np.array([1, 1, 0]),
    }
    scores = task.score(records, {}, names)
    assert scores == {"exact_match": pytest.approx(1 / 3), "accepted": pytest.approx(2 / 3)}


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not here")
def test_node_accepts_valid_code():
    assert accepted(["export const a = 1;", "const a: number = 1;", "export function f ( x ) { return x ?. y ; }"]) == (
        pytest.approx(2 / 3)
    )
    assert accepted([]) is None
