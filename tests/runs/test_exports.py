"""Folders of exports replace earlier exports of the same run only."""

import json

import pytest

from jaxdl.errors import UserError
from jaxdl.runs.exports import MARKER, export_folder
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.seal import Seal


def run_folder(path, config="{}"):
    path.mkdir()
    seal = Seal(path)
    seal.write("config.json", config)
    seal.write("manifest.json", json.dumps({"attempts": [{"start": "2026-01-01T00:00:00"}]}))
    return RunFolder.open(path)


def export(folder, run, **files):
    with export_folder(folder, run) as part:
        for name, text in files.items():
            (part / name).write_text(text)


def content(folder):
    return {file.name: file.read_text() for file in folder.iterdir() if file.name != MARKER}


def test_an_export_of_the_same_run_is_replaced(tmp_path):
    run, folder = run_folder(tmp_path / "run"), tmp_path / "new" / "out"
    export(folder, run, program="1", weights="1")
    export(folder, run, program="2")
    assert content(folder) == {"program": "2"}
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("other", ["notes", "another run"])
def test_other_files_are_not_replaced(tmp_path, other):
    run, folder = run_folder(tmp_path / "run"), tmp_path / "out"
    if other == "notes":
        folder.mkdir()
        (folder / "notes").write_text("mine")
    else:
        export(folder, run_folder(tmp_path / "other", config="[]"), notes="mine")
    with pytest.raises(UserError, match=r"out is not empty and not an export of .*run; choose another folder"):
        export(folder, run, notes="theirs")
    assert content(folder) == {"notes": "mine"}


def test_files_added_to_an_export_remain(tmp_path):
    run, folder = run_folder(tmp_path / "run"), tmp_path / "out"
    export(folder, run, program="1")
    (folder / "notes").write_text("mine")
    export(folder, run, program="2")
    assert content(folder) == {"program": "2", "notes": "mine"}
    with pytest.raises(UserError, match="has notes, which the export would replace"):
        export(folder, run, program="3", notes="theirs")
    assert content(folder) == {"program": "2", "notes": "mine"}


def test_an_export_that_fails_leaves_the_folder_as_it_was(tmp_path):
    run, folder = run_folder(tmp_path / "run"), tmp_path / "out"
    export(folder, run, program="1")

    def fail():
        with export_folder(folder, run) as part:
            (part / "program").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert content(folder) == {"program": "1"}
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}
