"""Log-mel spectrograms with recognized and true transcripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.decoding.transcripts import TranscriptDecoder, path_labels, reference_text
from jaxdl.viz.figure import COLORS, FAINT, INK, WRONG, Picture, new_figure, render, shorten
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, take, valid_rows

WIDTH, HEIGHT = 900, 270
_LINE = 100  # characters that fit above the spectrogram
_PICTURED = 6


def transcript_picture(
    frames: np.ndarray, transcript: str, path: Sequence[str], truth: str | None = None, title: str = ""
) -> Picture:
    """Plots a spectrogram with its transcripts above it and the labels of the path below it.

    Args:
      frames: [time, mels], valid frames only.
      transcript: Recognized text.
      path: [steps] labels, "" for the blank. Steps divide the time evenly.
      truth: True text. None if unknown.
      title: Note on the right, such as the recording's name.
    """
    figure = new_figure(WIDTH, HEIGHT)
    spectrogram, labels = figure.subplots(2, 1, height_ratios=(5, 1), sharex=True)
    end = max(1, len(path))
    image = np.asarray(frames, np.float32).T if len(frames) else np.zeros((1, 1), np.float32)
    spectrogram.imshow(image, aspect="auto", origin="lower", extent=(0, end, 0, len(image)), cmap="magma")
    spectrogram.set_yticks([])
    spectrogram.tick_params(bottom=False)
    color = INK if truth is None or truth == transcript else WRONG
    lines = [f"recognized: {shorten(transcript, _LINE)}"] + (
        [] if truth is None else [f"true: {shorten(truth, _LINE)}"]
    )
    spectrogram.set_title("\n".join(reversed(lines)), loc="left", fontsize=10, color=color, parse_math=False)
    if title:
        spectrogram.set_title(title, loc="right", fontsize=9, color=FAINT, parse_math=False)
    labels.set(xlim=(0, end), ylim=(0, 1), yticks=[], xlabel="step (labels of the most probable path)")
    labels.xaxis.label.set(color=FAINT, fontsize=9)
    labels.tick_params(colors=FAINT, labelsize=8, length=2)
    for place, label in enumerate(path):
        if label and (place == 0 or path[place - 1] != label):
            text = "␣" if label == " " else label
            labels.text(place + 0.5, 0.5, text, ha="center", va="center", fontsize=9, color=INK, parse_math=False)
            labels.axvline(place, color=COLORS[5], linewidth=0.6)
    for axes in (spectrogram, labels):
        axes.spines[:].set_visible(False)
    return render(figure)


@dataclass(frozen=True)
class SpeechPresentation(Presentation):
    """Presentation of speech recognition.

    Attributes:
      decoder: Decoder of the transcripts.
    """

    text = "text"

    decoder: TranscriptDecoder

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `transcripts`, up to 6 spectrograms with recognized and, if known, true texts."""
        pictures = []
        for row in valid_rows(batch, _PICTURED):
            truth = reference_text(batch, row, names) if "target" in batch else None
            pictures.append(self._picture(take(batch, row), take(outputs, row), names, truth))
        return {"transcripts": np.concatenate(pictures)}

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the spectrogram of one example with the recognized text."""
        return self._picture(example, outputs, names, None)

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        """Returns the recognized text and its log-probability."""
        text, score = self.decoder.transcribe(outputs, names)
        return {"text": text, "score": None if score is None else round(score, 4)}

    def _picture(self, example: Features, outputs: Features, names: Names, truth: str | None) -> Picture:
        frames = np.asarray(example["frames"])[: int(example["frames_length"])]
        text, _ = self.decoder.transcribe(outputs, names)
        return transcript_picture(frames, text, path_labels(outputs, names), truth)
