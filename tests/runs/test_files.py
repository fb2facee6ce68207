"""Files that the user named, and text tables."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxdl.errors import UserError, WriteError
from jaxdl.runs.files import write_gif, write_output, write_png
from jaxdl.runs.table import aligned

PIXELS = np.zeros((8, 8, 3), np.uint8)


def test_a_file_is_replaced_only_if_the_command_wrote_it(tmp_path):
    path = tmp_path / "out.jsonl"
    for text in ('{"file": "a"}', '{"file": "b"}'):
        write_output(path, text, b'{"file": ', b'{"text": ')
        assert path.read_text() == text
    path.write_text("notes")
    with pytest.raises(UserError, match=r"out\.jsonl exists and was not written by this command; remove it or name"):
        write_output(path, "{}", b'{"file": ')
    assert path.read_text() == "notes"
    (tmp_path / "empty").touch()
    write_output(tmp_path / "empty", "text", b"mark")
    with pytest.raises(UserError, match="is a folder; name a file in it"):
        write_output(tmp_path, "text", b"mark")


def test_a_picture_is_replaced_only_by_the_command_that_drew_it(tmp_path):
    photo, drawn, film = tmp_path / "photo.png", tmp_path / "drawn.png", tmp_path / "film.gif"
    Image.fromarray(PIXELS).save(photo)
    write_png(tmp_path / "of_a_run.png", PIXELS)
    for _ in range(2):
        write_png(drawn, PIXELS, "curves")
        write_gif(film, np.stack([PIXELS, PIXELS]), command="predict")
    for path, write in ((photo, write_png), (tmp_path / "of_a_run.png", write_png), (drawn, write_png)):
        with pytest.raises(UserError, match="was not written by this command"):
            write(path, PIXELS, "predict")
    with pytest.raises(UserError, match="was not written by this command"):
        write_gif(film, np.stack([PIXELS, PIXELS]), command="explain")


def test_devices_and_pipes_are_written_to_and_stay(tmp_path):
    write_output(tmp_path / ".." / os.devnull, "text", b"mark")
    assert not os.path.isfile(os.devnull)
    if os.path.exists("/dev/full"):
        (tmp_path / "full").symlink_to("/dev/full")
        with pytest.raises(WriteError, match=r"cannot write .*full: No space left on device; free some space"):
            write_output(tmp_path / "full", "text", b"mark")


def test_control_characters_of_cells_are_escapes():
    assert aligned([["a\x1b[31m\n", "b"], ["c\u202e", "\udcff"]]) == "a\\x1b[31m\\n  b\nc\\u202e      \\udcff"
