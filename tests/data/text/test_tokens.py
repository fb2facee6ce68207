import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.dataset import with_split
from jaxdl.data.source import ColumnSource, ExampleSource, JoinedSource, read_columns, read_texts
from jaxdl.data.store.prepared import data_home, digest_of
from jaxdl.data.synthetic.text import MockPairs, MockSentences, MockText
from jaxdl.data.text.codecs import pieces_of
from jaxdl.data.text.special_tokens import END, PAD, SPECIALS, START, UNKNOWN
from jaxdl.data.text.tokenizers import (
    BPE,
    UNUSED,
    Characters,
    Tokenizer,
    Vocabulary,
    Words,
)
from jaxdl.data.text.windows import Windows
from jaxdl.errors import UserError

TEXT = "The cat sat on the mat, and the dog didn't. " * 5 + "\n" + "Grüße aus München: schöne Häuser!\n" * 3
KINDS = (Characters(60), Words(40), BPE(90))
LETTERS = "".join(sorted(set(TEXT)))


@dataclass(frozen=True)
class Texts:
    """Corpus of given texts as bytes, as in TFDS."""

    texts: tuple[str | bytes, ...]
    split: str = "train"

    def load(self):
        column = np.array([text.encode() if isinstance(text, str) else text for text in self.texts], object)
        return ColumnSource({"text": column}, digest_of([repr(text) for text in self.texts]))


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_all_ids_are_below_the_size_and_the_first_four_are_the_specials(kind):
    tokenizer = kind.train([TEXT])
    assert len(tokenizer) == len(list(tokenizer)) == kind.size
    assert tuple(tokenizer[:4]) == SPECIALS
    assert (PAD, START, END, UNKNOWN) == (0, 1, 2, 3)
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int32
    assert ids.min() > UNKNOWN
    assert ids.max() < kind.size
    vocabulary = [text for text in tokenizer if text not in SPECIALS and text != UNUSED]
    assert len(set(vocabulary)) == len(vocabulary)
    assert tokenizer.encode("").shape == (0,)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_tokenizer_survives_json_and_pickle(kind):
    tokenizer = kind.train([TEXT])
    for copy in (Tokenizer.from_json(tokenizer.json), pickle.loads(pickle.dumps(tokenizer))):
        assert copy == tokenizer
        assert hash(copy) == hash(tokenizer)
        assert copy.json == tokenizer.json
        assert copy.digest == tokenizer.digest
        assert list(copy) == list(tokenizer)
        np.testing.assert_array_equal(copy.encode(TEXT), tokenizer.encode(TEXT))
    assert kind.train(["other text"]) != tokenizer


@given(st.text(alphabet=LETTERS, max_size=80))
@settings(max_examples=50, deadline=None)
def test_text_of_known_characters_survives_a_round_trip(text):
    for tokenizer in (_CHARACTERS, _BPE):
        ids = tokenizer.encode(text)
        assert UNKNOWN not in ids
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode([START, *ids, END, 5, 5]) == text


_CHARACTERS = Characters(80).train([TEXT])
_BPE = BPE(90).train([TEXT])


@given(st.lists(st.text(alphabet=LETTERS + "☃𝄞", max_size=30), max_size=5))
@settings(max_examples=40, deadline=None)
def test_token_widths_sum_to_the_length_of_the_text(texts):
    for tokenizer in (_CHARACTERS, _BPE, _WORDS):
        for text, (ids, widths) in zip(texts, tokenizer.measure_all(texts)):
            assert len(ids) == len(widths)
            assert widths.sum() == (len(text) if len(ids) else 0)
            assert (widths >= 0).all()
            np.testing.assert_array_equal(ids, tokenizer.encode(text))


_WORDS = Words(40).train([TEXT])


def test_characters_are_the_most_frequent_ones_and_the_rest_is_unknown():
    text = "aaaabbbccd"
    tokenizer = Characters(4 + 2).train([text, "a"])
    assert list(tokenizer) == [*SPECIALS, "a", "b"]
    np.testing.assert_array_equal(tokenizer.encode("bac☃\U0010ffff"), [5, 4, 3, 3, 3])
    assert tokenizer.decode([5, 4, 3, 5]) == "bab"
    assert tokenizer.first_unknown("abba") is None
    assert tokenizer.first_unknown("abca") == 2
    assert _BPE.first_unknown("☃") is None


def test_words_are_the_most_frequent_ones_apart_from_punctuation():
    tokenizer = Words(4 + 6).train([TEXT])
    words = Counter(TEXT.lower().replace(",", " ,").replace(".", " .").replace("!", " !").replace(":", " :").split())
    frequent = {count for _, count in words.most_common(6)}
    assert tokenizer[4] == "the"
    assert all(words[word] in frequent for word in tokenizer[4:])
    known = Words(40).train([TEXT])
    assert known.decode(known.encode("The DOG didn't, and sat (on the mat).")) == "the dog didn't, and sat on the mat."
    assert [known[number] for number in known.encode("the platypus sat")] == ["the", "<unknown>", "sat"]
    cased = Words(40, lowercase=False).train([TEXT])
    assert [cased[number] for number in cased.encode("The the THE")] == ["The", "the", "<unknown>"]


def test_bpe_merges_frequent_pairs_and_drops_rare_characters_at_the_size_limit():
    tokenizer = BPE(90).train([TEXT])
    assert "▁the" in list(tokenizer)
    assert len(tokenizer.encode("the cat")) == 2
    tight = BPE(4 + 5).train(["eeeee ttttt aaaaa ooooo z"])
    assert set(tight[4:]) == set("▁etao")
    np.testing.assert_array_equal(tight.encode("z")[1:], [UNKNOWN])


@pytest.mark.parametrize("kind", [BPE(120), Words(60)], ids=repr)
def test_no_text_encodes_to_a_special_token(kind):
    tokenizer = kind.train(["<end> <pad> special 0 special 2 " * 50])
    for text in ("<end>", "<pad><start>", "special 0", "special 2", "<unknown>"):
        assert not set(tokenizer.encode(text).tolist()) & {PAD, START, END}


@pytest.mark.parametrize("kind", [BPE(90), Words(40)], ids=repr)
def test_long_texts_have_the_same_tokens_as_their_lines(kind):
    tokenizer = kind.train([TEXT])
    text = TEXT * 120
    assert len(pieces_of(text)) > 1
    assert "".join(pieces_of(text)) == text
    ids, widths = tokenizer.measure_all([text])[0]
    repeated = TEXT * 2
    prefix = len(tokenizer.encode(TEXT))
    repeated_ids = tokenizer.encode(repeated)[prefix:]
    np.testing.assert_array_equal(ids, np.concatenate([tokenizer.encode(TEXT), *[repeated_ids] * 119]))
    assert widths.sum() == len(text)


def test_training_is_independent_of_the_number_of_threads():
    code = (
        "from jaxdl.data.text.tokenizers import BPE, Words\n"
        "texts = [' '.join(f'w{a * b % 97} q{a ^ b}' for a in range(60)) for b in range(60)]\n"
        "print(BPE(300).train(texts).digest, Words(50).train(texts).digest)"
    )
    outputs = set()
    for threads in ("1", "4"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads}
        root = Path(__file__).parents[3]
        process = subprocess.run(
            [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
        )
        outputs.add(process.stdout)
    assert len(outputs) == 1


def test_decoding_stops_at_end_and_refuses_unknown_ids():
    assert _CHARACTERS.decode([]) == ""
    assert _CHARACTERS.decode([PAD, START, UNKNOWN, END, 7]) == ""
    assert _CHARACTERS[79] == UNUSED
    assert _CHARACTERS.decode([79]) == ""
    for token in (80, -1):
        with pytest.raises(IndexError, match="80"):
            _CHARACTERS.decode([token])


@pytest.mark.parametrize("kind", [Characters, Words, BPE])
def test_small_sizes_and_empty_corpora_are_refused(kind):
    with pytest.raises(UserError, match=r"size=4 must be at least 5"):
        kind(4)
    with pytest.raises(UserError, match="corpus has no"):
        kind(10).train([])
    with pytest.raises(UserError, match="corpus has no"):
        kind(10).train([""])


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"kind": "odd", "size": 9, "codec": {}}', '{"kind": "bpe"}'])
def test_invalid_serialized_tokenizers_are_refused(text):
    with pytest.raises(UserError, match="not a tokenizer of jaxdl") as error:
        Tokenizer.from_json(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_vocabulary_is_trained_once_and_cached(kind, monkeypatch):
    vocabulary = Vocabulary(kind, Texts((TEXT,)))
    assert vocabulary.size == kind.size
    fresh = kind.train([TEXT])
    assert vocabulary.load() == fresh
    (path,) = (data_home() / "tokenizers").iterdir()
    monkeypatch.setattr(type(kind), "train", lambda *_: pytest.fail("trained again"))
    assert vocabulary.load() == fresh
    path.touch()
    os.utime(path, ns=(1, 1))  # another file for this process: read from disk
    assert vocabulary.load() == fresh


def test_each_corpus_and_kind_has_its_own_vocabulary():
    loaded = {
        Vocabulary(kind, Texts(texts)).load().digest
        for kind in (Characters(30), Characters(31), BPE(60), Words(20), Words(20, lowercase=False))
        for texts in ((TEXT,), ("other words",))
    }
    assert len(loaded) == 10
    joint = Vocabulary(Words(30), MockPairs(), features=("source", "target")).load()
    assert {"one", "eins"} <= set(joint)
    assert "eins" not in Vocabulary(Words(30), MockPairs(), features=("source",)).load()


def test_a_vocabulary_requires_the_training_split():
    corpus = Texts(("abc",))
    windows = Windows(corpus, Vocabulary(Characters(10), corpus), length=1)
    scored = with_split(windows, "test")
    assert scored.corpus.split == "test"
    assert scored.vocabulary == windows.vocabulary
    test_windows = Windows(Texts(("axbx",), "test"), windows.vocabulary, length=1)
    with pytest.raises(UserError, match=r"2 characters are outside the vocabulary: 'x' \(2\); .*Windows\.strict=False"):
        test_windows.load()
    with pytest.raises(UserError, match=r"^1 character is outside .* is in example 0 of the corpus; "):
        replace(test_windows, corpus=Texts(("ax",), "test")).load()
    test_windows = replace(test_windows, strict=False)
    np.testing.assert_array_equal(test_windows.load().columns["tokens"], [[4, 3], [3, 5], [5, 3]])
    for split in ("test", "validation[:10]", "train+test", "all"):
        with pytest.raises(UserError, match="must be trained on the training split"):
            Vocabulary(Characters(10), Texts(("abc",), split)).load()


def test_a_damaged_vocabulary_is_trained_again(capsys):
    vocabulary = Vocabulary(Characters(30), Texts((TEXT,)))
    digest = vocabulary.load().digest
    (path,) = (data_home() / "tokenizers").iterdir()
    text = path.read_text()
    fields = json.loads(text)
    for damaged in (text[:-9], "[]", json.dumps(fields | {"tokenizer": fields["tokenizer"].replace("a", "q")})):
        path.write_text(damaged)
        assert vocabulary.load().digest == digest
        assert capsys.readouterr().err == f"warning: {path} is damaged; the vocabulary is trained again\n"
        assert path.read_text() == text


def test_an_unwritable_folder_is_reported(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXDL_DATA", str(tmp_path / "file"))
    with pytest.raises(UserError, match="JAXDL_DATA"):
        Vocabulary(Characters(30), Texts((TEXT,))).load()


def test_features_that_are_not_text_are_refused():
    with pytest.raises(UserError, match=r"example 1 of the corpus, feature 'text' is not UTF-8 .byte 2"):
        Vocabulary(Characters(30), Texts(("fine", b"ab\xff"))).load()
    with pytest.raises(UserError, match="no feature 'txet'; did you mean 'text'"):
        Vocabulary(Characters(30), MockText(), ("txet",)).load()
    with pytest.raises(UserError, match=r"example 0 of the corpus, feature 'label'.*, not text"):
        Vocabulary(Characters(30), MockSentences(), ("label",)).load()


class Ragged:
    """Examples as read from TFDS: scalars, and arrays of different shapes."""

    def __len__(self):
        return 5

    def __getitem__(self, number):
        return {"text": b"t" * number, "audio": np.zeros(number, np.int16), "label": np.int64(number)}


def test_texts_are_read_from_every_kind_of_source():
    single = ExampleSource(Ragged(), [4, 0, 2], "print")
    joined = JoinedSource(
        (single, ColumnSource({"text": np.array(["é", "x"]), "label": np.arange(2)}, "print")), "print"
    )
    assert read_texts(single, ("text",)) == {"text": ["tttt", "", "tt"]}
    assert read_texts(joined, ("text",)) == {"text": ["tttt", "", "tt", "é", "x"]}
    columns = read_columns(joined, ("text", "label"))
    assert [int(label) for label in columns["label"]] == [4, 0, 2, 0, 1]

    class Own:
        fingerprint, names, in_memory = "print", {}, False

        def __len__(self):
            return 2

        def read(self, indices):
            return {"text": np.array([b"own"] * len(indices), object)}

    assert read_texts(Own(), ("text",)) == {"text": ["own", "own"]}


@pytest.mark.parametrize("kind", [Characters(40), BPE(60), Words(30)])
def test_the_exported_tokenizer_yields_the_same_ids(kind):
    from tokenizers import Tokenizer as Theirs

    texts = ["the cat sat on the mat.\n", "the dog  sat on a log, and saw the cat", "a dog's log"]
    tokenizer = kind.train(texts)
    exported = Theirs.from_str(tokenizer.huggingface)
    for text in [*texts, "cats and dogs", " the", "xyz"]:
        assert exported.encode(text).ids == tokenizer.encode(text).tolist()
        if not isinstance(kind, Words):
            assert exported.decode(exported.encode(text).ids) == tokenizer.decode(tokenizer.encode(text))
    assert [exported.id_to_token(number) for number in range(4)] == ["<pad>", "<start>", "<end>", "<unknown>"]
