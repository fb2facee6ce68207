"""Speech recognition examples: log-mel frames and transcript tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxdl.data.audio.features import as_float, frame_count, log_mel, read_audio, to_mono
from jaxdl.data.formats.audio_folder import find_audio
from jaxdl.data.random import Draws
from jaxdl.data.source import ColumnSource, Source, as_texts, read_columns, skipped_files
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.examples import check_known
from jaxdl.errors import UserError, nearest
from jaxdl.remote import local

if TYPE_CHECKING:
    from jaxdl.data.source import Loadable

OVERFLOWS = ("refuse", "drop")

_VERSION = 1  # version of the frames in fingerprints

_FASTEST = 25  # default limit of tokens per second; speech has about 15 characters

_MINIMUM_STD = 1e-2  # of a constant band, so that silence is not amplified

_ROUND = 64  # frames to which `read` pads, to limit recompilation

_ATTEMPTS = 100

_JOINS = 0x452821E638D01377  # separates the joins from other draws of the same seed


class Clip(NamedTuple):
    """Recording with its transcript.

    Attributes:
      name: Name for error messages.
      frames: Log-mel frames before normalization, float32 [time, mels].
      text: Transcript.
      tokens: Tokens of the transcript, int32 [tokens].
    """

    name: str
    frames: np.ndarray
    text: str
    tokens: np.ndarray


@dataclass(frozen=True)
class Speech:
    """Log-mel frames and transcript tokens without <start> and <end>, for CTC.

    Transcripts are not normalized: capitals and punctuation are recognized if the corpus has them.

    Features: `frames` float32 [examples, time, mels], normalized per band to mean 0 and variance 1 over the valid
    frames and padded with 0; `frames_length` int32 [examples]; `target` int32 [examples, length], padded with 0;
    `target_length` int32 [examples]. All examples are in memory.

    Example: a clip of 1 s with the text "hello", `seconds=2.0` and a character vocabulary has `frames` [198, 64] of
    `frames_length` 98, and `target` [50] of `target_length` 5.

    Attributes:
      corpus: Recordings with `audio` (int16 or float, [samples] or [samples, channels]), `rate` (Hz), `text` and
        optionally `name`, for error messages.
      vocabulary: Vocabulary of the transcripts, `jaxdl.data.text.tokenizers.Vocabulary`.
      seconds: Duration of the longest clip; determines `time`.
      rate: Required sampling rate in Hz.
      mels, window, hop: As in `log_mel`.
      stride: Frames per output step of the recognizer. CTC needs a step per token, and one more between equal tokens.
      length: Tokens of the longest transcript. None allows 25 per second.
      overflow: Treatment of clips that are too long, or have too many tokens for `length` or their steps: "refuse"
        raises, "drop" removes them.
      joins: Number of concatenations of two or three random clips to add in training, which prevents a recognizer from
        memorizing the sentences of a small corpus.
      seed: Seed of the joins.
      convert: Whether to average channels and resample recordings. Otherwise other formats are refused.
      strict: Whether to refuse transcripts with characters outside the vocabulary. Otherwise they are <unknown>.
    """

    corpus: Loadable
    vocabulary: Any
    seconds: float
    rate: int = 8000
    mels: int = 64
    window: float = 0.025
    hop: float = 0.01
    stride: int = 1
    length: int | None = None
    overflow: str = "refuse"
    joins: int = 0
    seed: int = 0
    convert: bool = False
    strict: bool = True

    def __post_init__(self):
        if self.overflow not in OVERFLOWS:
            raise UserError(f"Speech.overflow='{self.overflow}' is unknown; {nearest(self.overflow, OVERFLOWS)}")
        if self.seconds <= 0 or min(self.rate, self.mels, self.stride) < 1 or self.joins < 0:
            raise UserError(
                f"Speech(seconds={self.seconds}, rate={self.rate}, mels={self.mels}, stride={self.stride}, "
                f"joins={self.joins}) is out of range; all must be positive, joins at least 0"
            )
        if self.length is not None and self.length < 1:
            raise UserError(f"Speech.length={self.length} must be at least 1")

    def load(self) -> ColumnSource:
        """Computes frames and tokens.

        Raises:
          UserError: The corpus lacks audio or text, a clip is refused, or no clip fits.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        clips = self._clips(source, tokenizer)
        unfit = [(clip.name, reason) for clip in clips if (reason := self._unfit(clip))]
        if unfit and (self.overflow == "refuse" or len(unfit) == len(clips)):
            raise UserError(
                f"{len(unfit)} of {len(clips)} clips do not fit, first {unfit[0][0]}: {unfit[0][1]}, or drop such "
                "clips with overflow='drop'"
            )
        clips = [clip for clip in clips if not self._unfit(clip)]
        clips += [self._join(clips, tokenizer, number) for number in range(self.joins)]
        settings = [self.seconds, self.rate, self.mels, self.window, self.hop, self.stride, self._length, self.overflow]
        parts = [source.fingerprint, tokenizer.digest, settings, self.joins, self.seed, self.convert, _VERSION]
        names: Any = {"target": tokenizer}
        return ColumnSource(self._columns(clips), digest_of(parts), names, skipped=skipped_files(source))

    def read(
        self, files: Sequence[str], texts: Sequence[str], names: Mapping[str, Any]
    ) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Reads audio files and folders as `frames` float32 [time, mels] and `frames_length`.

        `time` is rounded up to a multiple of 64 to limit recompilation.

        Raises:
          UserError: Texts were given, a file is not audio, or has other channels or another rate and `convert` is
            false.
        """
        del names
        if texts:
            raise UserError("speech recognition reads audio files, not --text; pass the path of one")
        places = [local(file) for file in files]
        paths = [path for place in places for path in (find_audio(place) if place.is_dir() else [place])]
        if not paths:
            searched = ", ".join(files) or "an empty list"
            raise UserError(f"no audio files in {searched}; pass audio files or folders of them")
        examples = []
        for path in paths:
            audio, rate = read_audio(path)
            frames = normalize(self._frames(as_float(audio), rate, str(path)))
            padded = np.zeros((-(-len(frames) // _ROUND) * _ROUND, self.mels), np.float32)
            padded[: len(frames)] = frames
            examples.append((str(path), {"frames": padded, "frames_length": np.array(len(frames), np.int32)}))
        return examples

    @property
    def _time(self) -> int:
        return frame_count(round(self.seconds * self.rate), self.rate, self.window, self.hop)

    @property
    def _length(self) -> int:
        return int(np.ceil(_FASTEST * self.seconds)) if self.length is None else self.length

    def _frames(self, audio: np.ndarray, rate: int, name: str) -> np.ndarray:
        mono = to_mono(audio, rate, self.rate, name, self.convert)
        if not len(mono):
            raise UserError(f"{name} has no samples; remove it")
        return log_mel(mono, self.rate, self.window, self.hop, self.mels)

    def _clips(self, source: Source, tokenizer: Any) -> list[Clip]:
        columns = read_columns(source, ("audio", "rate", "text"))
        texts = as_texts("text", columns["text"])
        if "name" in source.read(np.array([0])):
            names = as_texts("name", read_columns(source, ("name",))["name"])
        else:
            names = [f"clip {number} of the corpus" for number in range(len(source))]
        check_known(self, tokenizer, texts, names)
        clips = []
        for name, audio, rate, text in zip(names, columns["audio"], columns["rate"], texts, strict=True):
            tokens = np.asarray(tokenizer.encode(text), np.int32)
            if not len(tokens):
                raise UserError(f"{name} has an empty transcript; remove it from the corpus")
            clips.append(Clip(name, self._frames(as_float(np.asarray(audio)), int(rate), name), text, tokens))
        return clips

    def _unfit(self, clip: Clip) -> str:
        """Returns why the clip cannot be used and the fix; "" if it can."""
        time, length, needed = len(clip.frames), len(clip.tokens), steps_needed(clip.tokens)
        steps = -(-time // self.stride)
        if time > self._time:
            return f"duration {time * self.hop:.1f} s exceeds seconds={self.seconds:g}; increase seconds"
        if length > self._length:
            return f"its transcript of {length} tokens exceeds length={self._length}; increase length"
        if needed > steps:
            return (
                f"its transcript needs {needed} CTC steps, but {time} frames with stride={self.stride} are {steps}; "
                "correct the transcript, or decrease stride or hop"
            )
        return ""

    def _join(self, clips: Sequence[Clip], tokenizer: Any, number: int) -> Clip:
        """Concatenates two or three random clips that fit together."""
        draws = Draws(self.seed ^ _JOINS, np.array([number]))
        for _ in range(_ATTEMPTS):
            picks = draws.uniform(3)[0]
            chosen = [clips[int(pick * len(clips))] for pick in picks[: int(draws.integers(2, 4)[0])]]
            text = " ".join(clip.text for clip in chosen)
            frames = np.concatenate([clip.frames for clip in chosen])
            joined = Clip(f"join {number}", frames, text, np.asarray(tokenizer.encode(text), np.int32))
            if not self._unfit(joined):
                return joined
        raise UserError(
            f"joins={self.joins}: hardly any two clips fit into seconds={self.seconds:g}; increase seconds, or set "
            "joins to 0"
        )

    def _columns(self, clips: Sequence[Clip]) -> dict[str, np.ndarray]:
        frames = np.zeros((len(clips), self._time, self.mels), np.float32)
        target = np.zeros((len(clips), self._length), np.int32)
        for row, clip in enumerate(clips):
            frames[row, : len(clip.frames)] = normalize(clip.frames)
            target[row, : len(clip.tokens)] = clip.tokens
        return {
            "frames": frames,
            "frames_length": np.array([len(clip.frames) for clip in clips], np.int32),
            "target": target,
            "target_length": np.array([len(clip.tokens) for clip in clips], np.int32),
        }


def normalize(frames: np.ndarray) -> np.ndarray:
    """Normalizes each band to mean 0 and variance 1 over the frames, float32 [time, mels]."""
    std = np.maximum(frames.std(axis=0), _MINIMUM_STD)
    return ((frames - frames.mean(axis=0)) / std).astype(np.float32)


def steps_needed(tokens: np.ndarray) -> int:
    """Returns the length of the shortest CTC path.

    It has one step per token, plus a blank between equal neighbours.
    """
    return len(tokens) + int(np.sum(tokens[1:] == tokens[:-1]))
