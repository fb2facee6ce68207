"""Asterisk prompts: 501 spoken phrases of a telephone system, one speaker, 8 kHz, with their texts.

The English prompts of Asterisk, spoken by Allison Smith, from Debian's packages asterisk-core-sounds-en-wav and
asterisk-core-sounds-en (the texts), version 1.6.1. Licence: CC-BY-SA-3.0.

Texts are in lower case, of letters, apostrophes and single spaces alone: notes in brackets go, a digit that stands
alone is its word, other marks are spaces. Left out are clips without speech (tones, silence) and those where the text
does not say how it is spoken ("1234", "H.323", "#"), together 25 of 569, and of those that say the same all but the
first by name.

The hash of its text says which part a clip is in. Train has 388 clips (15.8 minutes, 2,125 words), validation
54 (2.4 minutes, 325), the test 59 (2.8 minutes, 387, of which a tenth do not occur in train). Half of the clips are
under 1.4 s, 95% under 7.2 s, the longest has 31 s. No text is in two parts, but many share a phrase such as "followed
by the pound key".
"""

import gzip
import re
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import Debian

SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison"
TEXTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
AUDIO_SOURCE = Debian(
    "asterisk-core-sounds-en-wav",
    {f"{SOUNDS}/*.wav": "6c486c66f9f96efd3619c854e45036064d5fb8b830b279ed370774e1c2283946"},
)
TEXT_SOURCE = Debian(
    "asterisk-core-sounds-en", {TEXTS: "4a5c1fea255e06020acd67efe37d162d0f0458f685efe578d224449f8e7f0bb4"}
)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NOTE = re.compile(r"\[.*?\]|\(.*?\)|<.*?>")
_DIGIT = re.compile(r"(?<![\w.])\d(?![\w]|\.\w)")
_UNSPOKEN = re.compile(r"[^a-z' .,:;!?\"-]|[a-z]{2}\.[a-z]")  # also the dot of an address, which is spoken


class Builder(ExamplesBuilder, skip_registration=True):
    """`audio` int16 [samples], `rate` samples a second, `text`, and the clip's `name`."""

    name = "asterisk_prompts"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
                "rate": tfds.features.Scalar(np.int32),
                "text": tfds.features.Text(),
                "name": tfds.features.Text(),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        folder = AUDIO_SOURCE.fetch() / SOUNDS
        clips = spoken(gzip.decompress((TEXT_SOURCE.fetch() / TEXTS).read_bytes()).decode("utf-8"))
        return {part: _examples(folder, clips, part) for part in PARTS}


def spoken(listing: str) -> dict[str, str]:
    """The names of the clips by what is said in them, sorted by name.

    Args:
      listing: a line `name: text` for each clip; lines that begin with `;` are comments.
    """
    lines = sorted(line.split(": ", 1) for line in listing.splitlines() if ": " in line and not line.startswith(";"))
    found: dict[str, str] = {}
    for name, text in lines:
        words = plain(text)
        if words:
            found.setdefault(words, name)
    return found


def plain(text: str) -> str:
    """The words of a text, of a-z, apostrophes and single spaces; empty where it does not say what is spoken."""
    text = _DIGIT.sub(lambda digit: DIGITS[int(digit[0])], _NOTE.sub(" ", text.lower()))
    return "" if _UNSPOKEN.search(text) else " ".join(re.sub("[^a-z']", " ", text).split())


def read_wave(path: Path) -> tuple[np.ndarray, int]:
    """A recording of one channel and 16 bits: int16 [samples], and samples a second."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2), path
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


def _examples(folder: Path, clips: Mapping[str, str], part: str) -> Iterator[tuple[int, dict[str, Any]]]:
    own = [text for text in clips if part_of(text, validation=10, test=10) == part]
    for number, text in enumerate(own):
        audio, rate = read_wave(folder / f"{clips[text]}.wav")
        yield number, {"audio": audio, "rate": rate, "text": text, "name": clips[text]}
