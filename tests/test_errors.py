"""Causes and remedies of failed writes."""

import errno
import os
from pathlib import Path

import pytest

from jaxdl.errors import WriteError, limit_errors, nearest, write_errors


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files; raise the limit of open files"),
        (RuntimeError("x (os error 27)"), "File too large; raise the limit of file sizes"),
        (RuntimeError("x [os_error_code='28']"), "No space left on device; free some space"),
        (
            RuntimeError("write() failed: No space left on device; writing x"),
            "No space left on device; free some space",
        ),
    ],
)
def test_the_cause_of_a_failed_write_is_found_in_the_messages_of_libraries(error, line):
    with pytest.raises(WriteError, match=f"cannot write data: {line}"), limit_errors(Path("data")):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match=r"^other$"), limit_errors(Path("data")):
        raise RuntimeError("other")


def test_a_file_where_a_folder_is_expected_is_named_as_the_cause(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("notes")
    for folder in (file, file / "runs"):
        message = r"notes\.txt.*; give the path of a folder; a file has this name"
        with pytest.raises(WriteError, match=message), write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)


def test_names_with_commas_are_quoted():
    assert nearest("seed", ["seed=0,1", "steps=2"]).endswith("names that exist: 'seed=0,1', 'steps=2'")
    assert nearest("b", ["c", "a"]).endswith("names that exist: a, c")
