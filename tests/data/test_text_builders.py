import dataclasses
import gzip
import importlib
import io
import struct
import tarfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.builders import _libreoffice
from jaxdl.data.builders._libreoffice import Pair
from jaxdl.data.dataset import Dataset
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import content_digest, tree_digest
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
austen = importlib.import_module("jaxdl.data.builders.austen")
movie_reviews = importlib.import_module("jaxdl.data.builders.movie_reviews")
libreoffice_de = importlib.import_module("jaxdl.data.builders.libreoffice_de")
libreoffice_fr = importlib.import_module("jaxdl.data.builders.libreoffice_fr")


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """Folder JAXDL_SOURCES."""
    folder = tmp_path / "offered"
    folder.mkdir()
    monkeypatch.setenv("JAXDL_SOURCES", str(folder))
    return folder


def rows(name, split):
    """Reads examples with texts as str."""
    source = Dataset(name, split).load()
    examples = [source.read(np.array([index])) for index in range(len(source))]
    plain = [{key: value[0] for key, value in example.items()} for example in examples]
    return [{key: v.decode() if isinstance(v, bytes) else v for key, v in row.items()} for row in plain]


def keys_of(part, validation=10, test=10):
    """Yields distinct keys of a part without end."""
    return (key for key in (f"key {n}" for n in range(10**9)) if part_of(key, validation, test) == part)


def test_parts_have_their_fractions_and_depend_on_the_key_only():
    parts = [part_of(f"{number}", validation=5, test=10) for number in range(4000)]
    shares = [parts.count(part) / 4000 for part in PARTS]
    np.testing.assert_allclose(shares, [0.85, 0.05, 0.10], atol=0.02)
    assert parts == [part_of(f"{number}", validation=5, test=10) for number in range(4000)]
    assert {part_of(f"{number}", validation=0, test=0) for number in range(500)} == {"train"}
    assert part_of("a penguin.", validation=10, test=10) == "train"  # the prepared sets depend on this hash


# Austen


def lazy_load(folder, variables):
    """Writes an R lazy-load database: `Rdata.rdx` and `Rdata.rdb`."""
    rdata = pytest.importorskip("rdata")
    index, content = {}, b""
    for name, lines in variables.items():
        rdata.write_rds(folder / "value.rds", np.array(lines))
        value = gzip.decompress((folder / "value.rds").read_bytes())
        chunk = struct.pack(">I", len(value)) + zlib.compress(value)
        index[name] = np.array([len(content), len(chunk)], np.int32)
        content += chunk
    (folder / "value.rds").unlink()
    rdata.write_rds(folder / "Rdata.rdx", {"variables": index, "references": {}, "compressed": np.array([True])})
    (folder / "Rdata.rdb").write_bytes(content)


NOVELS = {name: [f"{title}, line {n}" for n in range(200)] for name, title in austen.TITLES.items()}


def test_novels_are_read_from_an_r_database(tmp_path):
    novels = {"persuasion": ["Persuasion", "", "£10 a year"], "emma": ["EMMA"]}
    lazy_load(tmp_path, novels)
    database = austen.read_lazy_load(tmp_path / "Rdata.rdx", tmp_path / "Rdata.rdb")
    assert {name: list(lines) for name, lines in database.items()} == novels


@given(st.lists(st.text("ab c", max_size=3), min_size=100))
def test_splits_of_a_novel_partition_it_at_line_ends(lines):
    text = "\n".join(lines)
    parts = austen.cut(text)
    assert list(parts) == list(PARTS)
    assert "".join(parts.values()) == text
    assert parts["train"].endswith("\n")
    assert parts["validation"].endswith("\n")
    ends = np.cumsum([len(part) for part in parts.values()])[:2] - np.array([0.9, 0.95]) * len(text)
    assert ((ends >= 0) & (ends <= 5)).all()


def test_austen_has_one_example_per_novel_and_split(offered, monkeypatch):
    lazy_load(offered, NOVELS)
    members = {f"{austen.FOLDER}/{name}": content_digest(offered / name) for name in ("Rdata.rdx", "Rdata.rdb")}
    monkeypatch.setattr(austen, "SOURCE", dataclasses.replace(austen.SOURCE, members=members))
    parts = {split: rows("austen", split) for split in PARTS}
    for split, examples in parts.items():
        assert [row["title"] for row in examples] == list(austen.TITLES.values()), split
    for number, name in enumerate(austen.TITLES):
        assert "".join(parts[split][number]["text"] for split in PARTS) == "\n".join(NOVELS[name])
        lengths = [len(parts[split][number]["text"].split("\n")) for split in PARTS]
        np.testing.assert_allclose(lengths, [180, 10, 10], atol=2)


# Movie reviews


def snippets(rows):
    lines = "\r\n".join(f"{number}\t{rating}\t{text}" for number, (rating, text) in enumerate(rows, 1))
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        info = tarfile.TarInfo(movie_reviews.FILE)
        info.size = len(lines.encode())
        file.addfile(info, io.BytesIO(lines.encode()))
    return content.getvalue()


def test_ratings_become_labels_without_neutral_snippets():
    examples = movie_reviews.labelled(
        [
            (0.5, "Just  good."),
            (-0.5, "Just bad."),
            (0.49, "So so."),
            (-0.49, "Meh."),
            (3.9, "Lovely &amp; Amazing"),
            (-1.0, "Just good."),
        ]
    )
    assert list(examples.items()) == [("Just good.", 1), ("Just bad.", 0), ("Lovely & Amazing", 1)]


def test_movie_reviews_are_read_from_the_nested_archive(offered, monkeypatch):
    texts = [f"Film {number} is café-like." for number in range(60)]
    ratings = [(-1) ** number * 2.5 for number in range(60)]
    archive = snippets([*zip(ratings, texts), (0.1, "Neutral.")])
    with tarfile.open(offered / "vaderSentiment-3.3.2.tar.gz", "w:gz") as file:
        info = tarfile.TarInfo(f"vaderSentiment-3.3.2/{movie_reviews.MEMBER}")
        info.size = len(archive)
        file.addfile(info, io.BytesIO(archive))
    (offered / "vaderSentiment-3.3.2-py2.py3-none-any.whl").write_bytes(b"not what is wanted")
    with pytest.raises(UserError, match=r"hutto_ICWSM_2014\.tar\.gz of vaderSentiment-3\.3\.2\.tar\.gz is damaged"):
        Dataset("movie_reviews", "train").load()
    (offered / "archive.gz").write_bytes(archive)
    members = {movie_reviews.MEMBER: content_digest(offered / "archive.gz")}
    monkeypatch.setattr(movie_reviews, "SOURCE", dataclasses.replace(movie_reviews.SOURCE, members=members))
    splits = {split: rows("movie_reviews", split) for split in PARTS}
    assert sorted(row["text"] for part in splits.values() for row in part) == sorted(texts)
    for split, part in splits.items():
        assert part, split
        for row in part:
            assert part_of(row["text"], 10, 10) == split
            assert row["label"] == (ratings[texts.index(row["text"])] > 0)
    assert Dataset("movie_reviews", "test").load().names["label"] == ("negative", "positive")


# LibreOffice


def test_paragraphs_and_headings_are_found_by_id():
    page = """<html><head><title>no</title></head><body><h1 id="hd_1"><a href="x">Inserting</a>
      a   Table</h1><div>no <p id="par_1" class="x">Click <span class="emph">OK</span>.<br/>Then
      wait&nbsp;for &lt;it&gt;.</p></div><p>no id</p><p id="par_2"></p>
      <table><tr><td><p id="par_3">one</p></td><td><p id="par_3">two</p></td></tr></table></body></html>"""
    assert _libreoffice.paragraphs(page) == {
        "hd_1": ["Inserting a Table"],
        "par_1": ["Click OK. Then wait for <it>."],
        "par_2": [""],
        "par_3": ["one", "two"],
    }


def test_the_default_of_hidden_variants_is_kept():
    page = (
        '<p id="a">Press <span class="switchinline"><span hidden="true" class="MAC"><span class="k">Command</span>'
        '</span><span hidden="true"><span class="k">Ctrl</span></span></span>+F5.</p><p id="b">Next.</p>'
    )
    assert _libreoffice.paragraphs(page) == {"a": ["Press Ctrl+F5."], "b": ["Next."]}


def write_page(folder, name, **texts):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f'<p id="{key}">{text}</p>' for key, text in texts.items()), encoding="utf-8")


def test_pairs_are_aligned_by_page_and_id_and_filtered_by_length(tmp_path):
    english, german = tmp_path / "en", tmp_path / "de"
    pair = Pair("Choose the second tab.", "Wählen Sie das zweite Register.")
    code = "=SUM(A1; B1) is the same"
    write_page(english, "b/1.html", x=pair.source, y="Too short.", z=code)
    write_page(german, "b/1.html", z=code, y="Das ist zu kurz.", x=pair.target)
    write_page(english, "a.html", x=pair.source, y="word " * 41, w="Only in one language here.")
    write_page(german, "a.html", x=pair.target, y="Wort " * 40)
    write_page(english, "c.html", x="A page of one language.")
    assert _libreoffice.align(english, german) == {pair: "a.html"}
    write_page(english, "d.html", x="word " * 40)
    write_page(german, "d.html", x="Wort " * 4)
    assert list(_libreoffice.align(english, german)) == [pair, Pair("word " * 39 + "word", "Wort Wort Wort Wort")]


def test_splits_are_by_page_and_share_no_text_with_training():
    (train, second), (validation, *_), (test, *_) = (
        [key for key, _ in zip(keys_of(part, 5, 5), range(2))] for part in PARTS
    )
    pairs = {
        Pair("in train", "im Training"): train,
        Pair("also in train", "auch im Training"): second,
        Pair("in train", "anders gesagt"): validation,
        Pair("new", "neu"): validation,
        Pair("put differently", "auch im Training"): test,
        Pair("new", "frisch"): test,
        Pair("fresh", "wieder frisch"): test,
    }
    assert _libreoffice.parts(pairs) == {
        "train": [Pair("in train", "im Training"), Pair("also in train", "auch im Training")],
        "validation": [Pair("new", "neu")],
        "test": [Pair("fresh", "wieder frisch")],
    }
    assert _libreoffice.parts({Pair("a", "b"): test}) == {"train": [], "validation": [], "test": [Pair("a", "b")]}


@pytest.mark.parametrize("module", [libreoffice_de, libreoffice_fr], ids=["de", "fr"])
def test_the_built_pairs_match_the_pages(module, offered, monkeypatch):
    languages = []
    for language in (_libreoffice.ENGLISH, module.OTHER):
        for number in range(40):
            text = {letter: f"Text {letter} of page {number} in {language.package}" for letter in "abc"}
            write_page(offered / language.folder, f"swriter/{number}.html", **text)
        (offered / language.folder / "langnames.js").write_text("no page")
        languages.append(language._replace(sha256=tree_digest(offered, f"{language.folder}/*.html")))
    monkeypatch.setattr(_libreoffice, "ENGLISH", languages[0])
    monkeypatch.setattr(module, "OTHER", languages[1])
    name = module.Builder.name
    splits = {split: rows(name, split) for split in PARTS}
    assert sum(map(len, splits.values())) == 120
    for split, part in splits.items():
        for row in part:
            assert row["source"].replace("-en-us", "") == row["target"].rsplit("-", 1)[0]
            number = row["source"].split()[4]
            assert part_of(f"swriter/{number}.html", 5, 5) == split
    monkeypatch.setattr(module, "OTHER", languages[1]._replace(sha256="0" * 64))
    with pytest.raises(UserError, match=rf"{module.OTHER.folder}/\*\.html of .* is damaged or of another version"):
        module.OTHER.fetch()
