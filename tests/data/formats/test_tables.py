"""Delimited tables: delimiters, decimal commas, index columns, quotes and encodings."""

import numpy as np
import pytest

from jaxdl.data.formats.tables import read_rows
from jaxdl.data.formats.text_files import open_labelled, open_pairs, open_text
from jaxdl.data.formats.time_series_csv import read_csv
from jaxdl.data.text.files import read_file
from jaxdl.errors import UserError


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (",time,value\n0,1,1.5\n1,2,2.5\n", [1.5, 2.5]),
        ("time;value\n1;1,5\n2;2,5\n", [1.5, 2.5]),
        ("time;value\n1;1.5\n2;2.5\n", [1.5, 2.5]),
        ("time;value\n1;0,125\n2;2,500\n", [0.125, 2.5]),
        ("time\tvalue\n1\t1,5\n2\t2\n", [1.5, 2]),
        ('"time","value"\r1,"1.5"\r2,2.5\r', [1.5, 2.5]),
        ("\ufefftime,value\r\n1,1.5\r\n2,2.5\r\n", [1.5, 2.5]),
    ],
)
def test_tables_of_other_programs_are_read(tmp_path, content, values):
    table = read_csv(write(tmp_path / "a.csv", content))
    np.testing.assert_array_equal(table.columns["value"], np.array(values, np.float32))
    assert table.columns["time"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (",value\n2024-01-01,1\n2024-01-02,2\n", r"the first column has no name in line 1 .*begins with '2024-01-01'"),
        ("time,,value\n1,2,3\n", "column 2 has no name in line 1; name or remove it"),
        ("time;value\n1;1,250\n2;2,500\n", "line 2: '1,250' may be a decimal or a thousands comma"),
        (
            "time;value\n1;1,5\n2;1.000,5\n",
            r"line 3: '1\.000,5' in column 'value' is not a number \(the file has decimal",
        ),
        ("time;value\n1;2;3\n", "line 2: expected 2 cells"),
        ("time,value\n1,1,5\n", "line 2: expected 2 cells"),
    ],
)
def test_ambiguous_tables_are_refused_with_the_reason(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_csv(write(tmp_path / "a.csv", content))


def test_an_index_is_dropped_only_if_it_counts_the_rows(tmp_path):
    assert read_rows(write(tmp_path / "a.csv", ",x\n1,a\n2,b\n")).header == ["x"]
    with pytest.raises(UserError, match="does not count the rows"):
        read_rows(write(tmp_path / "a.csv", ",x\n0,a\n2,b\n"))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (("2020-01-31", "2020-02-29", "2020-03-31"), [600, 601, 602]),
        (("2020-03-31", "2020-06-30", "2020-09-30"), [602, 605, 608]),
        (("2020-01", "2020-02", "2020-04"), [600, 601, 603]),
        (("2020Q1", "2020-Q2", "2020q3"), [600, 603, 606]),
        (("20200101", "20200201", "20200301"), [600, 601, 602]),
        (("20231231", "20240101"), [28399680, 28401120]),
        (("20231299", "20240101"), [20231299, 20240101]),
    ],
)
def test_months_quarters_and_compact_dates_are_read(tmp_path, times, expected):
    content = "time,value\n" + "".join(f"{time},1\n" for time in times)
    assert read_csv(write(tmp_path / "a.csv", content)).columns["time"].tolist() == expected


def test_doubled_quotes_of_tab_separated_files_are_read(tmp_path):
    labelled = open_labelled(write(tmp_path / "a.tsv", 'text\tlabel\n"he said ""hi"""\tpos\nno\tneg\n'), "train")
    assert sorted(labelled.columns["text"]) == [b'he said "hi"', b"no"]
    quoted = open_labelled(write(tmp_path / "b.tsv", '"text"\t"label"\n"a b"\t"pos"\n'), "train")
    assert quoted.columns["text"].tolist() == [b"a b"]
    pairs = open_pairs(write(tmp_path / "c.tsv", '"a ""b"""\tc\nd\te\n'), "train")
    assert sorted(pairs.columns["source"]) == [b'a "b"', b"d"]


def test_quotes_that_belong_to_the_text_are_kept(tmp_path):
    labelled = open_labelled(write(tmp_path / "a.tsv", 'text\tlabel\n"Good" film\tpos\n"Bad"\tneg\n'), "train")
    assert sorted(labelled.columns["text"]) == [b'"Bad"', b'"Good" film']
    with pytest.raises(UserError, match="line 3"):
        open_labelled(write(tmp_path / "b.tsv", 'text\tlabel\n"a ""b"""\tpos\n"Good" film\tneg\n'), "train")


def test_labelled_tables_may_have_an_index_or_semicolons(tmp_path):
    assert open_labelled(write(tmp_path / "a.csv", ",text,label\n0,hi,pos\n1,no,neg\n"), "train").names["label"]
    assert open_labelled(write(tmp_path / "b.csv", "text;label\nhi;pos\n"), "train").columns["text"].tolist() == [b"hi"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\0b", r"has NUL bytes \(the first at byte 1\).*remove them"),
        ("some text".encode("utf-16-le"), "it may be UTF-16LE: iconv -f UTF-16LE"),
        ("some text".encode("utf-16-be"), "it may be UTF-16BE: iconv -f UTF-16BE"),
        ("some text".encode("utf-16"), "is UTF-16, not UTF-8; convert it: iconv"),
        ("é".encode("latin-1"), r"is not UTF-8 \(byte 0\)"),
    ],
)
def test_other_encodings_are_refused_in_every_text_file(tmp_path, content, message):
    path = write(tmp_path / "a.txt", content)
    for read in (read_file, read_rows, lambda name: open_text(name, "train")):
        with pytest.raises(UserError, match=message):
            read(path)


def test_carriage_returns_end_lines(tmp_path):
    assert read_file(write(tmp_path / "a.txt", b"a\rb\r\nc\n")) == "a\nb\nc\n"
    assert len(open_pairs(write(tmp_path / "b.tsv", "a\tb\rc\td\r"), "train")) == 2
