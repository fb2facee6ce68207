"""Sound as numbers: wav files, one channel at one rate, and log-mel spectra."""

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.errors import UserError

FLOOR = 1e-6  # power added before the logarithm: below it all is silence
_BLOCK = 8192  # frames transformed at a time, which bounds the memory of a long recording


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """A wav file: float32 [samples, channels] in [-1, 1], and its rate in samples a second.

    Whole numbers of 8, 16, 24 and 32 bits and floats are read.

    Raises:
      UserError: no such file, not such a wav file, one that is cut short, empty, or that has samples not finite.
    """
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            # Chunks besides the sound (tags, titles) are skipped, as they should be; an end too early is no such thing.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # scipy raises whatever the first odd byte leads to, from struct.error to ValueError
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"{path} is no whole wav file of plain samples ({reason}); make one with: ffmpeg -i {path} good.wav"
        ) from error
    if not samples.size:
        raise UserError(f"{path} is empty: it has no samples; leave it out")
    audio = as_float(samples)
    if not np.isfinite(audio).all():
        raise UserError(f"{path} has samples that are not finite; make it again with: ffmpeg -i {path} good.wav")
    return audio[:, None] if audio.ndim == 1 else audio, int(rate)


def as_float(audio: np.ndarray) -> np.ndarray:
    """Samples of any wav type as float32, full scale being [-1, 1]; the shape stays."""
    if audio.dtype.kind == "f":
        return audio.astype(np.float32)
    if audio.dtype == np.uint8:
        return (audio.astype(np.float32) - 128.0) / 128.0
    return (audio / -float(np.iinfo(audio.dtype).min)).astype(np.float32)


def to_mono(audio: np.ndarray, rate: int, wanted: int, name: str, convert: bool = False) -> np.ndarray:
    """One channel at the wanted rate, float32 [samples].

    Args:
      audio: float32 [samples] or [samples, channels].
      rate, wanted: samples a second.
      name: of the recording, for the message.
      convert: average the channels and resample; else both must be right already.

    Raises:
      UserError: more than one channel or another rate, and `convert` is not set.
    """
    channels = 1 if audio.ndim == 1 else audio.shape[1]
    if not convert and (channels != 1 or rate != wanted):
        raise UserError(
            f"{name} has {channels} channel{'s' * (channels > 1)} at {rate} Hz, wanted is 1 channel at {wanted} Hz; "
            f"make it so with 'ffmpeg -i IN.wav -ac 1 -ar {wanted} OUT.wav', or set convert=True of Speech"
        )
    audio = audio.mean(axis=1) if audio.ndim == 2 else audio
    if rate != wanted:
        from scipy.signal import resample_poly

        divisor = int(np.gcd(rate, wanted))
        audio = resample_poly(audio, wanted // divisor, rate // divisor)
    return audio.astype(np.float32)


def frame_count(samples: int, rate: int, window: float = 0.025, hop: float = 0.01) -> int:
    """How many frames `log_mel` makes of so many samples: whole windows, at least one."""
    size, step = _in_samples(rate, window, hop)
    return 1 + max(0, samples - size) // step


def log_mel(audio: np.ndarray, rate: int, window: float = 0.025, hop: float = 0.01, mels: int = 64) -> np.ndarray:
    """The logarithm of the power in bands that are equally wide on the mel scale, float32 [frames, mels].

    Each frame is a Hann window of the sound; bands are triangles between 0 and half the rate, as in HTK (Young et al.,
    "The HTK Book"). A recording shorter than a window is filled up with silence.

    Args:
      audio: float [samples] in [-1, 1].
      rate: samples a second.
      window, hop: of a frame, and from frame to frame, in seconds.
      mels: bands.

    Raises:
      UserError: no samples, or sizes that make no frames or bands.
    """
    from scipy.sparse import csr_array  # two bands a frequency: no matter for BLAS, whose threads get in their own way

    if not len(audio):
        raise UserError("a recording is empty: it has no samples; leave it out")
    size, step = _in_samples(rate, window, hop)
    audio = np.asarray(audio, np.float32)
    audio = np.pad(audio, (0, max(0, size - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(audio, size)[::step]
    bands = csr_array(filterbank(rate, size, mels))
    return np.concatenate([_log_bands(frames[at : at + _BLOCK], bands) for at in range(0, len(frames), _BLOCK)])


def _log_bands(frames: np.ndarray, bands: Any) -> np.ndarray:
    """[frames, samples], sparse [frequencies, mels] -> float32 [frames, mels]."""
    from scipy.fft import rfft  # keeps float32, and has several times the speed of numpy's here

    size = frames.shape[1]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
    spectrum: Any = rfft(frames * hann, 2 * (bands.shape[0] - 1))
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(power @ bands + np.float32(FLOOR))


@functools.cache
def filterbank(rate: int, size: int, mels: int) -> np.ndarray:
    """Triangles on the mel scale with a peak of 1, over the frequencies of a transform: float32 [1 + points / 2, mels].

    The transform has as many points as `size`, rounded up to a power of two, and more where a band falls between its
    frequencies: the bands of low ones are narrower than the steps of a short transform.

    Raises:
      UserError: so many bands that some stay all but empty.
    """
    if mels < 1:
        raise UserError(f"mels={mels}: must be 1 or more")
    least = 1 << (size - 1).bit_length()
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    for points in (least, 2 * least, 4 * least, 8 * least):
        frequency = np.arange(points // 2 + 1)[:, None] * rate / points
        rising = (frequency - corners[:-2]) / (corners[1:-1] - corners[:-2])
        falling = (corners[2:] - frequency) / (corners[2:] - corners[1:-1])
        bands = np.maximum(0, np.minimum(rising, falling))
        if (bands.max(axis=0) >= 0.5).all():
            return bands.astype(np.float32)
    raise UserError(
        f"mels={mels} is too many for {rate} Hz and windows of {size} samples; take fewer, or a longer window"
    )


def _in_samples(rate: int, window: float, hop: float) -> tuple[int, int]:
    size, step = round(window * rate), round(hop * rate)
    if size < 2 or step < 1:
        raise UserError(f"window={window} and hop={hop} seconds are {size} and {step} samples at {rate} Hz: too short")
    return size, step
