"""Seal of a run folder: no changed bit of a sealed file is read as a value."""

import pytest

from jaxdl.errors import UserError
from jaxdl.runs import seal
from jaxdl.runs.seal import Seal

TEXT = '{"classes": ["8", "9"], "split": "train[90%:]"}\n'


@pytest.fixture
def folder(tmp_path):
    Seal(tmp_path).write("config.json", TEXT)
    Seal(tmp_path).write("manifest.json", "{}")
    return tmp_path


def test_a_sealed_file_is_read_back(folder):
    assert Seal(folder).read("config.json") == TEXT
    assert Seal(folder).problems([]) == {}


@pytest.mark.parametrize("byte", range(0, len(TEXT), 7))
@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_is_an_error(folder, byte, bit):
    data = bytearray(TEXT.encode())
    data[byte] ^= 1 << bit
    (folder / "config.json").write_bytes(data)
    with pytest.raises(UserError, match=r"config\.json does not have the SHA-256"):
        Seal(folder).read("config.json")
    assert Seal(folder).problems([]) == {"config.json": seal.CHANGED}
    assert Seal(folder).read("manifest.json") == "{}"


def test_a_flipped_bit_of_the_seal_is_an_error(folder):
    data = (folder / seal.NAME).read_bytes()
    for place in range(0, len(data), 5):
        changed = bytearray(data)
        changed[place] ^= 1
        (folder / seal.NAME).write_bytes(changed)
        with pytest.raises(UserError, match=r"seal\.json"):
            Seal(folder).read("config.json")


@pytest.mark.parametrize("content", [b"", TEXT[:20].encode(), b"\xff\xfe\x00"])
def test_truncated_and_binary_content_is_an_error(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json"):
        Seal(folder).read("config.json")


def test_a_directory_in_place_of_a_file_is_an_error(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*config.json"):
        Seal(folder).read("config.json")


def test_a_kill_between_seal_and_file_leaves_a_valid_folder(folder, monkeypatch):
    def killed(path, content):
        if path.name == "config.json":
            raise KeyboardInterrupt
        write(path, content)

    write = seal.write_atomically
    monkeypatch.setattr(seal, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        Seal(folder).write("config.json", "new")
    assert Seal(folder).read("config.json") == TEXT
    monkeypatch.undo()
    Seal(folder).write("config.json", "new")
    assert Seal(folder).read("config.json") == "new"


def test_a_missing_seal_is_an_error_until_the_files_are_accepted(folder):
    (folder / seal.NAME).unlink()
    with pytest.raises(UserError, match=r"has no seal.json beside it.* jaxdl verify .* --accept"):
        Seal(folder).read("config.json")
    assert Seal(folder).problems(["config.json"]) == {seal.NAME: seal.MISSING}
    Seal(folder).accept(["config.json"])
    assert Seal(folder).read("config.json") == TEXT


def test_a_removed_file_is_not_missing(folder):
    Seal(folder).remove("manifest.json")
    assert Seal(folder).problems([]) == {}
    with pytest.raises(FileNotFoundError):
        Seal(folder).read("manifest.json")


def test_a_deleted_file_is_missing(folder):
    (folder / "manifest.json").unlink()
    assert Seal(folder).problems([]) == {"manifest.json": seal.MISSING}


def test_a_growing_file_is_sealed_up_to_its_size(folder):
    path = folder / "metrics.jsonl"
    path.write_text("one\n")
    Seal(folder).add(path.name, grows=True)
    path.write_text("one\ntwo\n")
    assert Seal(folder).problems([]) == {}
    for damaged in ("One\ntwo\n", "one", ""):
        path.write_text(damaged)
        assert Seal(folder).problems([]) == {path.name: seal.CHANGED}
