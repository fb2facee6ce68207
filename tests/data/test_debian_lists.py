"""Debian lists: records, descriptions, answer positions."""

import importlib
import tarfile

import numpy as np
import pytest

from jaxdl.data.builders._debian import (
    Description,
    descriptions,
    plain,
    questions,
    stanzas,
)
from jaxdl.data.dataset import Dataset
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import DebianLists, content_digest
from jaxdl.data.store.tfds import tensorflow_datasets

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here

LONG = "This is a long description that says in many words what package number {} is good for."


@pytest.fixture
def lists(tmp_path):
    """Folder with both lists: 300 packages from 100 sources."""
    folder = tmp_path / "lists"
    folder.mkdir()
    packages, texts = [], []
    for number in range(300):
        name, source = f"lib{number}", f"lib{number // 3 * 3}"
        origin = "" if name == source else f"Source: {source} (1.2)\n"
        packages.append(
            f"Package: {name}\n{origin}Version: 1.{number}-3+b1\nMaintainer: A <a@b.example>\nArchitecture: amd64\n"
            f"Depends: libc6 (>= 2.34), {'x' * 200}\nDescription: library {number}\nSection: libs\n"
        )
        texts.append(
            f"Package: {name}\nDescription-md5: 0\nDescription-en: library {number}\n {LONG.format(number)}\n .\n"
            f"  * one thing\n  - another\n"
        )
    (folder / "Packages").write_text("\n".join(packages))
    (folder / "Translation-en").write_text("\n".join(texts))
    return folder


def test_records_are_fields_by_name(tmp_path):
    path = tmp_path / "list"
    path.write_text("A: 1\nB: two: 2\n more\n .\n\n\nA: 3")
    assert list(stanzas(path)) == [{"A": "1", "B": "two: 2\nmore\n."}, {"A": "3"}]


def test_a_description_becomes_running_text():
    assert plain("a tool\nIt is a\ntool.\n.\n * for this\n - and that\nthe end - really") == Description(
        "It is a tool. for this and that the end - really", "a tool"
    )
    assert plain("only this") == Description("", "only this")


def test_parts_are_by_source(lists):
    parts = descriptions(lists)
    assert sum(map(len, parts.values())) == 300
    for part in PARTS:
        for record in parts[part]:
            number = int(record.short.split()[1])
            assert part_of(f"lib{number // 3 * 3}", 2, 2) == part
            assert record.long == LONG.format(number) + " one thing another"


def test_answers_are_at_their_positions(lists):
    parts = questions(lists)
    records = [record for part in parts.values() for record in part]
    assert len(records) == 300
    for record in records:
        assert record.text[record.start : record.start + len(record.answer)] == record.answer
        assert f": {record.answer}" in record.text
        assert "Maintainer" not in record.text
        assert "x" * 200 not in record.text
    assert len({record.question.split()[0] for record in records}) >= 4
    assert parts == questions(lists)


def test_the_built_sets_match_the_lists(lists, tmp_path, monkeypatch):
    offered = tmp_path / "offered"
    offered.mkdir()
    with tarfile.open(offered / "debian-lists.tar", "w") as archive:
        archive.add(lists, "lists")
    monkeypatch.setenv("JAXDL_SOURCES", str(offered))
    members = {name: content_digest(lists / name) for name in ("Packages", "Translation-en")}
    for name in ("debian_descriptions", "debian_questions"):
        module = importlib.import_module(f"jaxdl.data.builders.{name}")
        monkeypatch.setattr(module, "LISTS", DebianLists(members))
        count = sum(len(Dataset(name, part).load()) for part in PARTS)
        assert count == 300
    row = Dataset("debian_questions", "train").load().read(np.array([0]))
    text, start, answer = row["text"][0].decode(), int(row["start"][0]), row["answer"][0].decode()
    assert text[start : start + len(answer)] == answer
