"""Pictures of a speech recognizer: the log-mel spectrum of a recording, with what was recognized, and where."""

from collections.abc import Sequence

import numpy as np

from jaxdl.viz.figure import COLORS, FAINT, INK, WRONG, new_figure, render, shorten

WIDTH, HEIGHT = 900, 270
_LINE = 100  # characters of a text that fit above the spectrum


def transcript_picture(
    frames: np.ndarray, heard: str, path: Sequence[str], truth: str | None = None, title: str = ""
) -> np.ndarray:
    """The spectrum, the texts above it, and below it what each step of the path says, where that is no blank.

    Args:
      frames: [time, mels], valid frames only.
      heard: the text that was recognized.
      path: a label for each step, "" for the blank; the steps divide the time evenly.
      truth: what was said, if that is known.
      title: a note on the right, such as the recording's name.

    Returns:
      uint8 [270, 900, 3].
    """
    figure = new_figure(WIDTH, HEIGHT)
    spectrum, labels = figure.subplots(2, 1, height_ratios=(5, 1), sharex=True)
    end = max(1, len(path))
    image = np.asarray(frames, np.float32).T if len(frames) else np.zeros((1, 1), np.float32)
    spectrum.imshow(image, aspect="auto", origin="lower", extent=(0, end, 0, len(image)), cmap="magma")
    spectrum.set_yticks([])
    spectrum.tick_params(bottom=False)
    color = INK if truth is None or truth == heard else WRONG
    lines = [f"heard: {shorten(heard, _LINE)}"] + ([] if truth is None else [f"said: {shorten(truth, _LINE)}"])
    spectrum.set_title("\n".join(reversed(lines)), loc="left", fontsize=10, color=color, parse_math=False)
    if title:
        spectrum.set_title(title, loc="right", fontsize=9, color=FAINT, parse_math=False)
    labels.set(xlim=(0, end), ylim=(0, 1), yticks=[], xlabel="step: the labels of the most probable path")
    labels.xaxis.label.set(color=FAINT, fontsize=9)
    labels.tick_params(colors=FAINT, labelsize=8, length=2)
    for place, label in enumerate(path):
        if label and (place == 0 or path[place - 1] != label):
            shown = "␣" if label == " " else label
            labels.text(place + 0.5, 0.5, shown, ha="center", va="center", fontsize=9, color=INK, parse_math=False)
            labels.axvline(place, color=COLORS[5], linewidth=0.6)
    for axes in (spectrum, labels):
        axes.spines[:].set_visible(False)
    return render(figure)
