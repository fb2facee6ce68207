from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.dataset import with_split
from jaxdl.data.source import ColumnSource, text_column
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.synthetic.text import MockCaptions, MockPairs, MockSentences, MockText
from jaxdl.data.text.captions import Captioned
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.special_tokens import END, PAD, START, UNKNOWN
from jaxdl.data.text.tokenizers import (
    BPE,
    Characters,
    Tokenizer,
    Vocabulary,
    Words,
)
from jaxdl.data.text.windows import Windows
from jaxdl.errors import UserError

NAMES: dict = {}


@dataclass(frozen=True)
class Corpus:
    """In-memory corpus of (feature, values); texts as bytes."""

    features: tuple

    def load(self):
        columns = {
            name: text_column(values) if values and isinstance(values[0], str) else np.array(values)
            for name, values in self.features
        }
        return ColumnSource(columns, digest_of(repr(self)), {"label": ("no", "yes")})


def texts(*values):
    return Corpus((("text", values),))


def letters(corpus, size=40, features=("text",)):
    return Vocabulary(Characters(size), corpus, features)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One folder of vocabularies for the examples of a property test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXDL_DATA", str(tmp_path_factory.mktemp("home")))
        yield


ALPHABET = texts("abcde fgh\n")
KINDS = (Characters(20), BPE(20), Words(20))


@given(
    st.lists(st.text(alphabet="abcde fgh\n", max_size=25), min_size=1, max_size=4),
    st.integers(1, 6),
    st.integers(1, 5),
    st.sampled_from(KINDS),
)
@settings(max_examples=150, deadline=None)
def test_with_context_every_target_is_scored_exactly_once(home, corpus, length, context, kind):
    vocabulary = Vocabulary(kind, ALPHABET)
    tokenizer = vocabulary.load()
    stream = np.concatenate([tokenizer.encode(text) for text in corpus])
    windows = Windows(texts(*corpus), vocabulary, length, context)
    if len(stream) < length + context + 1:
        with pytest.raises(UserError, match="decrease length"):
            windows.load()
        return
    columns = windows.load().columns
    assert columns["tokens"].shape[1] == context + length + 1
    counted = np.zeros(len(stream), int)
    last = 0
    for tokens, skip in zip(columns["tokens"], columns["context"]):
        size = len(tokens) - 1 - skip  # scored tokens continue where the previous window ended
        np.testing.assert_array_equal(tokens, stream[last + size - len(tokens) + 1 : last + size + 1])
        counted[last + 1 : last + size + 1] += 1
        last += size
    np.testing.assert_array_equal(counted, [0] + [1] * (len(stream) - 1))
    assert (columns["context"][1:] >= context).all()
    widths_of_text = next(widths for _, widths in tokenizer.measure_all(corpus) if len(widths))[0]
    measured = sum(len(text) for text in corpus if len(tokenizer.encode(text)))
    assert columns["characters"].sum() == measured - widths_of_text


def test_without_context_windows_are_contiguous_and_the_remainder_is_dropped():
    corpus = texts("abcdefg", "hijk")
    source = Windows(corpus, letters(corpus), length=3).load()
    tokenizer = source.names["tokens"]
    assert isinstance(tokenizer, Tokenizer)
    assert [tokenizer.decode(row) for row in source.columns["tokens"]] == ["abcd", "defg", "ghij"]
    np.testing.assert_array_equal(source.columns["context"], [0, 0, 0])
    np.testing.assert_array_equal(source.columns["characters"], [3, 3, 3])
    assert source.columns["tokens"].dtype == source.columns["context"].dtype == np.int32
    assert source.columns["characters"].dtype == np.float32
    assert source.columns["characters"].shape == (3,)
    scored = Windows(corpus, letters(corpus), length=3, context=2).load()
    assert [tokenizer.decode(row) for row in scored.columns["tokens"]] == ["abcdef", "defghi", "fghijk"]
    np.testing.assert_array_equal(scored.columns["context"], [0, 2, 3])
    np.testing.assert_array_equal(scored.columns["characters"], [5, 3, 2])


def test_character_counts_are_independent_of_the_vocabulary():
    corpus = MockText()
    total = sum(len(text) for text in corpus.load().columns["text"])
    for kind in (Characters(40), BPE(60), Words(30)):
        source = Windows(corpus, Vocabulary(kind, corpus), length=16, context=8).load()
        token = source.names["tokens"][int(source.columns["tokens"][0, 0])]
        assert source.columns["characters"].sum() == total - len(token.strip("▁"))


def test_fingerprints_depend_on_settings_corpus_and_vocabulary():
    reference = Windows(MockText(), letters(MockText()), length=8)
    assert reference.load().fingerprint == Windows(MockText(), letters(MockText()), length=8).load().fingerprint
    others = [
        replace(reference, length=9),
        replace(reference, context=1),
        replace(reference, vocabulary=letters(MockText(), size=41)),
        with_split(reference, "test"),
    ]
    assert len({data.load().fingerprint for data in [reference, *others]}) == 5
    assert with_split(reference, "test").corpus == MockText(split="test")


def test_sentences_are_padded_and_keep_their_labels():
    corpus = Corpus((("review", ("abc", "a", "bcab")), ("rating", (1, 0, 1))))
    sentences = Sentences(corpus, letters(corpus, features=("review",)), 4, feature="review", label="rating")
    source = sentences.load()
    np.testing.assert_array_equal(source.columns["tokens"], [[4, 5, 6, 0], [4, 0, 0, 0], [5, 6, 4, 5]])
    np.testing.assert_array_equal(source.columns["tokens_length"], [3, 1, 4])
    np.testing.assert_array_equal(source.columns["label"], [1, 0, 1])
    cut = replace(sentences, length=2).load().columns
    np.testing.assert_array_equal(cut["tokens"], [[4, 5], [4, 0], [5, 6]])
    np.testing.assert_array_equal(cut["tokens_length"], [2, 1, 2])
    dropped = replace(sentences, length=3, overflow="drop").load()
    np.testing.assert_array_equal(dropped.columns["label"], [1, 0])
    assert dropped.fingerprint != replace(sentences, length=3).load().fingerprint
    with pytest.raises(UserError, match="example 2 of the corpus has 4 tokens in 'review', outside 1 to 3"):
        replace(sentences, length=3, overflow="refuse").load()
    loaded = Sentences(MockSentences(), Vocabulary(Words(30), MockSentences()), 8).load()
    assert loaded.names["label"] == ("negative", "positive")
    assert UNKNOWN not in loaded.columns["tokens"]


def test_an_empty_sentence_is_refused():
    corpus = Corpus((("text", ("fine", "  ")), ("label", (0, 1))))
    for overflow in ("drop", "truncate", "refuse"):
        with pytest.raises(UserError, match="example 1 of the corpus has no tokens in 'text'"):
            Sentences(corpus, Vocabulary(Words(10), corpus), 4, overflow=overflow).load()


def pairs(source, target, **settings: Any):
    corpus = Corpus((("source", source), ("target", target)))
    return Pairs(corpus, letters(texts("ab")), source_length=4, target_length=5, **settings)


def test_pairs_end_and_targets_start():
    source = pairs(("a", "abb"), ("bab", "b")).load()
    np.testing.assert_array_equal(source.columns["source"], [[4, END, PAD, PAD], [4, 5, 5, END]])
    np.testing.assert_array_equal(source.columns["source_length"], [2, 4])
    np.testing.assert_array_equal(source.columns["target"], [[START, 5, 4, 5, END], [START, 5, END, PAD, PAD]])
    np.testing.assert_array_equal(source.columns["target_length"], [5, 3])
    assert all(column.dtype == np.int32 for column in source.columns.values())
    assert source.names["source"] == source.names["target"]


def test_long_or_empty_pairs_are_dropped_truncated_or_refused():
    source, target = ("a", "abab", "ab", "", "b"), ("b", "a", "abba", "a", "b")
    dropped = pairs(source, target).load().columns
    np.testing.assert_array_equal(dropped["source"][:, 0], [4, 5])
    cut = pairs(source, target, overflow="truncate").load().columns
    np.testing.assert_array_equal(cut["source"][1], [4, 5, 4, END])
    np.testing.assert_array_equal(cut["target"][2], [START, 4, 5, 5, END])
    assert len(cut["source"]) == 4
    with pytest.raises(UserError, match="example 1 of the corpus has 4 tokens in 'source', outside 1 to 3"):
        pairs(source, target, overflow="refuse").load()
    with pytest.raises(UserError, match="example 0 of the corpus has 0 tokens in 'target'"):
        pairs(("a",), ("",), overflow="refuse").load()
    with pytest.raises(UserError, match="no example of the corpus fits into Pairs"):
        pairs(("aaaa",), ("a",)).load()


def test_captions_keep_their_images():
    corpus = MockCaptions(examples=5)
    captioned = Captioned(corpus, Vocabulary(Words(20), corpus, ("caption",)), 5, shape=(16, 16, 3))
    source = captioned.load()
    np.testing.assert_array_equal(source.columns["image"], corpus.load().columns["image"])
    tokenizer = source.names["target"]
    assert isinstance(tokenizer, Tokenizer)
    for row, length, caption in zip(
        source.columns["target"], source.columns["target_length"], corpus.load().columns["caption"]
    ):
        assert (row[0], row[length - 1], length) == (START, END, 5)
        assert tokenizer.decode(row) == caption.decode()
    with pytest.raises(
        UserError, match=r"image 0 of the corpus has shape \(16, 16, 3\), but Captioned.shape is \(8, 8, 3\)"
    ):
        replace(captioned, shape=(8, 8, 3)).load()
    with pytest.raises(UserError, match="has 3 tokens in 'caption', outside 1 to 2"):
        replace(captioned, length=4, overflow="refuse").load()
    np.testing.assert_array_equal(replace(captioned, length=4).load().columns["target"][:, -1], [END] * 5)


def test_prompts_are_read_from_texts_and_files(tmp_path):
    (tmp_path / "own.txt").write_bytes("\ufeffabc\r\nab\n".encode())
    windows = Windows(texts("abc\n"), letters(texts("abc\n")), 3)
    examples = windows.read([str(tmp_path / "own.txt")], ["cab"], NAMES)
    assert [name for name, _ in examples] == ["cab", str(tmp_path / "own.txt")]
    np.testing.assert_array_equal(examples[0][1]["tokens"], [7, 5, 6, PAD])
    assert examples[0][1]["tokens_length"] == 3
    np.testing.assert_array_equal(examples[1][1]["tokens"], [5, 6, 7, 4, 5, 6, 4, PAD])
    long = windows.read([], ["a" * 65], NAMES)[0][1]
    assert long["tokens"].shape == (128,)
    assert long["tokens_length"] == 65


def test_reading_uses_the_tokenizer_of_training():
    trained = Characters(9).train(["xyz"])
    windows = Windows(texts("abc"), letters(texts("abc")), 3)
    np.testing.assert_array_equal(windows.read([], ["zy"], {"tokens": trained})[0][1]["tokens"], [6, 5])
    np.testing.assert_array_equal(
        pairs(("a",), ("a",)).read([], ["zy"], {"source": trained})[0][1]["source"][:3], [6, 5, END]
    )


def test_each_line_of_a_file_is_one_example(tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("ab\n\n  ba \n")
    examples = pairs(("a",), ("a",)).read([str(file)], ["aaa"], NAMES)
    assert [name for name, _ in examples] == ["aaa", f"{file}:1", f"{file}:3"]
    np.testing.assert_array_equal(examples[2][1]["source"], [5, 4, END, PAD])
    assert [int(example["source_length"]) for _, example in examples] == [4, 3, 3]
    sentences = Sentences(MockSentences(), letters(texts("ab")), 2)
    lines = sentences.read([str(file)], [], NAMES)
    np.testing.assert_array_equal(lines[0][1]["tokens"], [4, 5])
    assert set(lines[0][1]) == {"tokens", "tokens_length"}


def test_a_classifier_reads_the_texts_of_a_table(tmp_path):
    file = tmp_path / "labelled.csv"
    file.write_text('text,label\n"a,b",good\nba,bad\n')
    sentences = Sentences(MockSentences(), letters(texts("ab,")), 3)
    examples = sentences.read([str(file)], [], {"tokens": letters(texts("ab,")).load()})
    assert [int(example["tokens_length"]) for _, example in examples] == [3, 2]


def test_unknown_characters_are_refused_unless_strict_is_false():
    windows = Windows(texts("abc"), letters(texts("abc")), 3)
    with pytest.raises(UserError, match=r"'ab☃': the vocabulary lacks '☃' \(U\+2603\) at position 2"):
        windows.read([], ["ab☃"], NAMES)
    np.testing.assert_array_equal(replace(windows, strict=False).read([], ["a☃"], NAMES)[0][1]["tokens"], [4, UNKNOWN])
    words = Windows(texts("a b c"), Vocabulary(Words(9), texts("a b c")), 2)
    assert UNKNOWN in words.read([], ["a z"], NAMES)[0][1]["tokens"]


def test_unreadable_texts_are_refused(tmp_path):
    windows = Windows(texts("abc"), letters(texts("abc")), 3)
    sentences = Sentences(MockSentences(), letters(texts("abc")), 2)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "broken.txt").write_bytes(b"abc\xff")
    for loadable in (windows, sentences):
        for files, given_texts, reason in [
            ([], [], "no texts were given"),
            ([], [""], "no token"),
            ([tmp_path / "missing.txt"], [], r"missing.txt does not exist"),
            ([tmp_path], [], "is a folder"),
            ([tmp_path / "broken.txt"], [], r"broken.txt is not UTF-8 .byte 3"),
            ([], ["ab\udcff"], "the text given is not UTF-8 .byte 2"),
        ]:
            with pytest.raises(UserError, match=reason) as error:
                loadable.read([str(file) for file in files], given_texts, NAMES)
            assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"empty.txt is empty"):
        sentences.read([str(tmp_path / "empty.txt")], [], NAMES)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda v: Windows(MockText(), v, 0), "Windows.length=0 must be at least 1"),
        (lambda v: Windows(MockText(), v, 4, -1), "Windows.context=-1 must be at least 0"),
        (lambda v: Sentences(MockSentences(), v, 0), "Sentences.length=0"),
        (lambda v: Pairs(MockPairs(), v, 1, 8), "Pairs.source_length=1 must be at least 2"),
        (lambda v: Pairs(MockPairs(), v, 8, 2), "Pairs.target_length=2 must be at least 3"),
        (lambda v: Captioned(MockCaptions(), v, 2), "Captioned.length=2 must be at least 3"),
        (
            lambda v: Pairs(MockPairs(), v, 8, 8, overflow="crop"),  # pyright: ignore[reportArgumentType]
            "overflow='crop' is unknown; did you mean 'drop'",
        ),
        (lambda v: Windows(texts("abc"), v, 3).load(), r"the corpus has 3 tokens, .* 4; decrease length"),
        (lambda v: Windows(texts(), v, 3).load(), r"the corpus has 0 tokens"),
        (lambda v: Windows(MockPairs(), v, 3).load(), "no feature 'text'.* names that exist: source, target"),
        (lambda v: Sentences(MockText(), v, 3).load(), "no feature 'label'"),
    ],
)
def test_invalid_settings_are_refused(make, reason):
    with pytest.raises(UserError, match=reason):
        make(letters(texts("abc")))


@pytest.mark.parametrize("mock", [MockText, MockPairs, MockSentences, MockCaptions])
def test_mock_texts_depend_on_seed_and_split_only(mock):
    def content(**settings):
        return [str(np.asarray(column).tolist()) for column in mock(examples=6, **settings).load().columns.values()]

    assert content() == content()
    assert content() != content(seed=1)
    assert content() != content(split="test")
    assert len(mock(examples=6).load()) == 6
    assert mock(seed=1).load().fingerprint != mock().load().fingerprint != mock(split="test").load().fingerprint
    with pytest.raises(UserError, match="examples=0"):
        mock(examples=0)


def test_mock_texts_are_learnable():
    source = MockPairs(examples=40).load().columns
    dictionary = {}
    for source_row, target_row in zip(source["source"], source["target"]):
        for word, translation in zip(source_row.split(), target_row.split(), strict=True):
            assert dictionary.setdefault(word, translation) == translation
    sentences = MockSentences(examples=40).load().columns
    keys = {word for text, label in zip(sentences["text"], sentences["label"]) for word in text.split() if label == 1}
    keys -= {word for text, label in zip(sentences["text"], sentences["label"]) for word in text.split() if label == 0}
    for text, label in zip(sentences["text"], sentences["label"]):
        assert bool(set(text.split()) & keys) == bool(label)
    followers: dict = {}
    words = MockText(examples=1, characters=4000).load().columns["text"][0].split()[:-1]
    for word, following in pairwise(words):
        followers.setdefault(word, set()).add(following)
    assert max(map(len, followers.values())) <= 2
    assert len(MockText(examples=1, characters=77).load().columns["text"][0]) == 77
