"""MockSpeech: made-up speech that can be learnt, for tests and tiny runs."""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.random import Draws
from jaxdl.data.source import Batch, ExampleSource
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LONGEST_WORD = 4
_GAP = 0.02  # seconds of silence after a letter
_LOUDNESS = 0.3  # of a full-scale wave


@dataclass(frozen=True)
class MockSpeech:
    """Words whose every letter is a tone of its own, under noise; no download.

    Loads as `audio` int16 [samples], `rate` int32 [], and `text`, bytes: like a corpus of recordings. A letter lasts 60
    to 100 ms, and 20 ms of silence follow; a space is as long, and silent.

    Attributes:
      examples: how many.
      letters: how many letters the language has, from `a` on, at most 26.
      words: most words of an example; a word has 1 to 4 letters.
      rate: samples a second.
      noise: standard deviation of the noise, full scale being 1.
      seed: of texts and sounds.
      split: each draws its own.
    """

    examples: int = 64
    letters: int = 6
    words: int = 2
    rate: int = 8000
    noise: float = 0.01
    seed: int = 0
    split: str = "train"

    def __post_init__(self):
        if not 1 <= self.letters <= len(_LETTERS):
            raise UserError(f"MockSpeech.letters={self.letters}: must be 1 to {len(_LETTERS)}")
        if min(self.examples, self.words) < 1 or self.rate < 2000:
            raise UserError("MockSpeech needs 1 or more examples and words, and a rate of 2000 or more")

    def load(self) -> ExampleSource:
        split = int.from_bytes(self.split.encode()[:6].ljust(6, b"\0"), "little")
        examples = [self._example(Draws(self.seed, np.array([each])).fold(split)) for each in range(self.examples)]
        return ExampleSource(examples, range(self.examples), digest_of(repr(self)))

    def _example(self, draws: Draws) -> Batch:
        words = []
        for _ in range(int(draws.integers(1, self.words + 1)[0])):
            count = int(draws.integers(1, _LONGEST_WORD + 1)[0])
            words.append("".join(_LETTERS[int(draws.integers(0, self.letters)[0])] for _ in range(count)))
        text = " ".join(words)
        audio = np.concatenate([self._sound(letter, float(draws.between(0.06, 0.1)[0])) for letter in text])
        # The sum of two uniform numbers: bell-shaped enough.
        noise = (draws.uniform(2 * len(audio)).reshape(2, -1).sum(0) - 1.0) * np.sqrt(6.0)
        samples = np.rint(32767 * np.clip(audio + self.noise * noise, -1, 1)).astype(np.int16)
        return {"audio": samples, "rate": np.array(self.rate, np.int32), "text": np.array(text.encode())}

    def _sound(self, letter: str, seconds: float) -> np.ndarray:
        """[samples]: a tone that swells and fades, and a gap."""
        time = np.arange(round(seconds * self.rate)) / self.rate
        tone = np.zeros(len(time) + round(_GAP * self.rate))
        if letter != " ":
            low, high = 300.0, 0.4 * self.rate
            pitch = low * (high / low) ** (_LETTERS.index(letter) / max(1, self.letters - 1))
            tone[: len(time)] = _LOUDNESS * np.sin(2 * np.pi * pitch * time) * np.sin(np.pi * time / seconds)
        return tone
