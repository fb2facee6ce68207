"""Pictures of texts that a model wrote: translations beside their sources, captions under their images."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np

from jaxdl.viz.figure import COLORS, FAINT, FRAME, INK, new_figure, pixel_axes, render, shorten, show_image

# Pixels: of a line, around a block of lines, of the column that says what a line is, and of a letter at 10 points.
_LINE, _GAP, _SIDE, _LETTER = 19, 12, 90, 8.6
_WIDTH, _LINES = 900, 3
# Of a grid of captions: the height of an image's box, and its width by the number of columns.
_BOX, _BOXES = 200, {1: 360, 2: 300, 3: 280}
_EMPTY = "(nothing)"


def translation_table(
    sources: Sequence[str], outputs: Sequence[str], references: Sequence[str] | None = None
) -> np.ndarray:
    """A table: of each example the source, what was made of it, and the reference; an equal one has a tick.

    Args:
      sources, outputs: the first 8 are drawn, each in at most three lines.
      references: None where they are not known.

    Returns:
      uint8 [height, 900, 3].

    Raises:
      ValueError: no texts.
    """
    count = min(len(sources), 8)
    if count == 0:
        raise ValueError("translation_table: there are no texts to draw")
    letters = int((_WIDTH - _SIDE - 2 * _GAP) / _LETTER)
    blocks = []
    for index in range(count):
        rows = [("source", sources[index], FAINT), ("output", outputs[index], COLORS[0])]
        if references is not None:
            tick = " ✓" if references[index] == outputs[index] else ""
            rows.append((f"reference{tick}", references[index], INK))
        blocks.append([(name, wrap(text, letters), color) for name, text, color in rows])
    heights = [_LINE * sum(len(lines) for _, lines, _ in block) + _GAP for block in blocks]
    figure = new_figure(_WIDTH, sum(heights) + _GAP)
    axes = pixel_axes(figure)
    top = _GAP
    for block, height in zip(blocks, heights):
        y = top + 0.7 * _LINE
        for name, lines, color in block:
            axes.text(_GAP, y, name, va="baseline", fontsize=9, color=FAINT, parse_math=False)
            for line in lines:
                axes.text(_GAP + _SIDE, y, line, va="baseline", fontsize=10, color=color, parse_math=False)
                y += _LINE
        top += height
        axes.plot([_GAP, _WIDTH - _GAP], [top - _GAP / 2 - 1] * 2, color=FRAME, linewidth=0.8)
    return render(figure)


def caption_grid(images: np.ndarray, captions: Sequence[str], references: Sequence[str] | None = None) -> np.ndarray:
    """Images with their captions below, and below these the references, in gray.

    Args:
      images: [n, height, width, 1 or 3], uint8, or float in [0, 1]; the first 12 are drawn.
      captions: [n], each in at most three lines.
      references: [n], or None where they are not known.

    Returns:
      uint8 [height, width, 3], at most 900 pixels wide.

    Raises:
      ValueError: no images.
    """
    count = min(len(images), 12)
    if count == 0:
        raise ValueError("caption_grid: there are no images to draw")
    columns = min(count, 3)
    box = _BOXES[columns]
    letters = int(box / _LETTER)
    texts = [
        [(line, INK) for line in wrap(captions[index], letters)]
        + [(line, FAINT) for line in (wrap(references[index], letters) if references is not None else [])]
        for index in range(count)
    ]
    across, down = box + _GAP, _BOX + 2 * _GAP + _LINE * max(map(len, texts))
    figure = new_figure(columns * across + _GAP, math.ceil(count / columns) * down + _GAP)
    axes = pixel_axes(figure)
    for index in range(count):
        left, top = _GAP + index % columns * across, _GAP + index // columns * down
        show_image(axes, images[index], left, top, box, _BOX)
        for number, (line, color) in enumerate(texts[index]):
            x, y = left + box / 2, top + _BOX + _GAP / 2 + _LINE * (number + 0.7)
            axes.text(x, y, line, ha="center", va="baseline", fontsize=10, color=color, parse_math=False)
    return render(figure)


def wrap(text: str, letters: int) -> list[str]:
    """`text` in one to three lines of at most `letters` characters; what is left over is an ellipsis."""
    text = " ".join(text.split()) or _EMPTY
    lines = textwrap.wrap(text, letters)
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], shorten(" ".join(lines[_LINES - 1 :]), letters)]
    return lines
