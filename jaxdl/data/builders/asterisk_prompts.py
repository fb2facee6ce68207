"""Asterisk prompts: 501 telephone prompts with transcripts, one speaker, 8 kHz.

English prompts spoken by Allison Smith, from the Debian packages asterisk-core-sounds-en-wav and
asterisk-core-sounds-en (texts), version 1.6.1. Licence: CC-BY-SA-3.0.

Transcripts are lower case with letters, apostrophes and single spaces; notes in brackets are removed, and single digits
are spelled out. 25 of 569 clips without speech or with ambiguous texts ("1234", "H.323", "#") are omitted, as are later
clips of equal text.

The split is by a hash of the text: train 388 clips (15.8 minutes, 2,125 words), validation 54 (2.4 minutes, 325), test
59 (2.8 minutes, 387, a tenth of them out of vocabulary). The median duration is 1.4 s, the 95th percentile 7.2 s, the
maximum 31 s. No text is in two splits, but many share a phrase such as "followed by the pound key".
"""

import gzip
import re
import wave
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxdl.data.builders._base import INTEGER, TEXT, ExamplesBuilder, array
from jaxdl.data.splits import split_by_hash
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
_UNSPOKEN = re.compile(r"[^a-z' .,:;!?\"-]|[a-z]{2}\.[a-z]")  # includes the dot of an address, which is spoken


class Builder(ExamplesBuilder, skip_registration=True):
    """`audio` int16 [samples], `rate` in Hz, `text` and the clip's `name`."""

    name = "asterisk_prompts"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"audio": array(None, dtype=np.int16), "rate": INTEGER, "text": TEXT, "name": TEXT}

    def examples(self) -> dict[str, Any]:
        folder = AUDIO_SOURCE.fetch() / SOUNDS
        clips = spoken(gzip.decompress((TEXT_SOURCE.fetch() / TEXTS).read_bytes()).decode("utf-8"))
        parts = split_by_hash(clips, validation=10, test=10)
        return {part: (_example(folder, text, clips[text]) for text in texts) for part, texts in parts.items()}


def spoken(listing: str) -> dict[str, str]:
    """Returns the clip names by transcript, sorted by name.

    Args:
      listing: Lines `name: text`; lines that begin with `;` are comments.
    """
    lines = sorted(line.split(": ", 1) for line in listing.splitlines() if ": " in line and not line.startswith(";"))
    name_by_text: dict[str, str] = {}
    for name, text in lines:
        words = plain(text)
        if words:
            name_by_text.setdefault(words, name)
    return name_by_text


def plain(text: str) -> str:
    """Normalizes a text to a-z, apostrophes and spaces; empty if ambiguous."""
    text = _DIGIT.sub(lambda digit: DIGITS[int(digit[0])], _NOTE.sub(" ", text.lower()))
    return "" if _UNSPOKEN.search(text) else " ".join(re.sub("[^a-z']", " ", text).split())


def _example(folder: Path, text: str, name: str) -> dict[str, Any]:
    audio, rate = read_wave(folder / f"{name}.wav")
    return {"audio": audio, "rate": rate, "text": text, "name": name}


def read_wave(path: Path) -> tuple[np.ndarray, int]:
    """Reads a mono 16-bit recording as int16 [samples] and its rate in Hz."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2), path
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()
