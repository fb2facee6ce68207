"""Audio files: values above full scale, formats, transcripts and unknown characters."""

import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from jaxdl.data.audio.features import read_audio
from jaxdl.data.audio.speech import Speech
from jaxdl.data.dataset import Dataset
from jaxdl.data.source import skipped_files
from jaxdl.data.text.tokenizers import Characters
from jaxdl.errors import UserError

RATE = 8000
WAVE = (0.5 * np.sin(np.arange(RATE) / 5)).astype(np.float32)


@dataclass(frozen=True)
class Letters:
    letters: str

    def load(self) -> Any:
        return Characters(4 + len(self.letters)).train([self.letters])


def speech(folder, letters="ab", **settings):
    return Speech(Dataset(f"speech:{folder}", "train"), Letters(letters), 1.0, RATE, mels=8, **settings)


def clip(folder, name, samples, text="ab"):
    wavfile.write(folder / f"{name}.wav", RATE, samples)
    (folder / f"{name}.txt").write_text(text)


@pytest.mark.parametrize(
    "samples",
    [WAVE, np.where(np.arange(RATE) % 500 == 0, np.float32(1.3), WAVE), (WAVE * 2**31).astype(np.int32)],
    ids=["float", "float with peaks above 1", "32 bits"],
)
def test_prediction_reads_the_samples_of_training(tmp_path, samples):
    clip(tmp_path, "a", samples)
    trained = speech(tmp_path).load().read(np.array([0]))
    ((_, example),) = speech(tmp_path).read([str(tmp_path / "a.wav")], [], {})
    length = int(example["frames_length"])
    assert length == trained["frames_length"][0]
    np.testing.assert_array_equal(example["frames"][:length], trained["frames"][0, :length])


def test_float_samples_of_another_range_are_refused_in_training_and_prediction(tmp_path):
    clip(tmp_path, "a", 32768 * WAVE)
    message = r"a\.wav: .*% of its float samples exceed full scale \(largest 16384\); scale them to -1\.\.1"
    with pytest.raises(UserError, match=message):
        speech(tmp_path).load()
    with pytest.raises(UserError, match=message):
        speech(tmp_path).read([str(tmp_path / "a.wav")], [], {})


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3", "FLAC"])
def test_other_formats_are_read_with_soundfile(tmp_path, suffix):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / f"a.{suffix}", WAVE, RATE, format=suffix.upper())
    (tmp_path / "a.txt").write_text("ab")
    audio, rate = read_audio(tmp_path / f"a.{suffix}")
    assert rate == RATE
    assert audio.dtype == np.int16
    if suffix.lower() == "flac":
        np.testing.assert_allclose(audio[:, 0] / 32768, WAVE, atol=1e-4)
    assert speech(tmp_path).load().columns["frames_length"][0] > 90
    (tmp_path / f"b.{suffix}").write_bytes(b"no audio")
    with pytest.raises(UserError, match=rf"b\.{suffix} cannot be read as audio"):
        read_audio(tmp_path / f"b.{suffix}")


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.mp3").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.mp3: a file of this format needs soundfile: pip install -e '\.\[audio\]'"):
        read_audio(tmp_path / "a.mp3")


def test_a_text_named_mp3_is_refused_without_notes_of_the_decoder(tmp_path, capfd):
    (tmp_path / "a.mp3").write_text("not a recording")
    with pytest.raises(UserError, match=r"a\.mp3 cannot be read as audio \(it has no MP3 frame\)"):
        read_audio(tmp_path / "a.mp3")
    assert capfd.readouterr().err == ""


def test_suffixes_match_in_any_case_and_hidden_files_are_skipped(tmp_path):
    clip(tmp_path, "a", WAVE)
    (tmp_path / "a.wav").rename(tmp_path / "a.WAV")
    (tmp_path / "a.txt").rename(tmp_path / "a.TXT")
    (tmp_path / "._a.wav").write_bytes(b"metadata")
    (tmp_path / "alone.txt").write_text("no recording")
    source = Dataset(f"speech:{tmp_path}", "train").load()
    assert source.read(np.array([0]))["text"].tolist() == [b"ab"]
    assert skipped_files(source) == ("._a.wav (hidden)", "alone.txt (no recording)")


def test_two_recordings_of_one_transcript_are_refused(tmp_path):
    clip(tmp_path, "a", WAVE)
    (tmp_path / "a.flac").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.\* are two recordings with one transcript"):
        Dataset(f"speech:{tmp_path}", "train").load()


def test_characters_outside_the_vocabulary_are_counted_and_refused(tmp_path):
    clip(tmp_path, "a", WAVE, "abba")
    clip(tmp_path, "b", WAVE, "aXXé")
    with pytest.raises(
        UserError, match=r"3 characters are outside the vocabulary: 'X' \(2\), 'é' \(1\); .*b\.wav; .*strict"
    ):
        speech(tmp_path).load()
    assert len(speech(tmp_path, strict=False).load()) == 2


def test_damaged_recordings_are_dropped(tmp_path):
    clip(tmp_path, "a", WAVE)
    clip(tmp_path, "b", WAVE)
    (tmp_path / "b.wav").write_bytes((tmp_path / "b.wav").read_bytes()[:1000])
    source = Dataset(f"speech:{tmp_path}", "train", on_error="skip", skip_limit=0.5).load()
    assert len(source) == 1
    assert skipped_files(source) == ("b.wav (damaged)",)


def test_truncated_recordings_are_refused_in_every_thread(tmp_path):
    clip(tmp_path, "a", WAVE)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:1000])
    with_tag = whole[:12] + b"note" + struct.pack("<I", 4) + b"text" + whole[12:]
    (tmp_path / "tag.wav").write_bytes(with_tag[:4] + struct.pack("<I", len(with_tag) - 8) + with_tag[8:])
    wrong_size = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "size.wav").write_bytes(wrong_size[:4] + struct.pack("<I", 992) + wrong_size[8:])

    def refused(name):
        try:
            return read_audio(tmp_path / name)[0].size == 0
        except UserError as error:
            return "is not a complete PCM WAV file (it has 1000 of " in str(error)

    names = ["cut.wav", "tag.wav", "size.wav", "a.wav"] * 200
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(refused, names))
    assert found == [name in ("cut.wav", "size.wav") for name in names]
