"""Generated speech for tests."""

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
    """Noisy utterances in which each letter has its own tone.

    Features: `audio` int16 [samples], `rate` int32 [], `text` bytes, as in a speech corpus. A letter lasts 60 to
    100 ms plus 20 ms of silence; a space is silent for as long.

    Attributes:
      examples: Number of examples.
      letters: Alphabet size, at most 26.
      words: Largest number of words per example; a word has 1 to 4 letters.
      rate: Sampling rate in Hz.
      noise: Std of the noise, relative to full scale.
      seed: Random seed.
      split: Name of the split; each has other examples.
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
            raise UserError(f"MockSpeech.letters={self.letters} must be from 1 to {len(_LETTERS)}")
        if min(self.examples, self.words) < 1 or self.rate < 2000:
            raise UserError(
                f"MockSpeech(examples={self.examples}, words={self.words}, rate={self.rate}) is out of range; use at "
                "least 1 example, 1 word and 2000 Hz"
            )

    def load(self) -> ExampleSource:
        split = int.from_bytes(self.split.encode()[:6].ljust(6, b"\0"), "little")
        examples = [self._example(Draws(self.seed, np.array([number])).fold(split)) for number in range(self.examples)]
        return ExampleSource(examples, range(self.examples), digest_of(repr(self)))

    def _example(self, draws: Draws) -> Batch:
        words = []
        for _ in range(int(draws.integers(1, self.words + 1)[0])):
            count = int(draws.integers(1, _LONGEST_WORD + 1)[0])
            words.append("".join(_LETTERS[int(draws.integers(0, self.letters)[0])] for _ in range(count)))
        text = " ".join(words)
        audio = np.concatenate([self._sound(letter, float(draws.between(0.06, 0.1)[0])) for letter in text])
        # The sum of two uniform numbers approximates a Gaussian.
        noise = (draws.uniform(2 * len(audio)).reshape(2, -1).sum(0) - 1.0) * np.sqrt(6.0)
        samples = np.rint(32767 * np.clip(audio + self.noise * noise, -1, 1)).astype(np.int16)
        return {"audio": samples, "rate": np.array(self.rate, np.int32), "text": np.array(text.encode())}

    def _sound(self, letter: str, seconds: float) -> np.ndarray:
        """Returns a tone with a sine envelope, and a gap, [samples]."""
        time = np.arange(round(seconds * self.rate)) / self.rate
        tone = np.zeros(len(time) + round(_GAP * self.rate))
        if letter != " ":
            low, high = 300.0, 0.4 * self.rate
            pitch = low * (high / low) ** (_LETTERS.index(letter) / max(1, self.letters - 1))
            tone[: len(time)] = _LOUDNESS * np.sin(2 * np.pi * pitch * time) * np.sin(np.pi * time / seconds)
        return tone
