"""Token files: windows, types, parts, tokenizers and errors."""

from typing import Any

import numpy as np
import pytest

from jaxdl.data.formats import token_file
from jaxdl.data.formats.token_file import TokenFile, write_tokens
from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.errors import UserError

IDS = np.random.default_rng(0).integers(0, 60_000, 1000)


@pytest.mark.parametrize(("kind", "header"), [("uint16", 0), ("uint16", 1024), ("uint32", 16)])
def test_windows_are_consecutive_ids(tmp_path, kind, header):
    path = tmp_path / "ids.bin"
    path.write_bytes(bytes(header) + IDS.astype(kind).tobytes())
    source = TokenFile(str(path), 9, kind, header, shift=4, first=0.5).load()
    assert len(source) == (500 - 1) // 9
    windows = source.read(np.array([3, 0, 54]))["tokens"]
    assert windows.dtype == np.int32
    for row, number in zip(windows, (3, 0, 54)):
        np.testing.assert_array_equal(row, IDS[500 + 9 * number : 500 + 9 * number + 10] + 4)


def test_a_separator_starts_a_segment(tmp_path):
    (tmp_path / "ids.bin").write_bytes(np.array([5, 6, 9, 7, 9, 9, 8, 5, 5], np.uint16).tobytes())
    source = TokenFile(str(tmp_path / "ids.bin"), 3, "uint16", shift=4, separator=9).load()
    batch = source.read(np.array([0, 1]))
    assert batch["tokens"].tolist() == [[9, 10, 13, 11], [11, 13, 13, 12]]
    assert batch["tokens_segments"].dtype == np.int32
    assert batch["tokens_segments"].tolist() == [[1, 1, 1, 2], [1, 1, 2, 3]]
    assert "tokens_segments" not in TokenFile(str(tmp_path / "ids.bin"), 3, "uint16").load().read(np.array([0]))


def test_written_files_keep_their_tokenizer(tmp_path):
    corpus = MockText(examples=2, characters=500)
    vocabulary = Vocabulary(BPE(40), corpus)
    count = write_tokens(tmp_path / "ids.bin", corpus, vocabulary)
    source = TokenFile(str(tmp_path / "ids.bin"), 20).load()
    texts = [text.decode() for text in corpus.load().columns["text"]]
    assert count == sum(map(len, vocabulary.load().encode_all(texts)))
    tokenizer: Any = source.names["tokens"]
    decoded = tokenizer.decode(source.read(np.array([0]))["tokens"][0])
    assert len(decoded) > 20
    assert texts[0].startswith(decoded)
    with pytest.raises(UserError, match="already exists"):
        write_tokens(tmp_path / "ids.bin", corpus, vocabulary)


def test_the_fingerprint_depends_on_the_content(tmp_path):
    path = tmp_path / "ids.bin"
    path.write_bytes(IDS.astype(np.uint16).tobytes())
    fingerprint = TokenFile(str(path), 9, "uint16").load().fingerprint
    assert TokenFile(str(path), 9, "uint16").load().fingerprint == fingerprint
    altered = IDS.copy()
    altered[500] += 1
    other = tmp_path / "other.bin"
    other.write_bytes(altered.astype(np.uint16).tobytes())
    others = {TokenFile(str(file), length, "uint16").load().fingerprint for file, length in ((path, 8), (other, 9))}
    assert len({fingerprint, *others}) == 3
    assert TokenFile(str(path.rename(tmp_path / "moved.bin")), 9, "uint16").load().fingerprint == fingerprint


def test_invalid_token_files_are_refused(tmp_path):
    path = tmp_path / "ids.bin"
    path.write_bytes(IDS.astype(np.uint16).tobytes() + b"\0")
    for token_file_, message in (
        (TokenFile("", 9), "path is empty"),
        (TokenFile(str(tmp_path / "none.bin"), 9), "does not exist"),
        (TokenFile(str(path), 9), "no header that states its type; set TokenFile.type"),
        (TokenFile(str(path), 9, "uint16"), "does not hold whole uint16 values"),
        (TokenFile(str(path), 9, "int16"), "type must be 'uint16' or 'uint32'"),
        (TokenFile(str(path), 5000, "uint16", header=1), "fewer than a window of 5001"),
    ):
        with pytest.raises(UserError, match=message):
            token_file_.load()
    (tmp_path / "ids.bin.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        TokenFile(str(path), 9).load()


def test_the_header_states_type_vocabulary_and_tokenizer(tmp_path):
    corpus = MockText(examples=2, characters=500)
    path = tmp_path / "ids.bin"
    write_tokens(path, corpus, Vocabulary(BPE(40), corpus))
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["ids.bin"]
    with pytest.raises(UserError, match=r"has uint16 ids by its header, but TokenFile\.type='uint32'"):
        TokenFile(str(path), 8, "uint32").load()
    content = path.read_bytes()
    path.write_bytes(content[:-2] + np.array([40], np.uint16).tobytes())
    with pytest.raises(UserError, match="has 1 ids above its vocabulary of 40, such as 40"):
        TokenFile(str(path), 8).load()


@pytest.mark.parametrize(("magic", "version", "kind"), [(20240520, 1, "uint16"), (20240801, 7, "uint32")])
def test_files_of_llmc_are_recognized_by_their_header(tmp_path, magic, version, kind):
    path = tmp_path / "ids.bin"
    header = np.zeros(256, np.int32)
    header[:3] = magic, version, len(IDS)
    path.write_bytes(header.tobytes() + IDS.astype(kind).tobytes())
    files = (TokenFile(str(path), 9), TokenFile(str(path), 9, header=1024), TokenFile(str(path), 9, type=kind))
    for file in files:
        tokens = file.load().read(np.array([2]))["tokens"]
        np.testing.assert_array_equal(tokens[0], IDS[18:28])
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"ids, but 1,000 by its header; copy the file again"):
        TokenFile(str(path), 9).load()


def test_files_of_earlier_versions_have_their_type_beside_them(tmp_path):
    (tmp_path / "ids.bin").write_bytes(IDS.astype(np.uint32).tobytes())
    (tmp_path / "ids.bin.json").write_text('{"type": "uint32"}')
    assert TokenFile(str(tmp_path / "ids.bin"), 9).load().read(np.array([0]))["tokens"][0].tolist() == IDS[:10].tolist()


def test_ids_above_a_given_vocabulary_are_refused(tmp_path):
    (tmp_path / "ids.bin").write_bytes(np.array([1, 2, 70, 3, 4], np.uint16).tobytes())
    with pytest.raises(UserError, match="1 ids above its vocabulary of 50, such as 70"):
        TokenFile(str(tmp_path / "ids.bin"), 2, "uint16", vocabulary=50).load()


def test_the_command_writes_a_token_file(tmp_path, capsys):
    text = tmp_path / "a.txt"
    text.write_text("the cat sat on the mat. " * 50)
    assert token_file.main([str(text), str(tmp_path / "a.bin"), "40"]) == 0
    assert "tokens" in capsys.readouterr().out
    assert len(TokenFile(str(tmp_path / "a.bin"), 8).load()) > 5
    assert token_file.main([str(text), str(tmp_path / "a.bin"), "40"]) == 2
    assert "already exists" in capsys.readouterr().err
    assert token_file.main([str(text)]) == 2
