"""Tests of WAV files and log-mel spectrograms: values, definitions, invalid files."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile
from scipy.signal import stft

from jaxdl.data.audio.features import (
    FLOOR,
    as_float,
    filterbank,
    frame_count,
    log_mel,
    read_audio,
    read_wav,
    to_mono,
)
from jaxdl.data.formats.audio_folder import open_recordings
from jaxdl.errors import UserError

RATE = 8000


def wave(count=4000, channels=1, seed=0):
    samples = np.random.default_rng(seed).uniform(-0.9, 0.9, (count, channels))
    return samples[:, 0] if channels == 1 else samples


def wav_24_bits(values, rate=RATE):
    """Returns a 24-bit WAV file, which scipy reads but does not write."""
    data = b"".join(struct.pack("<i", int(value))[:3] for value in values)
    form = struct.pack("<HHIIHH", 1, 1, rate, 3 * rate, 3, 24)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [("int16", 2**15, 0), ("int32", 2**31, 0), ("uint8", 2**7, 2**7), ("float32", 1, 0), ("float64", 1, 0)],
)
def test_samples_are_scaled_by_full_scale(tmp_path, dtype, scale, offset):
    exact = wave(channels=2)
    stored = (exact * scale + offset).astype(dtype)
    wavfile.write(tmp_path / "a.wav", RATE, stored)
    audio, rate = read_wav(tmp_path / "a.wav")
    assert (audio.dtype, audio.shape, rate) == (np.float32, (4000, 2), RATE)
    np.testing.assert_allclose(audio, (stored.astype(float) - offset) / scale, atol=1e-7)


def test_24_bits_are_read_and_other_chunks_skipped(tmp_path):
    values = np.array([0, 2**22, -(2**22), 2**23 - 1, -(2**23)])
    (tmp_path / "a.wav").write_bytes(wav_24_bits(values) + b"LIST\x04\0\0\0abcd")
    audio, _ = read_wav(tmp_path / "a.wav")
    np.testing.assert_allclose(audio[:, 0], values / 2**23, atol=1e-7)


def test_recordings_of_16_bits_are_read_as_stored(tmp_path):
    stored = np.array([[-(2**15), 2**15 - 1], [0, -1], [1, 12345]], np.int16)
    wavfile.write(tmp_path / "a.wav", RATE, stored)
    audio, rate = read_audio(tmp_path / "a.wav")
    assert (audio.dtype, rate) == (np.int16, RATE)
    np.testing.assert_array_equal(audio, stored)


def test_full_scale_is_one():
    np.testing.assert_allclose(as_float(np.array([-(2**15), 2**14], np.int16)), [-1, 0.5])
    np.testing.assert_allclose(as_float(np.array([0, 192], np.uint8)), [-1, 0.5])


def whole(samples=1000):
    file = io.BytesIO()
    wavfile.write(file, RATE, np.ones(samples, np.int16))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        whole()[:500],
        whole()[:501],
        whole()[:30],
        b"",
        b"these are words",
        whole()[:20] + b"\x07\0" + whole()[22:],  # mu-law
        whole()[:22] + b"\0\0" + whole()[24:],  # no channels
        whole()[:24] + bytes(4) + whole()[28:],  # no rate
    ],
)
def test_damaged_wav_files_are_refused(tmp_path, content):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.wav is not a complete PCM WAV file .*ffmpeg") as raised:
        read_wav(path)
    assert "\n" not in str(raised.value)


def test_missing_empty_and_nonfinite_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_wav(tmp_path / "none.wav")
    (tmp_path / "empty.wav").write_bytes(whole(0))
    with pytest.raises(UserError, match=r"empty\.wav has no samples"):
        read_wav(tmp_path / "empty.wav")
    wavfile.write(tmp_path / "nan.wav", RATE, np.full(100, np.nan, np.float32))
    with pytest.raises(UserError, match="non-finite"):
        read_wav(tmp_path / "nan.wav")


def test_other_channels_and_rates_are_refused_or_converted():
    time = np.arange(44100) / 44100
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    stereo = np.stack([tone, np.zeros_like(tone)], axis=1)
    with pytest.raises(
        UserError, match=r"a\.wav has 2 channels at 44100 Hz, but 1 channel at 8000 Hz is required.*convert"
    ):
        to_mono(stereo, 44100, RATE, "a.wav")
    with pytest.raises(UserError, match="1 channel at 44100 Hz"):
        to_mono(tone, 44100, RATE, "a.wav")
    mono = to_mono(stereo, 44100, RATE, "a.wav", convert=True)
    assert (mono.shape, mono.dtype) == ((RATE,), np.float32)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(mono[200:-200], expected[200:-200], atol=5e-3)
    np.testing.assert_array_equal(to_mono(tone[:, None], RATE, RATE, "a.wav"), tone)


def reference(audio, rate, size, step, points, mels):
    """Computes a log-mel reference with scipy's STFT and triangular filters."""
    # scipy divides by the sum of the window
    _, _, spectrum = stft(audio, rate, "hann", size, size - step, points, boundary=None, padded=False)  # pyright: ignore[reportArgumentType]
    power = np.abs(spectrum * size / 2) ** 2
    corner = [700 * (10 ** (mel / 2595) - 1) for mel in np.linspace(0, 2595 * np.log10(1 + rate / 1400), mels + 2)]
    bands = np.zeros((mels, power.shape[1]))
    for band in range(mels):
        for number in range(len(power)):
            weight = np.interp(number * rate / points, corner[band : band + 3], [0, 1, 0])
            bands[band] += weight * power[number]
    return np.log(bands + FLOOR).T


@pytest.mark.parametrize(("rate", "mels", "points"), [(8000, 20, 256), (8000, 64, 512), (16000, 40, 512)])
def test_log_mel_matches_its_definition(rate, mels, points):
    audio = wave(3000)
    features = log_mel(audio, rate, mels=mels)
    assert features.dtype == np.float32
    assert filterbank(rate, round(0.025 * rate), mels).shape == (points // 2 + 1, mels)
    expected = reference(audio, rate, round(0.025 * rate), round(0.01 * rate), points, mels)
    assert features.shape == expected.shape
    np.testing.assert_allclose(features, expected, atol=1e-3)


def test_a_tone_is_loudest_in_the_band_around_it():
    for pitch in (300.0, 1000.0, 3000.0):
        frames = log_mel(np.sin(2 * np.pi * pitch * np.arange(4000) / RATE), RATE)
        corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 66) / 2595) - 1)
        assert np.abs(corners[1:-1] - pitch).argmin() == np.bincount(frames.argmax(axis=1)).argmax()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 900), window=st.sampled_from([0.01, 0.025]), hop=st.sampled_from([0.005, 0.01, 0.03]))
def test_the_number_of_frames_matches_frame_count(count, window, hop):
    frames = log_mel(wave(count), RATE, window, hop, mels=8)
    assert frames.shape == (frame_count(count, RATE, window, hop), 8)
    assert np.isfinite(frames).all()


def test_block_size_does_not_change_the_spectrogram(monkeypatch):
    expected = log_mel(wave(), RATE)
    monkeypatch.setattr("jaxdl.data.audio.features._BLOCK", 7)
    np.testing.assert_allclose(log_mel(wave(), RATE), expected, atol=1e-5)


def test_invalid_sizes_are_refused():
    with pytest.raises(UserError, match="no samples"):
        log_mel(np.zeros(0), RATE)
    with pytest.raises(UserError, match="use at least 2 and 1"):
        log_mel(wave(), RATE, hop=0.00001)
    with pytest.raises(UserError, match="too large"):
        log_mel(wave(), RATE, mels=4000)
    with pytest.raises(UserError, match="at least 1"):
        log_mel(wave(), RATE, mels=0)


def folder(path, count=5):
    for number in range(count):
        (path / "part").mkdir(exist_ok=True)
        wavfile.write(path / "part" / f"{number}.wav", RATE, np.full(100 + number, number * 100, np.int16))
        (path / "part" / f"{number}.txt").write_text(f"grüße {number}\n")
    return path


def test_a_folder_of_recordings_is_read(tmp_path):
    source = open_recordings(str(folder(tmp_path)), "train")
    assert len(source) == 5
    numbers = set()
    for number in range(5):
        example = {name: value[0] for name, value in source.read(np.array([number])).items()}
        text = example["text"].decode()
        clip = int(text.removeprefix("grüße "))
        assert (example["audio"].dtype, example["rate"]) == (np.int16, RATE)
        np.testing.assert_array_equal(example["audio"], np.full(100 + clip, clip * 100))
        assert example["name"].decode().endswith(f"{clip}.wav")
        numbers.add(clip)
    assert numbers == set(range(5))
    parts = [open_recordings(str(tmp_path), split) for split in ("train[:2]", "train[2:]")]
    assert [len(part) for part in parts] == [2, 3]
    assert len({source.fingerprint, *(part.fingerprint for part in parts)}) == 3
    (tmp_path / "part" / "0.txt").write_text("other words")
    assert open_recordings(str(tmp_path), "train").fingerprint != source.fingerprint


def test_incomplete_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        open_recordings(str(tmp_path / "none"), "train")
    with pytest.raises(UserError, match="no WAV files"):
        open_recordings(str(tmp_path), "train")
    folder(tmp_path)
    with pytest.raises(UserError, match="no split 'test'"):
        open_recordings(str(tmp_path), "test")
    text = tmp_path / "part" / "3.txt"
    text.write_text(" \n")
    with pytest.raises(UserError, match=r"3\.txt is empty"):
        open_recordings(str(tmp_path), "train")
    text.write_bytes(b"gr\xfc\xdfe")
    with pytest.raises(UserError, match=r"3\.txt is not UTF-8 \(byte 2\)"):
        open_recordings(str(tmp_path), "train")
    text.unlink()
    with pytest.raises(UserError, match=r"3\.wav has no transcript; write .*3\.txt"):
        open_recordings(str(tmp_path), "train")
