import gzip
import importlib
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.dataset import Dataset
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import Debian, content_digest, tree_digest
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
prompts = importlib.import_module("jaxdl.data.builders.asterisk_prompts")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I am sorry, that's not valid.  Try again!", "i am sorry that's not valid try again"),
        ("Press 1 to mute, 2 to lock, or 0.", "press one to mute two to lock or zero"),
        ("...to decrease your volume...", "to decrease your volume"),
        ("Call-Forward on No Answer", "call forward on no answer"),
        ("A.M.", "a m"),
        ("dash [-]", "dash"),
        ("After the tone. (simple tone sound plays)", "after the tone"),
        ('IAX (note: does not say "2")', "iax"),
    ],
)
def test_texts_are_normalized(text, expected):
    assert prompts.plain(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[ascending tones]",
        "(10 seconds of silence)",
        "<beep ascending>",
        "dial 500",
        "3D audio",
        "H.323",
        "28.8 kilobit",
        "press # to exit",
        "separated by * and then",
        "visit www.asterisk.org",
        "café",
        "",
    ],
)
def test_ambiguous_texts_are_omitted(text):
    assert prompts.plain(text) == ""


@given(st.text())
def test_normalized_texts_have_letters_apostrophes_and_single_spaces(text):
    normalized = prompts.plain(text)
    assert set(normalized) <= set("abcdefghijklmnopqrstuvwxyz' ")
    assert normalized == " ".join(normalized.split())
    assert prompts.plain(normalized) == normalized


def test_the_first_clip_of_equal_texts_is_kept():
    listing = "; Core sounds: a comment\n\nvm-hello: Hello: you.\nb: Good bye!\na: good bye\nbeep: [a tone]\n"
    assert prompts.spoken(listing) == {"good bye": "a", "hello you": "vm-hello"}


def record(path, samples, width=2, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())


def test_recordings_are_read_unchanged(tmp_path):
    samples = np.array([0, 1, -1, 32767, -32768], "<i2")
    record(tmp_path / "a.wav", samples)
    audio, rate = prompts.read_wave(tmp_path / "a.wav")
    np.testing.assert_array_equal(audio, samples)
    assert (audio.dtype, rate) == (np.int16, 8000)
    record(tmp_path / "b.wav", samples[:4], channels=2)
    with pytest.raises(AssertionError, match=r"b\.wav"):
        prompts.read_wave(tmp_path / "b.wav")


WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Puts 60 clips into JAXDL_SOURCES, clip n with n + 1 samples of value n; returns texts."""
    folder = tmp_path / "offered"
    texts = {f"digits/{n}": f"Number {WORDS[n // 10]} {WORDS[n % 10]}." for n in range(60)}
    for number, name in enumerate(texts):
        record(folder / prompts.SOUNDS / f"{name}.wav", np.full(number + 1, number, "<i2"))
    record(folder / prompts.SOUNDS / "beep.wav", np.zeros(9, "<i2"))
    lines = [f"{name}: {text}" for name, text in (texts | {"beep": "[a tone]"}).items()]
    listing = folder / "core-sounds-en.txt.gz"
    listing.write_bytes(gzip.compress("\n".join(lines).encode()))
    monkeypatch.setenv("JAXDL_SOURCES", str(folder))
    pattern = f"{prompts.SOUNDS}/*.wav"
    monkeypatch.setattr(prompts, "AUDIO_SOURCE", Debian("sounds", {pattern: tree_digest(folder, pattern)}))
    monkeypatch.setattr(prompts, "TEXT_SOURCE", Debian("texts", {prompts.TEXTS: content_digest(listing)}))
    return texts


def test_the_built_set_has_each_clip_with_its_text_in_one_part(packages):
    parts_of_text = {}
    for split in PARTS:
        source = Dataset("asterisk_prompts", split).load()
        assert len(source)
        names = []
        for index in range(len(source)):
            row = {key: value[0] for key, value in source.read(np.array([index])).items()}
            name, text = row["name"].decode(), row["text"].decode()
            number = int(name.removeprefix("digits/"))
            assert text == packages[name].lower().rstrip(".")
            assert part_of(text, 10, 10) == split
            assert (row["rate"], row["rate"].dtype, row["audio"].dtype) == (8000, np.int32, np.int16)
            np.testing.assert_array_equal(row["audio"], np.full(number + 1, number))
            parts_of_text[name] = split
            names.append(name)
        assert names == sorted(names)
    assert set(parts_of_text) == set(packages)


def test_other_recordings_are_refused(packages, monkeypatch):
    package = Debian("sounds", {f"{prompts.SOUNDS}/*.wav": "0" * 64})
    monkeypatch.setattr(prompts, "AUDIO_SOURCE", package)
    with pytest.raises(UserError, match=r"\*\.wav of the folder JAXDL_SOURCES is damaged"):
        Dataset("asterisk_prompts", "train").load()
