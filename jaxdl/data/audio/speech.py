"""Speech: recordings and what is said in them, as log-mel frames and tokens; and augmentations of such batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxdl.data.audio.features import (
    as_float,
    frame_count,
    log_mel,
    read_wav,
    to_mono,
)
from jaxdl.data.formats.audio_folder import find_wavs
from jaxdl.data.random import Draws
from jaxdl.data.source import ColumnSource, Source, as_texts, read_columns
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError, nearest

if TYPE_CHECKING:
    from jaxdl.data.source import Loadable

LONGER = ("refuse", "drop")

_VERSION = 1  # of how frames are made: part of the fingerprint

_FASTEST = 25  # tokens a second that a text may have by default; speech has some 15 characters

_LEAST_DEVIATION = 1e-2  # of a band that does not change: silence is not blown up

_ROUND = 64  # frames

_ATTEMPTS = 100

_JOINS = 0x452821E638D01377  # keeps the joins apart from what else is drawn of the same seed


class Clip(NamedTuple):
    """One recording.

    Attributes:
      name: for messages.
      frames: float32 [time, mels], not normalized.
      text: what is said.
      tokens: int32 [tokens], of the text.
    """

    name: str
    frames: np.ndarray
    text: str
    tokens: np.ndarray


@dataclass(frozen=True)
class Speech:
    """Recordings as frames, and their texts as tokens without start or end: what CTC learns from.

    Texts are taken as they are: capitals and punctuation are to be recognized, too, if the corpus has them.

    Loads as `frames` float32 [time, mels], log-mel spectra of which each band has mean 0 and variance 1 over the valid
    frames, then 0; `frames_length`; `target` int32 [length], padded with 0; `target_length`. Everything is in memory.

    Attributes:
      corpus: has `audio`, int16 or float, [samples] or [samples, channels]; `rate`, samples a second; `text`; and
        perhaps `name`, for messages.
      vocabulary: its `load()` gives the tokenizer; a `jaxdl.data.text.tokenizers.Vocabulary`.
      seconds: what the longest clip may last; says how many frames there are.
      rate: samples a second that the corpus must have.
      mels, window, hop: see `log_mel`.
      stride: frames that make one step of the recognizer, the last one perhaps fewer: a clip must have a step for
        every token, and one more between two that are equal, or CTC has no path for it.
      length: most tokens of a text; None: 25 for each second.
      longer: what becomes of clips that are too long, have too many tokens, or too many for their frames: "refuse"
        them with an error, or "drop" them.
      joins: how many clips are added that are two or three of the others, chosen at random, one after the other: of a
        small corpus a recognizer else learns whole sentences by heart. For training.
      seed: of the joins.
      convert: average channels and resample what is not one channel at `rate`; else it is refused.
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
    longer: str = "refuse"
    joins: int = 0
    seed: int = 0
    convert: bool = False

    def __post_init__(self):
        if self.longer not in LONGER:
            raise UserError(f"Speech.longer is '{self.longer}'; {nearest(self.longer, LONGER)}")
        if self.seconds <= 0 or min(self.rate, self.mels, self.stride) < 1 or self.joins < 0:
            raise UserError("Speech: seconds, rate, mels and stride must be positive, joins 0 or more")
        if self.length is not None and self.length < 1:
            raise UserError(f"Speech.length={self.length}: a text has 1 token or more")

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: a corpus without sound or text, a clip that cannot be used, or no clip that can.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        clips = self._clips(source, tokenizer)
        bad = [(clip.name, reason) for clip in clips if (reason := self._unfit(clip))]
        if bad and (self.longer == "refuse" or len(bad) == len(clips)):
            raise UserError(
                f"{len(bad)} of {len(clips)} clips cannot be used, the first is {bad[0][0]}: {bad[0][1]}, or leave "
                "such clips out with longer='drop'"
            )
        clips = [clip for clip in clips if not self._unfit(clip)]
        clips += [self._join(clips, tokenizer, number) for number in range(self.joins)]
        settings = [self.seconds, self.rate, self.mels, self.window, self.hop, self.stride, self._length, self.longer]
        parts = [source.fingerprint, tokenizer.digest, settings, self.joins, self.seed, self.convert, _VERSION]
        names: Any = {"target": tokenizer}
        return ColumnSource(self._columns(clips), digest_of(parts), names)

    def read(
        self, files: Sequence[str], texts: Sequence[str], names: Mapping[str, Any]
    ) -> list[tuple[str, dict[str, np.ndarray]]]:
        """The user's own wav files, or folders of them: (path, `frames` float32 [time, mels] and `frames_length`).

        They may last as long as they like; `time` is rounded up to a multiple of 64, so that few programs do.

        Raises:
          UserError: texts, or a file that is no wav file, or none of one channel at `rate` where `convert` is not set.
        """
        del names
        if texts:
            raise UserError("a speech recognizer reads wav files, not --text: give it the path of one")
        paths = [path for file in files for path in (find_wavs(Path(file)) if Path(file).is_dir() else [Path(file)])]
        if not paths:
            given = ", ".join(files) or "what was given"
            raise UserError(f"no wav files in {given}: give paths of wav files, or folders of them")
        read = []
        for path in paths:
            frames = normalize(self._frames(*read_wav(path), str(path)))
            padded = np.zeros((-(-len(frames) // _ROUND) * _ROUND, self.mels), np.float32)
            padded[: len(frames)] = frames
            read.append((str(path), {"frames": padded, "frames_length": np.array(len(frames), np.int32)}))
        return read

    @property
    def _time(self) -> int:
        return frame_count(round(self.seconds * self.rate), self.rate, self.window, self.hop)

    @property
    def _length(self) -> int:
        return int(np.ceil(_FASTEST * self.seconds)) if self.length is None else self.length

    def _frames(self, audio: np.ndarray, rate: int, name: str) -> np.ndarray:
        mono = to_mono(audio, rate, self.rate, name, self.convert)
        if not len(mono):
            raise UserError(f"{name} is empty: it has no samples; leave it out")
        return log_mel(mono, self.rate, self.window, self.hop, self.mels)

    def _clips(self, source: Source, tokenizer: Any) -> list[Clip]:
        columns = read_columns(source, ("audio", "rate", "text"))
        texts = as_texts("text", columns["text"])
        if "name" in source.read(np.array([0])):
            names = as_texts("name", read_columns(source, ("name",))["name"])
        else:
            names = [f"clip {number} of the corpus" for number in range(len(source))]
        clips = []
        for name, audio, rate, text in zip(names, columns["audio"], columns["rate"], texts, strict=True):
            tokens = np.asarray(tokenizer.encode(text), np.int32)
            if not len(tokens):
                raise UserError(f"{name} has no text, so a recognizer cannot learn from it; leave it out of the corpus")
            clips.append(Clip(name, self._frames(as_float(np.asarray(audio)), int(rate), name), text, tokens))
        return clips

    def _unfit(self, clip: Clip) -> str:
        """Why the clip cannot be used, and how to mend it; "" if it can."""
        time, length, needed = len(clip.frames), len(clip.tokens), steps_needed(clip.tokens)
        steps = -(-time // self.stride)
        if time > self._time:
            return f"it lasts {time * self.hop:.1f} s, more than seconds={self.seconds:g}; raise seconds"
        if length > self._length:
            return f"its text has {length} tokens, more than length={self._length}; raise length"
        if needed > steps:
            return (
                f"its text needs {needed} steps of the recognizer, but {time} frames with stride={self.stride} are "
                f"{steps}; mend the text, or make stride or hop smaller"
            )
        return ""

    def _join(self, clips: Sequence[Clip], tokenizer: Any, number: int) -> Clip:
        """Two or three clips, one after the other, that fit together."""
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
            f"joins={self.joins}: hardly any two clips fit into seconds={self.seconds:g} together; raise seconds, or "
            "set joins to 0"
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
    """Each band with mean 0 and variance 1 over the frames: [time, mels] -> float32 [time, mels]."""
    deviation = np.maximum(frames.std(axis=0), _LEAST_DEVIATION)
    return ((frames - frames.mean(axis=0)) / deviation).astype(np.float32)


def steps_needed(tokens: np.ndarray) -> int:
    """The fewest steps of a CTC path for the tokens [tokens]: one each, and a blank between two that are equal."""
    return len(tokens) + int(np.sum(tokens[1:] == tokens[:-1]))
