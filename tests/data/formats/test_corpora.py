from collections import Counter

import numpy as np
import pytest

from jaxdl.data.dataset import Dataset
from jaxdl.data.formats.text_files import open_labelled, open_pairs, open_text, own_rows
from jaxdl.data.text.files import own_lines
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.errors import UserError

STORY = "".join(f"Line {number} of the story.\n" for number in range(50))


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(STORY)
    return str(path)


def text_of(source):
    return b"".join(source.columns["text"]).decode()


@pytest.mark.parametrize("cut", ["90%", "50%", "1%", "99%", "100", "-30", "23"])
def test_splits_of_a_file_meet_at_line_ends_and_partition_it(story, cut):
    before, after = open_text(story, f"train[:{cut}]"), open_text(story, f"train[{cut}:]")
    assert len(before) == len(after) == 1
    assert text_of(before).endswith(".\n")
    assert text_of(before) + text_of(after) == STORY == text_of(open_text(story, "train"))
    assert len({before.fingerprint, after.fingerprint}) == 2
    assert open_text(story, f"train[:{cut}]+train[{cut}:]").columns["text"].tolist() == [
        before.columns["text"][0],
        after.columns["text"][0],
    ]


def test_a_single_line_is_split_within_the_line(tmp_path):
    (tmp_path / "line.txt").write_text("x" * 70 + "y" * 30 + "\n")
    assert text_of(open_text(str(tmp_path / "line.txt"), "train[:70]")) == "x" * 70
    assert text_of(open_text(str(tmp_path / "line.txt"), "train[70:]")) == "y" * 30 + "\n"
    (tmp_path / "line.txt").write_text("a long line\nthe rest")
    with pytest.raises(UserError, match="contains no line end"):
        open_text(str(tmp_path / "line.txt"), "train[1:4]")


def test_a_folder_has_one_example_per_file(tmp_path):
    for name in ("b.txt", "a.txt", "deep/c.TXT", ".hidden/d.txt", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}\r\n")
    source = open_text(str(tmp_path), "train")
    assert source.columns["text"].tolist() == [b"text of a.txt\n", b"text of b.txt\n", b"text of deep/c.TXT\n"]
    assert source.skipped == (".hidden (hidden)", "notes.md (not a text file)")
    assert open_text(str(tmp_path), "train[1:]").columns["text"].tolist() == source.columns["text"][1:].tolist()
    (tmp_path / "b.txt").write_text("changed")
    assert open_text(str(tmp_path), "train").fingerprint != source.fingerprint


def test_text_files_open_by_dataset_name(story):
    corpus = Dataset(f"text:{story}", "train[:90%]")
    vocabulary = Vocabulary(Characters(60), corpus)
    source = Windows(corpus, vocabulary, 8).load()
    assert vocabulary.load().decode(source.columns["tokens"][0]) == STORY[:9]


def test_missing_or_invalid_texts_are_refused(tmp_path, story):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "broken.txt").write_bytes(b"ab\xe9\n")
    for path, split, reason in [
        (tmp_path / "missing.txt", "train", "missing.txt does not exist"),
        (tmp_path / "empty", "train", r"expected names that end in \.txt"),
        (tmp_path / "blank.txt", "train", "blank.txt is empty"),
        (tmp_path / "broken.txt", "train", r"broken.txt is not UTF-8 \(byte 2\)"),
        (story, "test", "has no split 'test'"),
        (story, "train[5:5]", "is empty or out of range"),
    ]:
        with pytest.raises(UserError, match=reason):
            open_text(str(path), split)


def test_pairs_are_in_a_fixed_random_order(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"source {number}\t Ziel {number} \n\n" for number in range(40)))
    columns = open_pairs(str(path), "train").columns
    numbers = [int(text.split()[1]) for text in columns["source"]]
    assert sorted(numbers) == list(range(40)) != numbers
    assert columns["target"].tolist() == [f"Ziel {number}".encode() for number in numbers]
    parts = [open_pairs(str(path), split).columns["source"] for split in ("train[:25%]", "train[25%:]")]
    np.testing.assert_array_equal(np.concatenate(parts), columns["source"])
    assert len(Dataset(f"pairs:{path}", "train[:10]").load()) == 10


@pytest.mark.parametrize("line", ["no tab", "left\t", "\tright", "a\tb\tc"])
def test_a_malformed_pair_is_reported_with_its_line(tmp_path, line):
    path = tmp_path / "pairs.tsv"
    path.write_text(f"one\teins\n{line}\n")
    with pytest.raises(UserError, match=r"pairs\.tsv, line 2: expected two texts separated by one tab"):
        open_pairs(str(path), "train")
    path.write_text("\n")
    with pytest.raises(UserError, match=r"pairs\.tsv has no examples"):
        open_pairs(str(path), "train")


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_labels_are_class_indices(tmp_path, suffix):
    comma = "," if suffix == "csv" else "\t"
    quoted = '"one, ""two"""' if suffix == "csv" else 'one, "two"'
    path = tmp_path / f"rows.{suffix}"
    rows = [f"7{comma}{label}{comma}text {number}" for number, label in enumerate(["spam", "ham", "eggs"] * 10)]
    path.write_text("\n".join([f"id{comma}label{comma}text", *rows, f"8{comma}ham{comma}{quoted}", ""]))
    source = open_labelled(str(path), "train")
    assert source.names == {"label": ("eggs", "ham", "spam")}
    assert Counter(source.columns["label"].tolist()) == {0: 10, 1: 11, 2: 10}
    assert source.columns["label"].dtype == np.int32
    for text, label in zip(source.columns["text"], source.columns["label"]):
        expected = 1 if text == b'one, "two"' else (2, 1, 0)[int(text.split()[1]) % 3]
        assert label == expected
    part = open_labelled(str(path), "train[:2]")
    assert part.names == source.names
    np.testing.assert_array_equal(part.columns["text"], source.columns["text"][:2])
    assert len(Dataset(f"labelled:{path}", "train[:50%]+train[90%:]").load()) == 16 + 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("text,score\na,1\n", "has no column 'label'"),
        ("", "has no column 'text'"),
        ("text,label\na,x\n ,y\n", "line 3: expected a text and a label"),
        ("text,label\na\n", "line 2: expected 2 cells, as in the header"),
        ("text,label\na,b,c\n", "line 2: expected 2 cells, as in the header"),
        ('text,label\n"a,b\n', "line 2: unexpected end of data"),
        ("text,label\n", "has no examples"),
    ],
)
def test_invalid_tables_are_refused(tmp_path, content, reason):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=reason):
        open_labelled(str(path), "train")


def test_long_texts_are_read_from_csv(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"text,label\n{'long ' * 40_000},x\n")
    assert len(open_labelled(str(path), "train").columns["text"][0]) == 199_999


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", 'label,text\ngood,"fine, ""truly"" fine"\nbad,poor\n'),
        ("rows.CSV", 'text;label\nfine, "truly" fine;good\npoor;bad\n'),
        ("rows.tsv", 'text\nfine, "truly" fine\npoor\n'),
        ("rows.txt", 'label\ttext\ngood\tfine, "truly" fine\nbad\tpoor\n'),
        ("rows.txt", '\nfine, "truly" fine\npoor\n'),
    ],
)
def test_texts_to_classify_are_the_text_column_of_a_table_or_lines(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    expected = [(f"{path}:2", 'fine, "truly" fine'), (f"{path}:3", "poor")]
    assert own_rows([str(path)], (), "text") == expected
    assert own_rows([str(path)], ["own"], "text") == [("own", "own"), *expected]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a fine film\npoor\n", r"rows\.csv has no column 'text' \(line 1: a fine film\); name the column"),
        ("review,label\nfine,good\n", r"has no column 'text' \(line 1: review, label\)"),
        ("text,label\nfine,good\n,bad\n", r"rows\.csv:3 has no text in the column 'text'"),
        ("text,label\n", r"rows\.csv has no text"),
    ],
)
def test_tables_without_texts_to_classify_are_refused(tmp_path, content, reason):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=reason):
        own_rows([str(path)], (), "text")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("pairs.tsv", "good morning\tguten Morgen\n", r"pairs\.tsv:1 has a tab; pass the texts alone"),
        ("texts.txt", "fine\n\npoor\tbad\n", r"texts\.txt:3 has a tab"),
        ("texts.csv", "text,label\nfine,good\n", r"texts\.csv is a table"),
    ],
)
def test_lines_of_tables_are_not_texts(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=reason):
        own_lines([str(path)], ())
