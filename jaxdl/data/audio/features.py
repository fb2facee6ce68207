"""Audio files, resampling and log-mel spectrograms."""

import functools
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.files import check_file
from jaxdl.errors import UserError, from_extra

SUFFIXES = frozenset({".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"})
FLOOR = 1e-6  # power added before the logarithm, below which all sound counts as silence
_LOUD_SHARE = 0.01  # fraction of float samples beyond full scale that are clipped; more means another range
_HEAD = 65_536  # bytes in which an MP3 file begins a frame
_BLOCK = 8192  # frames per transform, to bound the memory of long recordings

# scipy warns of chunks that it skips (tags, titles). Loaders read files in threads, and `warnings.catch_warnings` in
# one thread undoes that of another, hence a filter for the whole process, on warnings raised for this module.
warnings.filterwarnings("ignore", module=r"jaxdl\.data\.audio\.features")


def read_audio(path: str | Path) -> tuple[np.ndarray, int]:
    """Reads an audio file as int16 [samples, channels] and its rate in Hz, for training and prediction alike.

    WAV is read without further packages; flac, ogg and mp3 need soundfile. Samples beyond full scale are clipped.

    Raises:
      UserError: The file is missing, truncated, empty or unsupported, has non-finite samples, more than 1% of its
        samples exceed full scale, or soundfile is not installed.
    """
    check_file(path)
    if Path(path).suffix.lower() == ".wav":
        samples, rate = _read_samples(path)
        if samples.dtype == np.int16:  # a recording of two seconds takes 0.1 instead of 0.2 ms
            return samples, rate
        audio = _checked(as_float(samples), path)
    else:
        audio, rate = _read_compressed(path)
    loud = np.mean(np.abs(audio) > 1)
    if loud > _LOUD_SHARE:
        raise UserError(
            f"{path}: {loud:.0%} of its float samples exceed full scale (largest {np.abs(audio).max():g}); scale them "
            "to -1..1"
        )
    return np.rint(np.clip(audio, -1.0, 32767 / 32768) * 32768).astype(np.int16), rate


def _read_compressed(path: str | Path) -> tuple[np.ndarray, int]:
    """Reads flac, ogg or mp3 as float32 [samples, channels] and its rate in Hz."""
    with from_extra("audio", f"{path}: a file of this format"):
        import soundfile
    if Path(path).suffix.lower() == ".mp3":  # of others, its decoder prints notes on standard error
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
        if not head.startswith(b"ID3") and b"\xff" not in head:  # with which each frame begins
            raise UserError(f"{path} cannot be read as audio (it has no MP3 frame); check that it is complete")
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:  # LibsndfileError is a RuntimeError
        raise UserError(f"{path} cannot be read as audio ({error}); check that it is complete") from error
    return _checked(audio, path), int(rate)


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Reads a WAV file as float32 [samples, channels] in [-1, 1] and its rate in Hz.

    Supports integers of 8, 16, 24 and 32 bits, and floats.

    Raises:
      UserError: The file is missing, truncated, empty or unsupported, or has non-finite samples.
    """
    samples, rate = _read_samples(path)
    return _checked(as_float(samples), path), rate


def _read_samples(path: str | Path) -> tuple[np.ndarray, int]:
    """Reads a WAV file as [samples, channels] of its type and its rate in Hz."""
    from scipy.io import wavfile

    try:
        _check_complete(path)
        rate, samples = wavfile.read(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; check the path") from error
    except Exception as error:  # scipy raises various exceptions on damaged files, from struct.error to ValueError
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"{path} is not a complete PCM WAV file ({reason}); convert it: ffmpeg -i {path} good.wav"
        ) from error
    _check_samples(samples, path)
    return samples[:, None] if samples.ndim == 1 else samples, int(rate)


def _check_complete(path: str | Path) -> None:
    """Raises ValueError if a WAV file is shorter than its header or one of its chunks states."""
    size = os.path.getsize(path)
    with Path(path).open("rb") as file:
        kind = file.read(4)
        if kind == b"RF64":  # its size is in the chunk "ds64", of 64 bits
            file.seek(20)
            stated = struct.unpack("<Q", file.read(8))[0] + 8
        elif kind in (b"RIFF", b"RIFX"):
            order = ">" if kind == b"RIFX" else "<"
            stated, end = struct.unpack(f"{order}I", file.read(4))[0] + 8, 12
            while end + 8 <= min(stated, size):
                file.seek(end + 4)
                length = struct.unpack(f"{order}I", file.read(4))[0]
                end += 8 + length
                stated = max(stated, end)
                end += length % 2  # chunks begin at even positions
        else:
            raise ValueError(f"it begins with {kind!r}")
    if stated > size:
        raise ValueError(f"it has {size} of {stated} bytes")


def _check_samples(audio: np.ndarray, path: str | Path) -> None:
    if not audio.size:
        raise UserError(f"{path} has no samples; remove it")


def _checked(audio: np.ndarray, path: str | Path) -> np.ndarray:
    _check_samples(audio, path)
    if not np.isfinite(audio).all():
        raise UserError(f"{path} has non-finite samples; convert it: ffmpeg -i {path} good.wav")
    return audio


def as_float(audio: np.ndarray) -> np.ndarray:
    """Converts samples of any WAV type to float32 in [-1, 1] of the same shape."""
    if audio.dtype.kind == "f":
        return audio.astype(np.float32)
    if audio.dtype == np.uint8:
        return (audio.astype(np.float32) - 128.0) / 128.0
    return (audio / -float(np.iinfo(audio.dtype).min)).astype(np.float32)


def to_mono(audio: np.ndarray, rate: int, wanted: int, name: str, convert: bool = False) -> np.ndarray:
    """Returns one channel at the required rate, float32 [samples].

    Args:
      audio: float32 [samples] or [samples, channels].
      rate, wanted: Actual and required rate in Hz.
      name: Name of the recording, for error messages.
      convert: Whether to average channels and resample.

    Raises:
      UserError: The recording has several channels or another rate, and `convert` is false.
    """
    channels = 1 if audio.ndim == 1 else audio.shape[1]
    if not convert and (channels != 1 or rate != wanted):
        raise UserError(
            f"{name} has {channels} channel{'s' * (channels > 1)} at {rate} Hz, but 1 channel at {wanted} Hz is "
            f"required; convert it: ffmpeg -i IN.wav -ac 1 -ar {wanted} OUT.wav, or set Speech.convert=True"
        )
    audio = audio.mean(axis=1) if audio.ndim == 2 else audio
    if rate != wanted:
        from scipy.signal import resample_poly

        divisor = int(np.gcd(rate, wanted))
        audio = resample_poly(audio, wanted // divisor, rate // divisor)
    return audio.astype(np.float32)


def frame_count(samples: int, rate: int, window: float = 0.025, hop: float = 0.01) -> int:
    """Returns the number of frames of `log_mel`: whole windows, at least one."""
    size, step = _in_samples(rate, window, hop)
    return 1 + max(0, samples - size) // step


def log_mel(audio: np.ndarray, rate: int, window: float = 0.025, hop: float = 0.01, mels: int = 64) -> np.ndarray:
    """Computes a log-mel spectrogram, float32 [frames, mels].

    Hann windows; triangular filters between 0 and half the rate, as in HTK (Young et al., "The HTK Book"). A recording
    shorter than a window is padded with silence.

    Args:
      audio: Samples in [-1, 1], float [samples].
      rate: Sampling rate in Hz.
      window, hop: Window length and hop in seconds.
      mels: Number of mel bands.

    Raises:
      UserError: The recording is empty, or a size is out of range.
    """
    from scipy.sparse import csr_array  # two bands per frequency; dense BLAS products oversubscribe the threads

    if not len(audio):
        raise UserError("a recording has no samples; remove it")
    size, step = _in_samples(rate, window, hop)
    audio = np.asarray(audio, np.float32)
    audio = np.pad(audio, (0, max(0, size - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(audio, size)[::step]
    bands = csr_array(filterbank(rate, size, mels))
    return np.concatenate([_log_bands(frames[at : at + _BLOCK], bands) for at in range(0, len(frames), _BLOCK)])


def _log_bands(frames: np.ndarray, bands: Any) -> np.ndarray:
    """Applies sparse bands [frequencies, mels] to frames, float32 [frames, mels]."""
    from scipy.fft import rfft  # keeps float32 and is several times faster than numpy's

    size = frames.shape[1]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
    spectrum: Any = rfft(frames * hann, 2 * (bands.shape[0] - 1))
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(power @ bands + np.float32(FLOOR))


@functools.cache
def filterbank(rate: int, size: int, mels: int) -> np.ndarray:
    """Returns triangular mel filters with peak 1, float32 [1 + points / 2, mels].

    The FFT has `size` points, rounded up to a power of two, and more if low bands are narrower than its bins.

    Raises:
      UserError: Some bands are nearly empty.
    """
    if mels < 1:
        raise UserError(f"mels={mels} must be at least 1")
    shortest = 1 << (size - 1).bit_length()
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    for points in (shortest, 2 * shortest, 4 * shortest, 8 * shortest):
        frequency = np.arange(points // 2 + 1)[:, None] * rate / points
        rising = (frequency - corners[:-2]) / (corners[1:-1] - corners[:-2])
        falling = (corners[2:] - frequency) / (corners[2:] - corners[1:-1])
        bands = np.maximum(0, np.minimum(rising, falling))
        if (bands.max(axis=0) >= 0.5).all():
            return bands.astype(np.float32)
    raise UserError(
        f"mels={mels} is too large for {rate} Hz and windows of {size} samples; use fewer bands or longer windows"
    )


def _in_samples(rate: int, window: float, hop: float) -> tuple[int, int]:
    size, step = round(window * rate), round(hop * rate)
    if size < 2 or step < 1:
        raise UserError(
            f"window={window} s and hop={hop} s are {size} and {step} samples at {rate} Hz; use at least 2 and 1"
        )
    return size, step
